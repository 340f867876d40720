"""What models write instead of calls by the book, and what is made of it."""

from pathlib import Path
from typing import Any

import pytest

from headrace.agent.entries import Used
from headrace.agent.recover import recover
from headrace.agent.recover_json import object_of
from headrace.core.messages import Message, Text, Thinking, ToolCall
from headrace.core.requests import Tool
from support.coding import Bench, Noting, answer, call

READ = Tool(
    "Read",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["path"],
    },
    "Reads.",
)
WRITE = Tool(
    "Write",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
        "required": ["path", "text"],
    },
)
TODO = Tool(
    "Todo",
    {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "string"}},
            "done": {"type": "boolean"},
            "share": {"type": "number"},
            "how": {"type": "string", "enum": ["all", "one"]},
            "at": {"type": "object", "properties": {"line": {"type": "integer"}}},
        },
        "required": ["items"],
        "additionalProperties": False,
    },
)
TOOLS = (READ, WRITE, TODO)


def calls_of(*parts: Any, cut: bool = False) -> Any:
    return recover(
        Message("assistant", tuple(parts)), TOOLS, cut=cut, taken=[f"c{n}" for n in range(6)]
    )


def arguments_of(name: str, written: str, *, cut: bool = False) -> Any:
    (ready,) = calls_of(ToolCall("c", name, written), cut=cut).calls
    return ready.problem or ready.arguments


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "Read", "arguments": {"path": "a"}}\n</tool_call>',
        '```json\n{"name": "Read", "arguments": {"path": "a"}}\n```',
        '{"name": "Read", "parameters": {"path": "a"}}',
        "<tool_call>\n<function=Read>\n<parameter=path>\na\n</parameter>\n</function>\n</tool_call>",
        '[TOOL_CALLS][{"name": "Read", "arguments": {"path": "a"}}]',
        '<function=Read>{"path": "a"}</function>',
        '[Read(path="a")]',
        '<|channel|>commentary to=functions.Read <|constrain|>json<|message|>{"path": "a"}<|call|>',
        '{"name": "read_file", "arguments": {"file_path": "a"}}',
    ],
)
def test_calls_in_every_dialect_are_found(text: str) -> None:
    found = calls_of(Text(text))
    (ready,) = found.calls
    assert found.written == Message("assistant", (Text(text),))
    if "read_file" in text:
        assert "Nearest: Read" in ready.problem
    else:
        assert (ready.call.id, ready.call.name, ready.arguments) == (
            "call_7",
            "Read",
            {"path": "a"},
        )


def test_words_stay_words() -> None:
    for text in ("Use {braces} and [lists] < 3.", '{"name": "Ada", "arguments": {"x": 1}}', "x"):
        found = calls_of(Text(text))
        assert (found.calls, found.written) == ((), None)


def test_calls_by_the_book_win_over_text() -> None:
    text = Text('{"name": "Read", "arguments": {"path": "b"}}')
    found = calls_of(text, ToolCall("c", "Read", '{"path": "a"}'))
    assert [one.arguments for one in found.calls] == [{"path": "a"}]
    assert found.written is None


def test_thoughts_in_text_are_told_apart() -> None:
    found = calls_of(Text("<think>Hm.</think>Yes."))
    assert found.message.parts == (Thinking("Hm."), Text("Yes."))


def test_ids_become_unique() -> None:
    call = ToolCall("c", "Read", '{"path": "a"}')
    found = calls_of(call, call, ToolCall("", "Read", '{"path": "a"}'))
    assert [one.call.id for one in found.calls] == ["c", "call_8", "call_9"]


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("Read", '{"path": "a", "limit": "5"}', {"path": "a", "limit": 5}),
        ("Read", '{"path": "a", "limit": 5.0}', {"path": "a", "limit": 5}),
        ("Read", '{"path": 5, "limit": null}', {"path": "5"}),
        ("Read", '{"file_path": "a"}', {"path": "a"}),
        ("read", '{"path": "a"}', {"path": "a"}),
        ("functions.Read", '{"path": "a"}', {"path": "a"}),
        ("Todo", '{"items": "x"}', {"items": ["x"]}),
        ("Todo", '{"items": "[\\"x\\", \\"y\\"]"}', {"items": ["x", "y"]}),
        ("Todo", '{"items": [], "done": "True", "share": "0.5", "no": 1}',
         {"items": [], "done": True, "share": 0.5}),
        ("Todo", '{"items": [], "at": "{\\"line\\": \\"3\\"}"}', {"items": [], "at": {"line": 3}}),
        ("Write", '{"path": "a", "text": "x\ny"}', {"path": "a", "text": "x\ny"}),
        ("Write", '{"path": "a", "text": "\\d+ \\n"}', {"path": "a", "text": "\\d+ \n"}),
        ("Read", '```json\n{"path": "a"}\n```', {"path": "a"}),
        ("Read", '{"path": "a",}', {"path": "a"}),
        ("Read", '{"path": "a"}}', {"path": "a"}),
        ("Read", '"{\\"path\\": \\"a\\"}"', {"path": "a"}),
        ("Read", "{'path': 'a'}", {"path": "a"}),
        ("Read", '{"path": "a"', {"path": "a"}),
        ("Todo", '{"items": ["a", "b"', {"items": ["a", "b"]}),
        ("Todo", '{"items": ["a"], "done": tr', {"items": ["a"], "done": True}),
    ],
)  # fmt: skip
def test_what_has_one_reading_is_mended(name: str, written: str, expected: object) -> None:
    assert arguments_of(name, written) == expected


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("Write", '{"path": "a", "text": "x = 1', "cut off"),
        ("Write", '{"path": "a"', "cut off"),
        ("Read", '{"path": "a", "limit": 12', "cut off"),
        ("Read", '{"path": "a", "limit":', "cut off"),
        ("Read", "a.py", "no JSON object"),
        ("Read", "[1]", "no JSON object"),
        ("Read", '{"path": "\\ud83d"}', "what JSON cannot say"),
        ("Read", "{'path': 'a', 'limit': ...}", "what JSON cannot say"),
        ("Read", "{'path': 'a', 'x': {(1, 2): 3}}", "what JSON cannot say"),
        ("Read", "", 'missing: \'path\'. A call that works: Read {"path":"<path>"}'),
        ("Read", '{"path": ["a"]}', "argument 'path' must be of type string"),
        ("Read", '{"path": "a", "limit": true}', "must be of type integer"),
        ("Todo", '{"items": [{"a": 1}]}', "has an item that must be of type string"),
        ("Todo", '{"items": [], "how": "none"}', "must be one of all, one"),
        ("Nothing", "{}", "There is no tool 'Nothing'"),
    ],
)
def test_what_has_not_is_refused_with_what_would_work(name: str, written: str, said: str) -> None:
    assert said in arguments_of(name, written)


def test_an_open_list_of_an_answer_cut_at_its_limit_may_lack_items() -> None:
    assert "cut off" in arguments_of("Todo", '{"items": ["a", "b"', cut=True)
    assert arguments_of("Read", '{"path": "a"', cut=True) == {"path": "a"}


def test_every_cut_of_a_call_is_mended_rightly_or_refused() -> None:
    whole = '{"path": "a b", "text": "x = {\\"k\\": [1]}\\n"}'
    expected = {"path": "a b", "text": 'x = {"k": [1]}\n'}
    for end in range(1, len(whole)):
        found = object_of(whole[:end], WRITE.parameters, cut=False)
        assert isinstance(found, str) or found == expected


def test_deep_nesting_is_an_error_like_any_other() -> None:
    assert isinstance(object_of('{"a":' * 5_000, READ.parameters, cut=False), str | dict)


@pytest.mark.parametrize(
    "text",
    [
        "{'path': b'x'}",
        "{'path': {1, 2}}",
        "{'path': 1j}",
        "{'path': (1, 2)}",
        "{'path': ...}",
        "{'path': {1: 2}}",
        "{'path': {None: 2}}",
        "{'path': {(1, 2): 3}}",
        "{{'path': 1}: 2}",
        '{"path": NaN}',
        '{"path": Infinity}',
        '{"path": 1e999}',
        '{"path": "\\ud800"}',
    ],
)
def test_what_json_cannot_say_is_asked_for_again(text: str) -> None:
    assert isinstance(object_of(text, {}, cut=False), str)


@pytest.mark.parametrize("name", ["Read", "Nope"])
@pytest.mark.parametrize("deep", ['{"a":' + "[" * 50_000, '{"path":' * 50_000, "[" * 50_000])
async def test_depth_breaks_nothing(tmp_path: Path, name: str, deep: str) -> None:
    lines = [answer(call(name, deep, f"c{n}")) for n in range(2)]
    bench = Bench(tmp_path, *lines, answer("I see."), begun={"context_tokens": 0})
    assert await bench.session.turn("Go.") == "done"
    assert all(used.result.is_error for used in bench.bodies(Used))


async def test_numbers_of_any_size_are_kept(tmp_path: Path) -> None:
    lines = [answer(call("Read", '{"path": "a", "limit": 1e300}')), answer("I see.")]
    bench = Bench(tmp_path, *lines)
    assert await bench.session.turn("Go.") == "done"
    assert bench.read.used == [{"path": "a", "limit": int(1e300)}]


def test_every_call_has_an_id_of_its_own() -> None:
    given = ("call_2", "", "call_1", "call_2", "", "call_3")
    message = Message("assistant", tuple(call("Read", {"path": "a"}, one) for one in given))
    found = recover(message, (Noting("Read").spec,), cut=False)
    ids = [one.call.id for one in found.calls]
    assert len(set(ids)) == len(ids)
    assert [ids[0], ids[2], ids[5]] == ["call_2", "call_1", "call_3"]
