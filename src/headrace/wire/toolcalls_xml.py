"""Arguments written as Qwen3-Coder does: `<parameter=key>value</parameter>`, made JSON."""

import re
from typing import cast

import msgspec

from headrace.core.requests import JsonSchema

_OPEN = re.compile(r"\s*<parameter=([^>]*)>\n?")
_END = "</function>"
# Where a value ends: by the book, or where its end was forgotten.
_VALUE_END = re.compile(r"\n?</parameter>|\n?(?=<parameter=|</function>)")
_VALUE_ENDS = (
    "\n</parameter>",
    "</parameter>",
    "\n<parameter=",
    "<parameter=",
    "\n</function>",
    _END,
)
_END_CHARS_MAX = max(map(len, _VALUE_ENDS))
_WORDS = {"True": "true", "False": "false", "None": "null"}


class XmlArguments:
    """Turns parameters into the JSON text of an object as they come.

    A value that the schema calls a string is passed on as it comes, any other once it is whole.

    Args:
        schema: The tool's parameters; None: what reads as JSON is no string.
    """

    def __init__(self, schema: JsonSchema | None) -> None:
        properties = _mapping((schema or {}).get("properties"))
        self._strings = {
            name for name, each in properties.items() if _mapping(each).get("type") == "string"
        }
        self._in_value = self._is_string = False
        self._said = "{"
        self._begun = 0
        self._searched = 0

    def read(self, text: str, *, final: bool) -> tuple[str, str, bool]:
        """JSON that can be said after `text`, what of it is left, and whether the object ended."""
        said, self._said = self._said, ""
        while True:
            more, rest = self._value(text, final=final) if self._in_value else self._key(text)
            said += more
            if rest == text and not more:
                break
            text = rest
        if not self._in_value and text.lstrip().startswith(_END):
            return said + "}", text, True
        if final or not (self._in_value or _may_be_key(text)):
            return said + ("" if self._in_value else "}"), text, True
        return said, text, False

    def _key(self, text: str) -> tuple[str, str]:
        found = _OPEN.match(text)
        if found is None or found.end() == len(text):  # a line feed may follow and belong to it
            return "", text
        name = found[1]
        self._is_string = name in self._strings
        self._in_value = True
        self._begun += 1
        lead = ", " if self._begun > 1 else ""
        key = msgspec.json.encode(name).decode()
        quote = '"' if self._is_string else ""
        return f"{lead}{key}: {quote}", text[found.end() :]

    def _value(self, text: str, *, final: bool) -> tuple[str, str]:
        # What was searched before is not searched again, but for an end that stood there half.
        end = _VALUE_END.search(text, max(0, self._searched - _END_CHARS_MAX))
        self._searched = 0
        if end is not None:
            self._in_value = False
            value, rest = text[: end.start()], text[end.end() :]
            return (_escaped(value) + '"' if self._is_string else _json(value)), rest
        if final and not self._is_string:
            return text, ""  # whoever reads it sees that it is cut off
        if not self._is_string:
            self._searched = len(text)
            return "", text
        kept = 0 if final else _held_chars(text)
        return _escaped(text[: len(text) - kept]), text[len(text) - kept :]


def _mapping(value: object) -> JsonSchema:
    return cast("JsonSchema", value) if isinstance(value, dict) else {}


def _held_chars(text: str) -> int:
    """How long the end of `text` is that may be the beginning of a value's end."""
    for length in range(min(len(text), _END_CHARS_MAX), 0, -1):
        if any(end.startswith(text[-length:]) for end in _VALUE_ENDS):
            return length
    return 0


def _may_be_key(text: str) -> bool:
    bare = text.lstrip()
    opening = "<parameter="
    return any(each.startswith(bare) for each in (opening, _END)) or (
        bare.startswith(opening) and (">" not in bare or bare.rstrip("\n").endswith(">"))
    )


def _escaped(value: str) -> str:
    return msgspec.json.encode(value).decode()[1:-1]


def _json(value: str) -> str:
    """A value as JSON: itself if it is JSON, a string if it is not."""
    text = _WORDS.get(value.strip(), value.strip())
    try:
        msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return msgspec.json.encode(value).decode()
    return text
