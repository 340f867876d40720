"""What a model meant: calls found in its text, arguments mended by the tool's schema.

Only what has one reading is mended. A string that was cut off could go on in any way, so a call
that ends in one is refused and asked for again; whoever closes it writes half a file.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, cast

import msgspec

from headrace.agent.recover_json import object_of
from headrace.core.messages import Message, Part, Text, Thinking, ToolCall
from headrace.core.requests import JsonSchema, Tool

_WRITTEN_NAME = re.compile(r'"name"\s*:\s*"([^"\\\n]{1,64})"\s*,\s*"(?:arguments|parameters)"')
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]")
_NOT_IN_CALLS = re.compile(r"[^a-zA-Z0-9_-]")
_NAME_CHARS_MAX = 64
_WHOLE = re.compile(r"-?\d{1,15}(\.0+)?")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_ALIKE = 0.6
_PLACEHOLDERS: dict[str, object] = {
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}


class Ready(msgspec.Struct, frozen=True):
    """A call to act on: its arguments, or what is wrong with it, in words for the model."""

    call: ToolCall
    arguments: dict[str, Any]
    problem: str = ""


class Recovered(msgspec.Struct, frozen=True):
    """An answer as it counts. `written` is what the model wrote where that differs."""

    message: Message
    calls: tuple[Ready, ...]
    written: Message | None = None


def recover(
    message: Message, tools: Sequence[Tool], *, cut: bool, taken: Sequence[str] = ()
) -> Recovered:
    """Read an answer.

    Args:
        message: What came.
        tools: What the model is offered.
        cut: It ended at the limit of tokens, so its last call may lack something.
        taken: The ids of all calls before; those without an id are numbered behind them.
    """
    parts = _with_calls(message.parts, tools)
    by_name = {tool.name: tool for tool in tools}
    ready: list[Ready] = []
    ids = set(taken)
    given = {part.id for part in parts if isinstance(part, ToolCall)}
    first_id = len(taken) + 1
    said: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCall):
            identifier = part.id
            if not identifier or identifier in ids:
                numbers = (f"call_{n}" for n in count(first_id + len(ready)))
                identifier = next(one for one in numbers if one not in ids and one not in given)
            ids.add(identifier)
            one = _ready(msgspec.structs.replace(part, id=identifier), by_name, cut=cut)
            ready.append(one)
            said.append(one.call)
        else:
            said.append(part)
    found = Message("assistant", tuple(said))
    return Recovered(found, tuple(ready), message if found != message else None)


def _with_calls(parts: tuple[Part, ...], tools: Sequence[Tool]) -> tuple[Part, ...]:
    """Calls written as text become calls, where the model has made none by the book."""
    if any(isinstance(part, ToolCall) for part in parts):
        return parts
    texts = "".join(part.text for part in parts if isinstance(part, Text))
    if not any(sign in texts for sign in "{<["):
        return parts
    from headrace.wire.toolcalls import AnswerParser  # noqa: PLC0415 - few models need it

    names = [tool.name for tool in tools]
    names += [name for name in set(_WRITTEN_NAME.findall(texts)) if nearest(name, tools)]
    parser = AnswerParser(
        frozenset(names), str, schemas={tool.name: tool.parameters for tool in tools}
    )
    pieces = [*parser.feed(texts), *parser.finish()]
    if not any(isinstance(piece, ToolCall | Thinking) for piece in pieces):
        return parts
    thoughts = [part for part in parts if not isinstance(part, Text)]
    return (*thoughts, *_whole(pieces))


def _whole(pieces: Sequence[Text | Thinking | ToolCall]) -> list[Part]:
    """Pieces of the parser joined: a call with a name begins a new one."""
    joined: list[Part] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        match piece, last:
            case ToolCall(name=""), ToolCall():
                joined[-1] = ToolCall("", last.name, last.arguments + piece.arguments)
            case (Text(), Text()) | (Thinking(), Thinking()):
                joined[-1] = type(piece)(last.text + piece.text)
            case _:
                joined.append(piece)
    return [
        Text(part.text.strip()) if isinstance(part, Text) else part
        for part in joined
        if not isinstance(part, Text) or part.text.strip()
    ]


def _ready(call: ToolCall, tools: Mapping[str, Tool], *, cut: bool) -> Ready:
    tool = tools.get(call.name) or _same_name(call.name, tools)
    if tool is None:
        near = nearest(call.name, tuple(tools.values())) or tuple(tools)
        problem = _unknown(call.name[:_NAME_CHARS_MAX], near, tools)
        # No API takes a conversation with other names; the call is told of as it was written.
        name = _NOT_IN_CALLS.sub("_", call.name)[:_NAME_CHARS_MAX] or "unknown"
        return Ready(msgspec.structs.replace(call, name=name), {}, problem)
    call = msgspec.structs.replace(call, name=tool.name)
    found = object_of(call.arguments, tool.parameters, cut=cut)
    if isinstance(found, str):
        return Ready(call, {}, f"{found} A call that works: {example(tool, {})}")
    arguments, problems = fit(found, tool.parameters)
    if problems:
        text = f"{'; '.join(problems)}. A call that works: {example(tool, arguments)}"
        return Ready(call, {}, text)
    return Ready(_mended(call, arguments), arguments)


def _mended(call: ToolCall, arguments: dict[str, Any]) -> ToolCall:
    """The call with its arguments as they are understood, untouched where they were sound."""
    try:
        same: object = msgspec.json.decode(call.arguments)
    except (msgspec.MsgspecError, RecursionError):
        same = None
    if same == arguments and call.arguments.startswith("{"):
        return call
    text = msgspec.json.encode(arguments).decode()
    return msgspec.structs.replace(call, arguments=text)


def _same_name(name: str, tools: Mapping[str, Tool]) -> Tool | None:
    """The tool whose name differs in case or signs only, such as `functions.read`."""
    wanted = _bare(name.rpartition(".")[2])
    found = [tool for tool in tools.values() if _bare(tool.name) == wanted]
    return found[0] if len(found) == 1 else None


def _bare(name: str) -> str:
    return _NOT_IN_NAMES.sub("", name.lower())


def nearest(name: str, tools: Sequence[Tool]) -> tuple[str, ...]:
    """Tools whose names are like `name`, the likest first."""
    from difflib import SequenceMatcher  # noqa: PLC0415 - only where a model is wrong

    wanted = _bare(name)
    rated: list[tuple[float, str]] = []
    for tool in tools:
        bare = _bare(tool.name)
        within = bool(wanted) and (bare in wanted or wanted in bare)
        rate = 1.0 if within else SequenceMatcher(None, wanted, bare).ratio()
        if rate >= _ALIKE:
            rated.append((-rate, tool.name))
    return tuple(found for _, found in sorted(rated))


def _unknown(name: str, near: Sequence[str], tools: Mapping[str, Tool]) -> str:
    shown = tools.get(near[0]) if near else None
    text = f"There is no tool {name!r}. Nearest: {', '.join(near)}." if near else "No tools here."
    return text if shown is None else f"{text} A call that works: {example(shown, {})}"


def example(tool: Tool, given: Mapping[str, Any]) -> str:
    """The smallest call that works, with what was given and placeholders for what was not."""
    properties: dict[str, JsonSchema] = tool.parameters.get("properties", {})
    arguments = {name: value for name, value in given.items() if name in properties}
    for name in tool.parameters.get("required", ()):
        schema = properties.get(name, {})
        if name not in arguments or _misfit(arguments[name], schema):
            arguments[name] = _placeholder(name, schema)
    shown = {name: _short(value) for name, value in arguments.items()}
    return f"{tool.name} {msgspec.json.encode(shown).decode()}"


def _placeholder(name: str, schema: JsonSchema) -> object:
    if schema.get("enum"):
        return schema["enum"][0]
    return _PLACEHOLDERS.get(str(schema.get("type")), f"<{name}>")


def _short(value: object) -> object:
    limit = 60
    return f"{value[:limit]}…" if isinstance(value, str) and len(value) > limit else value


def fit(arguments: dict[str, Any], schema: JsonSchema) -> tuple[dict[str, Any], list[str]]:
    """Arguments as the schema wants them, and what is wrong with them still."""
    properties: dict[str, JsonSchema] = schema.get("properties", {})
    required: Sequence[str] = schema.get("required", ())
    given = _renamed(arguments, properties, required)
    fitted: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in given.items():
        wanted = properties.get(name)
        if wanted is None:
            if schema.get("additionalProperties") is not False:
                fitted[name] = value
            continue  # what a tool does not know changes nothing
        if value is None and name not in required:
            continue
        value = coerce(value, wanted)  # noqa: PLW2901 - the same value, as it was meant
        if wrong := _misfit(value, wanted):
            problems.append(f"argument {name!r} {wrong}")
        fitted[name] = value
    missing = [name for name in required if name not in given]
    if missing:
        problems.insert(0, f"missing: {', '.join(map(repr, missing))}")
    return fitted, problems


def _renamed(
    arguments: dict[str, Any], properties: Mapping[str, JsonSchema], required: Sequence[str]
) -> dict[str, Any]:
    """A required argument under another name, such as `file_path` for `path`, where only one is."""
    missing = [name for name in required if name not in arguments]
    foreign = [name for name in arguments if name not in properties]
    renamed = dict(arguments)
    for name in missing:
        likes = [one for one in foreign if _bare(name) in _bare(one) or _bare(one) in _bare(name)]
        if len(likes) == 1:
            renamed[name] = renamed.pop(likes[0])
            foreign.remove(likes[0])
    return renamed


def coerce(value: Any, schema: JsonSchema) -> Any:  # noqa: ANN401 - JSON is any
    """A value as its schema wants it, where it has one reading."""
    kind: object = schema.get("type")
    if kind == "array":
        items: object = cast("object", value) if isinstance(value, list) else _parsed(value)
        each: list[Any] = cast("list[Any]", items) if isinstance(items, list) else [value]
        wanted: JsonSchema = schema.get("items", {})
        return [coerce(one, wanted) for one in each]
    if kind == "object":
        found: object = cast("object", value) if isinstance(value, dict) else _parsed(value)
        if isinstance(found, dict):
            return fit(cast("dict[str, Any]", found), schema)[0]
    return _scalar(cast("object", value), kind)


def _scalar(value: object, kind: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if kind == "boolean" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(float(text))
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "string" and isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return None


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _misfit(value: object, schema: JsonSchema) -> str:
    """Why a value does not fit; empty where it does."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        as_number = isinstance(value, bool) and kind != "boolean"
        if as_number or not isinstance(value, _TYPES[kind]):
            return f"must be of type {kind}"
    if (allowed := schema.get("enum")) and value not in allowed:
        return f"must be one of {', '.join(map(str, allowed))}"
    if isinstance(value, list):
        items: JsonSchema = schema.get("items", {})
        each = cast("list[Any]", value)
        wrong = [text for one in each if (text := _misfit(one, items))]
        return f"has an item that {wrong[0]}" if wrong else ""
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        return f"lacks {', '.join(map(repr, missing))}" if missing else ""
    return ""
