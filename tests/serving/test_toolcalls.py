"""The parser finds calls however they are written, and however the text is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.events import Delta, fold
from headrace.core.messages import Part, Text, Thinking, ToolCall
from headrace.serving.toolcalls import AnswerParser, Piece

CALL = '{"name": "look", "arguments": {"at": "a } \\" {", "n": [1, {"x": 2}]}}'
ARGUMENTS = '{"at": "a } \\" {", "n": [1, {"x": 2}]}'
LOOK = ToolCall("call_0", "look", ARGUMENTS)


def parse(chunks: list[str], *, tools: bool = True, **options: bool) -> tuple[Part, ...]:
    numbers = itertools.count()
    names = ("look", "touch") if tools else ()
    parser = AnswerParser(names, lambda: f"call_{next(numbers)}", **options)
    pieces = [piece for chunk in chunks for piece in parser.feed(chunk)] + parser.finish()
    return assemble(pieces)


def assemble(pieces: list[Piece]) -> tuple[Part, ...]:
    deltas: list[Delta] = []
    index = -1
    for piece in pieces:
        new_call = isinstance(piece, ToolCall) and piece.id
        if not deltas or new_call or type(deltas[-1].part) is not type(piece):
            index += 1
        deltas.append(Delta(index, piece))
    return fold(deltas).parts


CASES: list[tuple[str, tuple[Part, ...]]] = [
    ("Hello <b>you</b>.\n", (Text("Hello <b>you</b>.\n"),)),
    (f"<tool_call>\n{CALL}\n</tool_call>", (LOOK,)),
    (f"Let me see. \n<tool_call>{CALL}</tool_call>\n", (Text("Let me see."), LOOK)),
    (
        f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>",
        (LOOK, ToolCall("call_1", "look", ARGUMENTS)),
    ),
    (f"<tool_call>{CALL}<tool_call>{CALL}", (LOOK, ToolCall("call_1", "look", ARGUMENTS))),
    (f"<tool_call>{CALL}</tool_call> Done.", (LOOK, Text("Done."))),
    (CALL, (LOOK,)),
    (f"  {CALL}\n", (LOOK,)),
    (f"```json\n{CALL}\n```", (LOOK,)),
    (f"```\n{CALL}\n```\n", (LOOK,)),
    (f"[{CALL}, {CALL}]", (LOOK, ToolCall("call_1", "look", ARGUMENTS))),
    ('{"parameters": {}, "name": "touch"}', (ToolCall("call_0", "touch", "{}"),)),
    (
        '{"type": "function", "function": {"name": "touch", "arguments": "{\\"a\\": 1}"}}',
        (ToolCall("call_0", "touch", '{"a": 1}'),),
    ),
    (
        '<tool_call>{"arguments": {"a": 1}, "name": "other"}</tool_call>',
        (ToolCall("call_0", "other", '{"a": 1}'),),
    ),
    ('{"name": "unknown", "arguments": {}}', (Text('{"name": "unknown", "arguments": {}}'),)),
    ('{"answer": 42}', (Text('{"answer": 42}'),)),
    (f"{CALL} and more", (Text(f"{CALL} and more"),)),
    (
        f"{CALL}</tool_call><tool_call>{CALL}",
        (Text(f"{CALL}</tool_call>"), LOOK),
    ),
    ("```python\nprint()\n```", (Text("```python\nprint()\n```"),)),
    ("`code` first", (Text("`code` first"),)),
    ("<tool_call>not json</tool_call>", (Text("<tool_call>not json</tool_call>"),)),
    ('<tool_call>{"name": "look", "argu', (Text('<tool_call>{"name": "look", "argu'),)),
    (
        '<tool_call>{"name": "look", "arguments": {"a": ',
        (ToolCall("call_0", "look", '{"a": '),),
    ),
    ("<think>\nHm.</think>\n\nYes.", (Thinking("Hm."), Text("Yes."))),
    (f"<think>Hm.</think>\n{CALL}", (Thinking("Hm."), LOOK)),
    ("<think>never closed", (Thinking("never closed"),)),
    ("Say <think> aloud", (Text("Say <think> aloud"),)),
    ("a < b <tool", (Text("a < b <tool"),)),
    ("", ()),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_whole_answers_are_read(text: str, parts: tuple[Part, ...]):
    assert parse([text]) == parts


@given(st.data())
def test_cutting_the_text_anywhere_changes_nothing(data: st.DataObject):
    text, parts = data.draw(st.sampled_from(CASES))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    assert parse(chunks) == parts


OTHERS = ['"name"', "x", "<", "[", "]"]
FRAGMENTS = [
    *OTHERS,
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    CALL,
    "```json\n",
    "\n```",
    " ",
    "{",
]


@given(st.lists(st.sampled_from(FRAGMENTS)), st.booleans())
def test_any_text_reads_the_same_in_one_piece_and_in_characters(text: list[str], tools: bool):  # noqa: FBT001
    assert parse(list("".join(text)), tools=tools) == parse(["".join(text)], tools=tools)


def test_without_parallel_calls_all_after_the_first_is_dropped():
    tagged = f"<tool_call>{CALL}</tool_call>"
    for text in (tagged * 3, f"{tagged} and more", f"[{CALL},{CALL}]"):
        assert parse(list(text), parallel=False) == parse([text], parallel=False) == (LOOK,)


def test_without_tools_text_passes_untouched():
    text = f"{CALL} <tool_call>{CALL}</tool_call>  \n"
    assert parse([text], tools=False) == (Text(text),)


def test_a_forced_answer_is_a_call():
    assert parse(list(CALL), forced=True) == (LOOK,)


def test_a_prompt_that_opened_thinking_is_continued():
    assert parse(["Hm.", "</think>", "Yes"], thinking=True) == (Thinking("Hm."), Text("Yes"))


def test_arguments_stream_before_the_call_ends():
    parser = AnswerParser(("look",), lambda: "id")
    assert parser.feed('Hm <tool_call>{"name": "look", "arguments": {"a": "b') == [
        Text("Hm"),
        ToolCall("id", "look", ""),
        ToolCall("", "", '{"a": "b'),
    ]
    assert (parser.calls_begun, parser.calls_read) == (1, 0)
    parser.feed('"}}')
    assert parser.calls_read == 1


def test_text_that_cannot_become_a_call_is_not_held_back():
    parser = AnswerParser(("look",), lambda: "id")
    assert parser.feed('{"answer": ') == [Text('{"answer":')]
    assert parser.feed("1}") == [Text(" 1}")]
