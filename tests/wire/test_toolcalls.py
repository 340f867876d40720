"""The parser finds calls however they are written, and however the text is cut."""

# ruff: noqa: RUF001 - DeepSeek spells its marks with fullwidth bars

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.events import Delta, fold
from headrace.core.messages import Part, Text, Thinking, ToolCall
from headrace.core.requests import JsonSchema
from headrace.wire.toolcalls import AnswerParser, Opened, Piece

CALL = '{"name": "look", "arguments": {"at": "a } \\" {", "n": [1, {"x": 2}]}}'
ARGUMENTS = '{"at": "a } \\" {", "n": [1, {"x": 2}]}'
LOOK = ToolCall("call_0", "look", ARGUMENTS)
AGAIN = ToolCall("call_1", "look", ARGUMENTS)
TOUCH = ToolCall("call_0", "touch", "{}")
SCHEMAS: dict[str, JsonSchema] = {
    "look": {"properties": {"at": {"type": "string"}, "n": {"type": "integer"}}},
    "touch": {"properties": {}},
}


def parse(chunks: list[str], *, tools: bool = True, **options: bool) -> tuple[Part, ...]:
    numbers = itertools.count()
    names = ("look", "touch") if tools else ()
    parser = AnswerParser(names, lambda: f"call_{next(numbers)}", schemas=SCHEMAS, **options)
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


def same(*texts: str) -> list[tuple[str, tuple[Part, ...]]]:
    """Texts that must stay as they are."""
    return [(text, (Text(text),)) for text in texts]


HERMES: list[tuple[str, tuple[Part, ...]]] = [
    (f"<tool_call>\n{CALL}\n</tool_call>", (LOOK,)),
    (f"Let me see. \n<tool_call>{CALL}</tool_call>\n", (Text("Let me see."), LOOK)),
    (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", (LOOK, AGAIN)),
    (f"<tool_call>{CALL}<tool_call>{CALL}", (LOOK, AGAIN)),
    (f"<tool_call>\n{CALL}\n{CALL}\n</tool_call>", (LOOK, AGAIN)),
    (f"<tool_call>{CALL}</tool_call> Done.", (LOOK, Text("Done."))),
    (f"<tool_call>{CALL[:-1]}</tool_call> Done.", (LOOK, Text("Done."))),
    (
        '<tool_call>{"arguments": {"a": 1}, "name": "look"}</tool_call>',
        (ToolCall("call_0", "look", '{"a": 1}'),),
    ),
    (
        '<tool_call>{"name": "look", "arguments": {"a": ',
        (ToolCall("call_0", "look", '{"a": '),),
    ),
    *same(
        "<tool_call>not json</tool_call>",
        '<tool_call>{"name": "look", "argu',
        '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>',
        '<tool_call>{"arguments": {"a": 1}, "name": "other"}</tool_call>',
        "a < b <tool",
    ),
]
QWEN_CODER: list[tuple[str, tuple[Part, ...]]] = [
    (
        (
            'I look.\n<tool_call>\n<function=look>\n<parameter=at>\na <b> "c"\n\n d\n</parameter>\n'
            "<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>"
        ),
        (Text("I look."), ToolCall("call_0", "look", '{"at": "a <b> \\"c\\"\\n\\n d", "n": 3}')),
    ),
    (
        (
            "<function=look>\n<parameter=at>x</parameter><parameter=odd>True</parameter></function>"
            "\n</tool_call>\n<tool_call>\n<function=touch>\n</function>\n</tool_call>"
        ),
        (
            ToolCall("call_0", "look", '{"at": "x", "odd": true}'),
            ToolCall("call_1", "touch", "{}"),
        ),
    ),
    (
        "<tool_call><function=look><parameter=at>\nx\n<parameter=n>two\n</function></tool_call>.",
        (ToolCall("call_0", "look", '{"at": "x", "n": "two"}'), Text(".")),
    ),
    (
        "<tool_call>\n<function=look>\n<parameter=at>\nso far",
        (ToolCall("call_0", "look", '{"at": "so far'),),
    ),
    *same(
        "<function=other>\n</function>", "<function=look> at", "<tool_call><func", "<function=l>"
    ),
]
LLAMA: list[tuple[str, tuple[Part, ...]]] = [
    ('{"name": "touch", "parameters": {}}', (TOUCH,)),
    ('{"type": "function", "name": "touch", "parameters": {}}', (TOUCH,)),
    ('<|python_tag|>{"type": "function", "name": "touch", "parameters": {}}', (TOUCH,)),
    (f"<|python_tag|>{CALL}; {CALL}", (LOOK, AGAIN)),
    (f"{CALL};\n{CALL}", (LOOK, AGAIN)),
    ("<function=touch>{}</function>", (TOUCH,)),
    (
        "[look(at='a ] ) \\'', n=[1, -2.5, {'x': true}]), touch()]",
        (
            ToolCall("call_0", "look", '{"at":"a ] ) \'","n":[1,-2.5,{"x":true}]}'),
            ToolCall("call_1", "touch", "{}"),
        ),
    ),
    ("Sure.\n[touch()]", (Text("Sure."), TOUCH)),
    ("I `look`<|python_tag|>touch()", (Text("I `look`"), TOUCH)),
    ("```<|python_tag|>touch()", (Text("```"), TOUCH)),
    ("<|python_start|>[touch()]<|python_end|>", (TOUCH,)),
    ("<|python_tag|>touch()", (TOUCH,)),
    *same(
        "[look(at)]",
        "[other(at=1)]",
        "[look(at=open('x'))]",
        "[look(at=1",
        "[1] is a note",
        "See [look(at=1)]",
        "<|python_tag|>print(1)",
    ),
]
MISTRAL: list[tuple[str, tuple[Part, ...]]] = [
    (f"[TOOL_CALLS][{CALL}, {CALL}]", (LOOK, AGAIN)),
    (f'[TOOL_CALLS] [{CALL[:-1]}, "id": "abc123def"}}]', (LOOK,)),
    (f"Well: [TOOL_CALLS]look[ARGS]{ARGUMENTS}", (Text("Well:"), LOOK)),
    (f"[TOOL_CALLS]look{ARGUMENTS}[TOOL_CALLS]look {ARGUMENTS}", (LOOK, AGAIN)),
    (f"[TOOL_CALLS]look[CALL_ID]abc123def[ARGS]{ARGUMENTS}", (LOOK,)),
    *same("[TOOL_CALLS]other[ARGS]{}", "[TOOL_CALLS]look at", "[TOOL_", "[TOOL_CALLS][1]"),
]
DEEPSEEK: list[tuple[str, tuple[Part, ...]]] = [
    (
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n```json\n"
            f"{ARGUMENTS}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n"
            f"```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        (LOOK, AGAIN),
    ),
    (
        (
            f"Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>{ARGUMENTS}"
            f"<｜tool▁call▁end｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>{ARGUMENTS}<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜>"
        ),
        (Text("Hm."), LOOK, AGAIN),
    ),
    *same(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>other<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>What? No.",
    ),
]
HARMONY: list[tuple[str, tuple[Part, ...]]] = [
    (
        (
            "<|channel|>analysis<|message|>Hm. {<|end|><|start|>assistant<|channel|>final"
            "<|message|>Yes.<|return|>"
        ),
        (Thinking("Hm. {"), Text("Yes.")),
    ),
    (
        (
            "<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>commentary "
            f"to=functions.look <|constrain|>json<|message|>{ARGUMENTS}<|call|>"
        ),
        (Thinking("Hm."), LOOK),
    ),
    (f" to=functions.look<|channel|>commentary json<|message|>{ARGUMENTS}", (LOOK,)),
    (
        (
            f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.look"
            f"<|channel|>commentary json<|message|>{ARGUMENTS}<|call|>"
        ),
        (Thinking("Hm."), LOOK),
    ),
    *same("<|channel|>\n", "to=functions.other is no tool"),
]
JSON: list[tuple[str, tuple[Part, ...]]] = [
    (CALL, (LOOK,)),
    (f"  {CALL}\n", (LOOK,)),
    (f"```json\n{CALL}\n```", (LOOK,)),
    (f"```\n{CALL}\n```\n", (LOOK,)),
    (f"I look:\n\n```json\n{CALL}\n```\nand see", (Text("I look:"), LOOK, Text("and see"))),
    (f"I look:\n{CALL}", (Text("I look:"), LOOK)),
    (f"```json\n[{CALL}, {CALL}]\n```", (LOOK, AGAIN)),
    (f"```json\n{CALL}\n{CALL}\n```", (LOOK, AGAIN)),
    (f"[{CALL}, {CALL}]", (LOOK, AGAIN)),
    (f"{CALL} and more", (LOOK, Text("and more"))),
    (f"{CALL}</tool_call><tool_call>{CALL}", (LOOK, AGAIN)),
    ('{"parameters": {}, "name": "touch"}', (TOUCH,)),
    (
        '{"type": "function", "function": {"name": "touch", "arguments": "{\\"a\\": 1}"}}',
        (ToolCall("call_0", "touch", '{"a": 1}'),),
    ),
    *same(
        "Hello <b>you</b>.\n",
        '{"name": "unknown", "arguments": {}}',
        '{"name": "look", "age": 3, "arguments": {}}',
        '{"name": "look"}',
        '{"answer": 42}',
        f"The call {CALL} is what I would write.",
        f"Use `{CALL}`.",
        f"Write `<tool_call>{CALL}</tool_call>` for it.",
        'Say "<|python_start|>[touch()]<|python_end|>" for it.',
        "`[TOOL_CALLS]touch{}` calls it (`<function=touch>{}</function>` too).",
        '```json\n{"name": "Ada"}\n```',
        "```python\nprint()\n```",
        "`code` first",
        "`",
        "Look:\n``",
        "{",
        "[]",
        "[TOO many]",
    ),
]
THOUGHTS: list[tuple[str, tuple[Part, ...]]] = [
    ("<think>\nHm.</think>\n\nYes.", (Thinking("Hm."), Text("Yes."))),
    (f"<think>Hm. {CALL}\n</think>\n{CALL}", (Thinking(f"Hm. {CALL}\n"), LOOK)),
    ("[THINK]Hm.[/THINK]Yes.", (Thinking("Hm."), Text("Yes."))),
    ("<think>never closed", (Thinking("never closed"),)),
    ("Say <think> aloud", (Text("Say <think> aloud"),)),
    ("", ()),
]
CASES = [*HERMES, *QWEN_CODER, *LLAMA, *MISTRAL, *DEEPSEEK, *HARMONY, *JSON, *THOUGHTS]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_whole_answers_are_read(text: str, parts: tuple[Part, ...]):
    assert parse([text]) == parts
    assert parse(list(text)) == parts


@given(st.data())
def test_cutting_the_text_anywhere_changes_nothing(data: st.DataObject):
    text, parts = data.draw(st.sampled_from(CASES))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    assert parse(chunks) == parts


FRAGMENTS = [
    *["`", "'", '"', "```"],
    *['"name"', "x", "<", "[", "]", " ", "\n", "{", "}", ",", ";", ", {", '"look"', ": ", "look("],
    *["<tool_call>", "</tool_call>", "<think>", "</think>", "```json\n", "\n```", CALL, ARGUMENTS],
    *["[TOOL_CALLS]", "look", "[ARGS]", "<function=look>", "<parameter=at>", "</function>"],
    *["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<|python_tag|>"],
    *["<|channel|>", "analysis", "to=functions.look", "<|message|>", "<|start|>assistant"],
    *["<|end|>", "touch()", "[touch()]", '{"name": "look", "arguments": {'],
]


@given(st.lists(st.sampled_from(FRAGMENTS)), st.booleans(), st.booleans())
def test_any_text_reads_the_same_in_one_piece_and_in_characters(
    text: list[str],
    tools: bool,  # noqa: FBT001
    parallel: bool,  # noqa: FBT001
):
    whole = "".join(text)
    assert parse(list(whole), tools=tools, parallel=parallel) == parse(
        [whole], tools=tools, parallel=parallel
    )


@given(st.lists(st.sampled_from([*FRAGMENTS, "Word", "ünï"])))
def test_no_word_is_lost(text: list[str]):
    parts = parse(["".join(text)])
    said = "".join(
        part.arguments if isinstance(part, ToolCall) else part.text
        for part in parts
        if isinstance(part, Text | Thinking | ToolCall)
    )
    for word in ("Word", "ünï"):
        assert json.dumps(said).count(json.dumps(word)[1:-1]) == text.count(word)


def test_without_parallel_calls_all_after_the_first_is_dropped():
    tagged = f"<tool_call>{CALL}</tool_call>"
    for text in (tagged * 3, f"{tagged} and more", f"[{CALL},{CALL}]"):
        assert parse(list(text), parallel=False) == parse([text], parallel=False) == (LOOK,)


@pytest.mark.parametrize("text", [f"{CALL} <tool_call>{CALL}</tool_call>  \n", "[TOOL_CALLS] "])
def test_without_tools_text_passes_untouched(text: str):
    assert parse([text], tools=False) == parse(list(text), tools=False) == (Text(text),)


def test_a_forced_answer_is_a_call():
    assert parse(list(CALL), forced=True) == (LOOK,)


def test_a_prompt_that_opened_thinking_is_continued():
    assert parse(["Hm.", "</think>", "Yes"], thinking=True) == (Thinking("Hm."), Text("Yes"))


@pytest.mark.parametrize(
    "lead",
    [
        '<tool_call>{"name": "look", "arguments": ',
        '{"name": "look", "parameters": ',
        '```json\n{"name": "look", "arguments":',
        "[TOOL_CALLS]look[ARGS]",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>",
    ],
)
def test_arguments_stream_before_the_call_ends(lead: str):
    parser = AnswerParser(("look",), lambda: "id")
    assert parser.feed(lead + '{"a": "b') == [
        ToolCall("id", "look", ""),
        ToolCall("", "", '{"a": "b'),
    ]
    assert (parser.calls_begun, parser.calls_read) == (1, 0)
    parser.feed('"}}')
    assert parser.calls_read == 1


def test_a_string_written_as_xml_streams():
    parser = AnswerParser(("look",), lambda: "id", schemas=SCHEMAS)
    assert parser.feed("<function=look>\n<parameter=at>\nfirst ") == [
        ToolCall("id", "look", ""),
        ToolCall("", "", '{"at": "first '),
    ]
    assert parser.feed('"second"\n</') == [ToolCall("", "", '\\"second\\"')]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"answer": ', '{"answer":'),
        ('{"name": "lo', None),
        ('{"name": "lot', '{"name": "lot'),
        ('{"name": "look", "age', '{"name": "look", "age'),
        ("```js\n", "```js"),
        ("[look, ", "[look,"),
        ("<tool_call>[1", "<tool_call>[1"),
        ("<table>", "<table>"),
    ],
)
def test_text_that_cannot_become_a_call_is_not_held_back(text: str, said: str | None):
    parser = AnswerParser(("look",), lambda: "id")
    assert parser.feed(text) == ([] if said is None else [Text(said)])


def test_a_channel_is_told_when_it_ends():
    parser = AnswerParser(("look",), lambda: "id")
    assert parser.feed("<|channel|>analysis<|message|>Hm. \n<|end|>") == [Thinking("Hm. \n")]
    assert parser.feed("<|start|>assistant<|channel|>final<|message|>So") == [Text("So")]


def test_an_answer_that_begins_calls_without_end_is_text_at_last():
    endless = '{"name": "look", "type": "\n' * 3_000
    text = f"{endless}{CALL}"
    for chunks in ([text], [text[at : at + 7] for at in range(0, len(text), 7)]):
        assert parse(chunks) == (Text(text),)


@pytest.mark.parametrize("size", [1, 1000, 10_000])
def test_long_arguments_are_read_whole(size: int):
    numbers = [*range(size)]
    value = json.dumps(numbers, indent=1)
    text = f"<tool_call><function=look><parameter=n>{value}</parameter></function></tool_call>"
    for chunks in ([text], [text[at : at + 5] for at in range(0, len(text), 5)]):
        (call,) = parse(chunks)
        assert isinstance(call, ToolCall)
        assert json.loads(call.arguments) == {"n": numbers}


def test_what_is_held_back_is_bounded():
    parser = AnswerParser(("look",), lambda: "id")
    text = '{"arguments": "' + "x" * (1 << 15)
    assert parser.feed(text) == [Text(text)]


@pytest.mark.parametrize(
    ("text", "opened", "kept"),
    [
        (
            f"Hm <tool_call>\n{CALL}",
            ("", "}\n</tool_call>"),
            'Hm <tool_call>\n{"name": "look", "arguments":',
        ),
        (CALL, ("", "}"), '{"name": "look", "arguments":'),
        (f"```json\n[{CALL}", ("", "}\n```"), '```json\n[{"name": "look", "arguments":'),
        (f"[TOOL_CALLS]look[ARGS]{ARGUMENTS}", ("", ""), "[TOOL_CALLS]look[ARGS]"),
        (
            "<tool_call>\n<function=look>\n<par",
            None,
            "",
        ),
        (
            "<tool_call>\n<function=look>\n<parameter=",
            ('\n{"name": "look", "arguments":', "}\n</tool_call>"),
            "<tool_call>",
        ),
        ("Go.\n[look(at", ('{"name": "look", "arguments":', "}"), "Go.\n"),
        (
            '```json\n{"arguments": {}, "name": "look"}',
            ('json\n{"name": "look", "arguments":', "}\n```"),
            "```",
        ),
        (
            f"<|channel|>commentary to=functions.look<|message|>{ARGUMENTS}",
            ("", None),
            "<|channel|>commentary to=functions.look<|message|>",
        ),
    ],
)
def test_a_call_can_be_given_other_arguments(
    text: str, opened: tuple[str, str | None] | None, kept: str
):
    """What `opened` says leads to a text in which the constrained arguments stand right."""
    parser = AnswerParser(("look",), lambda: "id", pausing=True)
    pieces = parser.feed(text)
    if opened is None:
        assert parser.opened is None
        return
    assert parser.opened == Opened("look", len(text) - len(kept), *opened)
    assert pieces[-1] == ToolCall("id", "look", "")
    assert parser.feed(' {"at": ') == [ToolCall("", "", '{"at": ')]
    assert parser.feed("1}") == [ToolCall("", "", "1}")]
    assert parser.calls_read == 1
    lead, close = opened
    assert parser.feed(close or "") == []
    assert parser.finish() == []
    whole = f'{kept}{lead} {{"at": 1}}{close}'
    if close is not None and "[{" not in whole:
        assert parse([whole])[-1] == ToolCall("call_0", "look", '{"at": 1}')
