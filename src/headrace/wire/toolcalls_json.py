"""Calls written as JSON objects: where they end, and what is in them."""

import re
from collections.abc import Collection

import msgspec

_STRING = r'"((?:[^"\\]|\\.)*)"'
_HEAD = re.compile(
    r'\{\s*(?:"(?:type|id)"\s*:\s*"[^"]*"\s*,\s*)*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,'
    r'\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_PAIR = re.compile(rf"\s*{_STRING}\s*:\s*(?:{_STRING}\s*(,)?)?")
_KEYS = ("name", "arguments", "parameters", "type", "function", "id")


class _Written(msgspec.Struct, frozen=True):
    """A call as models write it."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw()
    function: "_Written | None" = None


_CALL = msgspec.json.Decoder(_Written)


class BracketEnd:
    """Finds where the bracket closes that a text begins with, fed in pieces.

    Args:
        quotes: What strings stand between.
    """

    def __init__(self, quotes: str = '"') -> None:
        self._quotes = quotes
        self._depth = 0
        self._open_quote = ""
        self._escaped = False

    def find(self, text: str) -> int | None:
        """The index after the last bracket, None if it lies beyond `text`."""
        for index, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._open_quote:
                self._escaped = char == "\\"
                if char == self._open_quote:
                    self._open_quote = ""
            elif char in self._quotes:
                self._open_quote = char
            elif char in "{[(":
                self._depth += 1
            elif char in "}])":
                self._depth -= 1
                if self._depth <= 0:
                    return index + 1
        return None


def head_of(text: str) -> tuple[str, int] | None:
    """The name of the call that an object begins with, and where its arguments begin."""
    head = _HEAD.match(text)
    return head and (_unquoted(head[1]), head.end())


def may_be_call(text: str, names: Collection[str] | None) -> bool:
    """Whether an object that begins so may be a call; `names` None: of any tool."""
    place = 1
    while True:
        pair = _PAIR.match(text, place)
        if pair is None:
            return _may_be_key(text[place:].lstrip())
        if pair[1] not in _KEYS:
            return False
        if pair[1] == "name" and not _may_be_name(text[pair.end() :], pair[2], names):
            return False
        if pair[2] is None:  # a value that is still open, or no text
            return True
        if pair[3] is None:
            return True
        place = pair.end()


def _may_be_name(rest: str, value: str | None, names: Collection[str] | None) -> bool:
    """Whether a tool has the name `value`; None: the string that `rest` begins with is open."""
    if names is None:
        return True
    if value is not None:
        return _unquoted(f'"{value}"') in names
    begun = rest[1:]
    return not rest or (rest[0] == '"' and ("\\" in begun or _begins(begun, names)))


def _begins(begun: str, names: Collection[str]) -> bool:
    return any(name.startswith(begun) for name in names)


def _may_be_key(text: str) -> bool:
    if not text.startswith('"'):
        return not text
    key, closed, rest = text[1:].partition('"')
    if not closed:
        return _begins(key, _KEYS)
    return key in _KEYS and rest.lstrip()[:1] in {"", ":"}


def decode(text: str) -> tuple[str, str] | None:
    """Name and arguments of the call that an object is, None if it is anything else."""
    try:
        written = _CALL.decode(text)
    except msgspec.MsgspecError:
        return None
    call = written.function or written
    arguments = _arguments(call)
    return None if call.name is None or arguments is None else (call.name, arguments)


def _arguments(call: _Written) -> str | None:
    """The arguments as JSON text of an object; some models write that text as a string."""
    text = (bytes(call.arguments) or bytes(call.parameters)).decode()
    if text.startswith('"'):
        text = msgspec.json.decode(text, type=str)
    return text if text.lstrip().startswith("{") else None


def _unquoted(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.MsgspecError:
        return ""
