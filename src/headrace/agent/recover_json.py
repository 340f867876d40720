"""JSON objects as models write them: fenced, in other quotes, with stray commas, or cut off."""

import re
from itertools import pairwise
from typing import Any

import msgspec

from headrace.core.requests import JsonSchema

_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?\s*(?:```\s*)?\Z", re.DOTALL)
_STRAY_ESCAPE = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_LITERALS = ("true", "false", "null")
_NO_OBJECT = "The arguments are no JSON object."
_NOT_JSON = (
    "The arguments hold what JSON cannot say, such as half of a character, so the call has not"
    " run; make it again."
)
_CUT = "The arguments were cut off, so the call has not run; make it again, in smaller steps."


def object_of(text: str, schema: JsonSchema, *, cut: bool) -> dict[str, Any] | str:
    """The object that a text is, or what is wrong with it.

    Args:
        text: What the model wrote.
        schema: Of the object; what is closed for the model must have all that it requires.
        cut: The answer ended at a limit, so what is open within it may lack more.
    """
    if not text.strip():
        return {}
    found = _read(text)
    if found is not None:
        return found if _sendable(found) else _NOT_JSON
    closed = _closed(text.strip(), cut=cut)
    if closed is None:
        return _CUT if text.lstrip().startswith("{") else _NO_OBJECT
    found = _read(closed)
    if found is None:
        return _NO_OBJECT
    missing = [name for name in schema.get("required", ()) if name not in found]
    if missing:
        return _CUT
    return found if _sendable(found) else _NOT_JSON


def _sendable(found: dict[str, Any]) -> bool:
    """Whether JSON says the same: half a character, NaN and Python's sets and bytes it does not."""
    try:
        said: object = msgspec.json.decode(msgspec.json.encode(found))
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
        return False
    return said == found


def _read(text: str) -> dict[str, Any] | None:
    """The object by the book, or with one of the usual slips."""
    import json  # noqa: PLC0415 - msgspec takes no raw line feeds in strings, which models write

    fenced = _FENCE.match(text)
    text = fenced[1] if fenced else text.strip()
    for candidate in (text, _STRAY_ESCAPE.sub(r"\\\\", text), _without_stray_commas(text)):
        try:
            found, end = json.JSONDecoder(strict=False).raw_decode(candidate)
        except (ValueError, RecursionError):
            continue
        if candidate[end:].strip(" \t\r\n}])"):
            continue
        if isinstance(found, str):  # an object written as a string of JSON
            found = _read(found) if found.lstrip().startswith("{") else None
        if isinstance(found, dict):
            return found  # pyright: ignore[reportUnknownVariableType] - JSON is any
    return _literal(text)


def _literal(text: str) -> dict[str, Any] | None:
    """An object in Python's spelling."""
    if not text.startswith("{"):
        return None
    from ast import literal_eval  # noqa: PLC0415 - only where JSON fails

    try:
        found = literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    whole = isinstance(found, dict) and all(isinstance(key, str) for key in found)  # pyright: ignore[reportUnknownVariableType] - checked here
    return found if whole else None  # pyright: ignore[reportUnknownVariableType] - as above


class _Scan:
    """Brackets and strings of a text that may end anywhere."""

    def __init__(self, text: str) -> None:
        open_: list[str] = []
        self.in_string = False
        self.commas: list[int] = []
        escaped = False
        last_comma = -1
        for place, char in enumerate(text):
            if self.in_string:
                self.in_string = escaped or char != '"'
                escaped = char == "\\" and not escaped
            elif char == ",":
                last_comma = place
            elif not char.isspace():
                if char in "}]" and last_comma >= 0:
                    self.commas.append(last_comma)
                last_comma = -1
                if char in "{[":
                    open_.append(char)
                elif char in "}]" and open_:
                    open_.pop()
                self.in_string = char == '"'
        self.open = "".join(open_)


def _without_stray_commas(text: str) -> str:
    places = [-1, *_Scan(text).commas, len(text)]
    return "".join(text[before + 1 : place] for before, place in pairwise(places))


def _closed(text: str, *, cut: bool) -> str | None:
    """A text with its brackets closed; None where it could go on in more than one way."""
    scan = _Scan(text)
    if scan.in_string or not scan.open or not text.startswith("{"):
        return None
    if cut and scan.open != "{":
        return None
    end = text[-1]
    word = re.search(r"[a-z]+\Z", text)
    if word is not None:
        fits = [one for one in _LITERALS if one.startswith(word[0])]
        if len(fits) != 1:
            return None
        text = text[: word.start()] + fits[0]
    elif end not in '"}]':  # a number may have more digits, a colon or comma more to follow
        return None
    return text + "".join("}" if one == "{" else "]" for one in reversed(scan.open))
