# ruff: noqa: RUF001 - DeepSeek spells its marks with fullwidth bars
"""Tool calls written as text in every form that models were taught, within prose.

A seed makes an answer: prose, in which calls may stand, each written in one form, then perhaps
cut, or quoted so that it is none. What is read of it must be those calls exactly, or text.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from headrace.agent.recover import Recovered, recover
from headrace.core.messages import Message, Text, Thinking, ToolCall
from headrace.core.requests import Tool

Arguments = dict[str, Any]
Call = tuple[str, Arguments]

TOOLS = (
    Tool(
        "Edit",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "text": {"type": "string"},
                "n": {"type": "integer"},
                "all": {"type": "boolean"},
                "items": {"type": "array", "items": {"type": "string"}},
                "more": {"type": "object"},
            },
            "required": ["path"],
        },
    ),
    Tool("List", {"type": "object", "properties": {"path": {"type": "string"}}}),
)
_STRINGS = (
    "a.py",
    "",
    " x ",
    'say "hi"',
    "it's",
    "a\nb\n",
    "tab\there",
    "{",
    "}}",
    "[1, {",
    "C:\\dir\\n",
    "naïve 😀",
    "<b>",
    "</div>",
    "a, b; c",
    "```",
    "# no",
    "x" * 400,
    "null",
    "12",
    "name",
    "&amp;",
    '{"name": "List", "arguments": {}}',
    "def f(a, b):\n    return {'a': [b]}\n",
    "\\",
    "$(x)",
    "%s",
)
_PROSE = (
    "Let me look at the file.",
    "I will call Edit now",
    "Edit(path) is a tool.",
    "a < b > c [d]",
    "- one\n- two",
    "```python\nprint({1: [2]})\n```",
    "{'a': 1}",
    '{"a": {"b": [1, 2]}}',
    "x = [1]",
    "# Title",
    "Use `List` or `Edit`.",
    "[link](http://x.y)",
    "<p>Hi</p>",
    "1. First, 2. second;",
    'The name is "Edit", the arguments are {}.',
    "Naïve 😀 text",
    "f(x) = {y | y < x}",
    "**bold**",
    'He said: {"name": "Edit", "arguments": {"path": "q"}} in mid-sentence.',
    '{"name": "weather", "arguments": {"path": "q"}}',
    '```json\n{"a": 1}\n```',
    "[1, 2]",
    "[x](y)",
    "<tool_calls>",
    "[TOOL]",
    "<function>",
    "tool_call",
    "arguments: {}",
    '"Edit"',
    "<|x|>",
    "{",
    "}",
)


def _json(call: Call, drawn: random.Random, key: str = "arguments") -> str:
    name, arguments = call
    indent = drawn.choice((None, None, 2))
    return json.dumps(
        {"name": name, key: arguments}, indent=indent, ensure_ascii=drawn.random() < 0.5
    )


def _arguments(call: Call, drawn: random.Random) -> str:
    return json.dumps(call[1], ensure_ascii=drawn.random() < 0.5)


def _python(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{key}={value!r}' for key, value in call[1].items())})"


def _xml(call: Call) -> str:
    def written(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    pairs = "".join(
        f"<parameter={key}>\n{written(value)}\n</parameter>\n" for key, value in call[1].items()
    )
    return f"<function={call[0]}>\n{pairs}</function>"


FORMS: dict[str, Callable[[Call, random.Random], str]] = {
    "hermes": lambda call, drawn: f"<tool_call>\n{_json(call, drawn)}\n</tool_call>",
    "hermes, not closed": lambda call, drawn: f"<tool_call>{_json(call, drawn)}",
    "qwen coder": lambda call, _: f"<tool_call>\n{_xml(call)}\n</tool_call>",
    "function": lambda call, drawn: f"<function={call[0]}>{_arguments(call, drawn)}</function>",
    "function, xml": lambda call, _: _xml(call),
    "llama": lambda call, drawn: _json(call, drawn, "parameters"),
    "llama, tag": lambda call, drawn: f"<|python_tag|>{_json(call, drawn, 'parameters')}",
    "llama, python": lambda call, _: f"[{_python(call)}]",
    "llama 4": lambda call, _: f"<|python_start|>[{_python(call)}]<|python_end|>",
    "mistral": lambda call, drawn: f"[TOOL_CALLS][{_json(call, drawn)}]",
    "mistral, new": lambda call, drawn: f"[TOOL_CALLS]{call[0]}{_arguments(call, drawn)}",
    "mistral, args": lambda call, drawn: f"[TOOL_CALLS]{call[0]}[ARGS]{_arguments(call, drawn)}",
    "mistral, id": lambda call, drawn: (
        f"[TOOL_CALLS]{call[0]}[CALL_ID]a1[ARGS]{_arguments(call, drawn)}"
    ),
    "deepseek": lambda call, drawn: (
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{call[0]}\n```json\n"
        f"{_arguments(call, drawn)}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "deepseek 3.1": lambda call, drawn: (
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call[0]}<｜tool▁sep｜>"
        f"{_arguments(call, drawn)}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "harmony": lambda call, drawn: (
        f"<|channel|>commentary to=functions.{call[0]} <|constrain|>json<|message|>"
        f"{_arguments(call, drawn)}<|call|>"
    ),
    "fenced": lambda call, drawn: f"```json\n{_json(call, drawn)}\n```",
    "fenced, plain": lambda call, drawn: f"```\n{_json(call, drawn)}\n```",
    "bare": _json,
    "bare list": lambda call, drawn: f"[{_json(call, drawn)}]",
    "openai": lambda call, drawn: json.dumps(
        {"type": "function", "function": {"name": call[0], "arguments": _arguments(call, drawn)}}
    ),
}
"""How a call is written."""
_QUOTED: tuple[Callable[[str], str], ...] = (
    json.dumps,
    lambda text: "    " + text.replace("<", "&lt;").replace("[", "&#91;").replace("{", "&#123;"),
    lambda text: text.replace("<", "< ").replace("[", "[ .").replace("{", "{ ."),
    lambda text: text.replace("Edit", "Weather").replace("List", "Quorum"),
)
"""How it is told of without being one."""


class Written(NamedTuple):
    """An answer and the calls in it; `quoted`: it may have none, `cut`: its end is missing."""

    text: str
    form: str
    calls: tuple[Call, ...]
    words: tuple[str, ...]
    quoted: bool
    cut: bool


def written(form: str, seed: int) -> Written:
    """The answer of a seed."""
    drawn = random.Random(f"{form} {seed}")
    quoted = drawn.random() < 0.25
    calls = tuple(_call(drawn) for _ in range(drawn.choice((0, 1, 1, 1, 2))))
    pieces: list[str] = []
    words: list[str] = []
    for number in range(len(calls) + 1):
        said = drawn.sample(_PROSE, drawn.choice((0, 0, 1, 2, 4)))
        marked = [f"w{seed}-{number}", *said, f"v{seed}-{number}"] if said else []
        words += [word for word in (marked[:1] + marked[-1:]) if word]
        pieces.append(drawn.choice(("\n", "\n\n")).join(marked))
        if number < len(calls):
            one = FORMS[form](calls[number], drawn)
            pieces.append(drawn.choice(_QUOTED)(one) if quoted else one)
    text = "\n".join(piece for piece in pieces if piece)
    cut = drawn.random() < 0.4
    if cut:
        text = text[: drawn.randrange(len(text) + 1)]
    return Written(text, form, calls, tuple(words), quoted, cut)


def _call(drawn: random.Random) -> Call:
    if drawn.random() < 0.2:
        return "List", {}
    arguments: Arguments = {"path": drawn.choice(_STRINGS)}
    if drawn.random() < 0.6:
        arguments["text"] = drawn.choice(_STRINGS) + drawn.choice(_STRINGS)
    if drawn.random() < 0.4:
        arguments["n"] = drawn.choice((0, 7, -3, 123456))
    if drawn.random() < 0.3:
        arguments["all"] = drawn.random() < 0.5
    if drawn.random() < 0.3:
        arguments["items"] = drawn.sample(_STRINGS, 2)
    if drawn.random() < 0.2:
        arguments["more"] = {"a": [1, {"b": None}], "c": drawn.choice(_STRINGS)}
    return "Edit", arguments


def read(answer: Written) -> Recovered:
    """What the kernel makes of it."""
    return recover(Message("assistant", (Text(answer.text),)), TOOLS, cut=answer.cut)


def check(answer: Written) -> int:
    """How many calls were found; each must be one that was written, in its order."""
    found = read(answer)
    ready = [(one.call.name, one.arguments) for one in found.calls if not one.problem]
    left = list(answer.calls)
    for name, arguments in ready:
        fits = [
            place
            for place, (wrote, whole) in enumerate(left)
            if wrote == name and _same(arguments, whole, cut=answer.cut)
        ]
        assert fits, f"nobody wrote {name} {arguments} in {answer}"
        del left[: fits[0] + 1]
    if not answer.quoted and not answer.cut:
        assert not left, f"not found: {left} in {answer}"
        assert len(found.calls) == len(answer.calls), answer
        said = "".join(
            part.arguments if isinstance(part, ToolCall) else part.text
            for part in found.message.parts
            if isinstance(part, Text | Thinking | ToolCall)
        )
        assert all(word in said for word in answer.words), answer
    return len(ready)


def _same(found: Arguments, whole: Arguments, *, cut: bool) -> bool:
    """Whether arguments are those that were written; what was cut off may be missing."""
    if not cut:
        return found == whole
    return all(key in whole and whole[key] == value for key, value in found.items())


_HEADS = ("", '{"arguments": {"path": "', "<function=Edit>\n<parameter=n>\n", "[Edit(path='")
_ONE: Call = ("Edit", {"path": "a", "text": "b\n"})
_UNITS = (
    "{",
    "\n[",
    "\n{",
    "[{",
    '{"',
    "<tool_call>",
    "<tool_call>{",
    "```json\n",
    "```\n",
    "<|channel|>",
    '\n{"name": "Edit", "arguments": {',
    '\n{"name": "Edit", "x": "',
    "[TOOL_CALLS]",
    "<function=Edit>",
    "<function=Edit><parameter=path>",
    "<parameter=path>",
    "to=functions.",
    '"',
    "`",
    "\\",
    "x",
    "}",
    "\n[Edit(path='",
    "<think>",
    "</think>",
    ",{",
    "1,}",
    "<｜tool▁call▁begin｜>Edit<｜tool▁sep｜>",
)


def endless(chars: int) -> Iterator[tuple[str, str]]:
    """Answers of so many characters that try to make a reader slow, each with its name."""
    drawn = random.Random(0)
    units = [*_UNITS, *(make(_ONE, drawn) + "\n" for make in FORMS.values())]
    for head in _HEADS:
        for unit in units[:: 3 if head else 1]:
            yield f"{head!r} {unit!r}", head + unit * (chars // len(unit))


def seconds(text: str) -> float:
    """CPU time to read an answer."""
    began_s = time.thread_time()
    recover(Message("assistant", (Text(text),)), TOOLS, cut=False)
    return time.thread_time() - began_s
