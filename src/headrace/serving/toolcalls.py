"""Reads a model's raw text as it comes: thinking, text and tool calls, whoever wrote them how.

Small models were taught one way of calling tools and use another. Read here are

- `<think>…</think>` at the start: thinking;
- `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, anywhere, any number (Hermes, Qwen);
- an answer that is nothing but such JSON (one object or a list of them, bare or in a fence) and
  names a tool of the request: what Qwen-Coder and Llama write.

Nothing is held back but what may still become one of these.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Literal

import msgspec

from headrace.core.messages import Text, Thinking, ToolCall

Piece = Text | Thinking | ToolCall
"""More of an answer. A tool call with an id begins a new one; without, it is more arguments."""

_THINK, _UNTHINK = "<think>", "</think>"
_CALL, _UNCALL = "<tool_call>", "</tool_call>"
_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_FENCE = re.compile(r"```(?:json)?[ \t]*\n\s*")
_KEYS = ("name", "arguments", "parameters", "type", "function")

_State = Literal["start", "thinking", "rethought", "text", "call", "arguments", "tail", "bare"]


class _Written(msgspec.Struct, frozen=True):
    """A call as models write it."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw()
    function: "_Written | None" = None


_CALLS: msgspec.json.Decoder[_Written | list[_Written]] = msgspec.json.Decoder(
    _Written | list[_Written]
)


class AnswerParser:
    """Feed it text; it gives pieces. The same text cut elsewhere gives the same answer.

    Args:
        tools: Names that a bare JSON object must have to count as a call; none of them given,
            no calls are looked for.
        new_call_id: Makes the id of a call.
        forced: The whole answer is one call, as a constraint made sure.
        parallel: Whether there may be more than one call; if not, all after the first is dropped.
        thinking: The prompt ended inside thinking already.
    """

    def __init__(
        self,
        tools: Collection[str],
        new_call_id: Callable[[], str],
        *,
        forced: bool = False,
        parallel: bool = True,
        thinking: bool = False,
    ) -> None:
        self._tools = tools
        self._new_call_id = new_call_id
        self._state: _State = "call" if forced else "thinking" if thinking else "start"
        self._tagged = False
        self._held = ""
        self._fresh = True
        self._json = _JsonEnd()
        self._scanned = 0
        self._parallel = parallel
        self.calls_begun = 0
        self.calls_read = 0

    @property
    def full(self) -> bool:
        """Whether nothing that comes can matter any more."""
        return not self._parallel and self.calls_read > 0

    def feed(self, text: str) -> list[Piece]:
        """What can be said after `text`."""
        self._held += text
        return list(self._read(final=False))

    def finish(self) -> list[Piece]:
        """What was held back, now that nothing more comes."""
        return list(self._read(final=True))

    def _read(self, *, final: bool) -> Iterator[Piece]:
        steps: dict[_State, Callable[[bool], Iterator[Piece]]] = {
            "start": self._start,
            "thinking": self._think,
            "rethought": self._start,
            "text": self._text,
            "call": self._call,
            "arguments": self._more_arguments,
            "tail": self._tail,
            "bare": self._bare,
        }
        while self._held:
            if self.full:
                self._held = ""
                return
            before = (self._state, self._held)
            yield from steps[self._state](final)
            if before == (self._state, self._held):
                return

    def _start(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001 - one shape for all steps
        """Find out what the answer begins with."""
        bare = self._held.lstrip()
        if self._state == "start" and bare.startswith(_THINK):
            self._held, self._state = bare.removeprefix(_THINK), "thinking"
        elif not final and (not bare or (self._state == "start" and _THINK.startswith(bare))):
            return
        else:
            if self._state == "rethought":
                self._held = bare
            self._state = "bare" if self._tools and bare[:1] in {"{", "[", "`"} else "text"
            self._json, self._scanned = _JsonEnd(), 0
        yield from ()

    def _think(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        if self._fresh:
            self._held = self._held.lstrip()
        thought, closed, rest = self._held.partition(_UNTHINK)
        if not closed and not final:
            thought, rest = _split_possible(self._held, _UNTHINK)
        if thought:
            self._fresh = False
            yield Thinking(thought)
        self._held = rest
        if closed:
            self._state = "rethought"

    def _text(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        if not self._tools:
            yield from self._release_text()
            return
        if self.calls_begun and self._fresh:
            self._held = self._held.lstrip()
        said, opened, rest = self._held.partition(_CALL)
        if opened:
            said = said.rstrip()
            self._state, self._tagged = "call", True
        elif final:
            said = said.rstrip() if self.calls_begun and not said.strip() else said
        else:
            possible, tag = _split_possible(said, _CALL)
            said = possible.rstrip()
            rest = possible[len(said) :] + tag
        if said:
            self._fresh = False
            yield Text(said)
        self._held = rest

    def _call(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Read up to the arguments, then stream them; or the whole call, if written oddly."""
        head = _HEAD.match(self._held)
        if head:
            yield self._begin(msgspec.json.decode(head[1], type=str))
            self._held, self._state = self._held[head.end() :], "arguments"
            self._json = _JsonEnd()
            return
        written, closed, rest = self._held.partition(_UNCALL)
        if not closed and not final:
            return
        calls = _decode(written)
        if calls:
            yield from self._whole(calls)
        else:
            yield Text((_CALL if self._tagged else "") + written + closed)
        self._held, self._state = rest, "text"
        self._fresh = True

    def _more_arguments(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001, ARG002
        end = self._json.find(self._held)
        yield ToolCall("", "", self._held[:end])
        if end is not None:
            self.calls_read += 1
            self._state = "tail"
        self._held = "" if end is None else self._held[end:]

    def _tail(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Swallow what closes a call: a brace and the tag, either of which may be missing."""
        rest = self._held.lstrip().removeprefix("}").lstrip()
        if _UNCALL.startswith(rest) and rest != _UNCALL and not final:
            return
        self._held = "" if final and _UNCALL.startswith(rest) else rest.removeprefix(_UNCALL)
        self._state = "text"
        self._fresh = True
        yield from ()

    def _bare(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Hold back an answer as long as it may be nothing but a call."""
        end = None
        if _may_be_call(self._held):
            end = self._json.find(self._held[self._scanned :])
            if end is None and not final:
                self._scanned = len(self._held)
                return
        if end is None:
            self._state = "text"
            return
        end += self._scanned
        after = self._held[end:].strip()
        fenced = self._held.lstrip().startswith("`")
        if not final and "```".startswith(after) and (fenced or not after):
            self._json, self._scanned = _JsonEnd(), 0  # what follows it decides; look again
            return
        whole = after == ("```" if fenced else "") or (fenced and not after)
        calls = _decode(self._held[:end].lstrip().removeprefix("```").removeprefix("json"))
        if whole and calls and all(name in self._tools for name, _ in calls):
            yield from self._whole(calls)
            self._held = ""
        else:
            self._state = "text"

    def _whole(self, calls: list[tuple[str, str]]) -> Iterator[Piece]:
        for name, arguments in calls if self._parallel else calls[:1]:
            yield self._begin(name, arguments)
            self.calls_read += 1

    def _release_text(self) -> Iterator[Piece]:
        text, self._held = self._held, ""
        yield Text(text)

    def _begin(self, name: str, arguments: str = "") -> ToolCall:
        self.calls_begun += 1
        return ToolCall(self._new_call_id(), name, arguments)


class _JsonEnd:
    """Finds where a JSON object ends that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False

    def find(self, text: str) -> int | None:
        """The index after the object's last brace, None if it lies beyond `text`."""
        for index, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = char == "\\"
                self._in_string = char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return index + 1
        return None


def _split_possible(text: str, tag: str) -> tuple[str, str]:
    """Cut off the end of `text` that may be the beginning of `tag`."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-length:]):
            return text[:-length], text[-length:]
    return text, ""


def _may_be_call(text: str) -> bool:
    """Whether an answer that begins so may still turn out to be nothing but a call."""
    rest = text.lstrip()
    if rest.startswith("`"):
        fence = _FENCE.match(rest)
        if fence is None:
            return "```json".startswith(rest.rstrip()) or rest.rstrip(" \t") in {"```", "```json"}
        rest = rest[fence.end() :]
    if rest.startswith("["):
        rest = rest[1:].lstrip()
    for sign in ("{", '"'):
        if not rest:
            return True
        if not rest.startswith(sign):
            return False
        rest = rest[1:].lstrip() if sign == "{" else rest[1:]
    return any(f'{key}"'.startswith(rest[: len(key) + 1]) for key in _KEYS)


def _decode(text: str) -> list[tuple[str, str]]:
    """Names and arguments of the calls that `text` is, none if it is anything else."""
    try:
        written: _Written | list[_Written] = _CALLS.decode(text)
    except msgspec.MsgspecError:
        return []
    calls: list[tuple[str, str]] = []
    for each in written if isinstance(written, list) else [written]:
        call = each.function or each
        arguments = _arguments(call)
        if call.name is None or arguments is None:
            return []
        calls.append((call.name, arguments))
    return calls


def _arguments(call: _Written) -> str | None:
    """The arguments as JSON text of an object; some models write that text as a string."""
    text = (bytes(call.arguments) or bytes(call.parameters)).decode()
    if text.startswith('"'):
        text = msgspec.json.decode(text, type=str)
    return text if text.lstrip().startswith("{") else None
