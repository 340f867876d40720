# ruff: noqa: RUF001 - DeepSeek spells its marks with fullwidth bars
"""Candidate: a place in an answer where a tool call may begin, until that is settled."""

import re
from collections.abc import Collection

import msgspec

from headrace.wire import toolcalls_json as in_json
from headrace.wire import toolcalls_python as in_python
from headrace.wire.toolcalls_forms import (
    BARE,
    CHANNEL,
    CHANNEL_FIRST,
    CHANNEL_START,
    FENCED,
    FUNCTION,
    Form,
)

_HELD_CHARS_MAX = 1 << 15
_HEADER_CHARS_MAX = 256
_FENCE = re.compile(r"```(?:json)?[ \t]*\n\s*(?=\S)")
_FUNCTION = re.compile(r"<function=([^>\n]*)>\s*(?=(\{|<parameter=|</function>)|\S)")
_HEADER = re.compile(
    r"(?:<\|start\|>assistant)?\s*(?:to=functions\.([^\s<]+))?\s*"
    r"(?:<\|channel\|>\s*(analysis|commentary|final))?\s*(?:to=functions\.([^\s<]+))?\s*"
    r"(?:<\|constrain\|>)?\s*(?:json)?\s*"
)
# Mistral's and DeepSeek's ways to name a tool before its arguments.
_NAMED = (
    re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)"),
    re.compile(
        r"(?:<｜tool▁call▁begin｜>)?\s*(?:function<｜tool▁sep｜>)?([\w.-]+)"
        r"(?:<｜tool▁sep｜>|\s*\n```json\s*\n)\s*(?=\{)"
    ),
)
_CALL_LEADS = ("<｜tool▁call▁begin｜>", "function<｜tool▁sep｜>")
_NAME = re.compile(r"[\w.-]*")
_CALL_ID = re.compile(r"\s*(?:\[CALL_ID\]\w*)?")
_BEFORE_ARGUMENTS = ("[CALL_ID]", "[ARGS]", "<｜tool▁sep｜>", "```json")


class Head(msgspec.Struct, frozen=True):
    """The name of a call is read; its arguments, JSON or `xml`, begin at `end`.

    `close` by the book ends the call behind its arguments; None: the answer ends there.
    """

    name: str
    end: int
    close: str | None
    in_object: bool = False
    xml: bool = False


class Whole(msgspec.Struct, frozen=True):
    """All of one or more calls is read, up to `end`."""

    calls: tuple[tuple[str, str], ...]
    end: int


class Named(msgspec.Struct, frozen=True):
    """Whose call it is is known, its arguments are written as no JSON object yet."""

    name: str


class Channel(msgspec.Struct, frozen=True):
    """A channel of harmony that is no call: thinking or text from `end` on."""

    thinking: bool
    end: int


class Refused(msgspec.Struct, frozen=True):
    """This is no call."""


Verdict = Head | Whole | Named | Channel | Refused | None
_NO = Refused()


class Candidate:
    """Reads what begins with `form`; None as a verdict means: not yet.

    Args:
        form: How it begins.
        names: Those of the tools; None: a constraint made sure that it is one of them.
        early: Tell of a name as soon as it is known, wherever the arguments are.
    """

    def __init__(self, form: Form, names: Collection[str] | None, *, early: bool) -> None:
        self.form = form
        self.in_list = False
        self._names = names
        self._early = early
        self._bracket: in_json.BracketEnd | None = None
        self._scanned = 0

    @property
    def scanned(self) -> bool:
        """Whether the end of a bracket was looked for."""
        return self._bracket is not None

    def read(self, text: str, *, final: bool) -> Verdict:
        """What `text`, which begins with the form's mark, turns out to be."""
        verdict = self._read(text)
        end = verdict.end if isinstance(verdict, Whole) else len(text)
        if (verdict is None and final) or (not isinstance(verdict, Head) and end > _HELD_CHARS_MAX):
            return _NO
        return verdict

    def _read(self, text: str) -> Verdict:
        form = self.form
        if form in (CHANNEL, CHANNEL_START, CHANNEL_FIRST):
            return self._channel(text)
        if form == FUNCTION:
            return self._function(text, 0)
        place = len(form.mark)
        if form == FENCED:
            fence = _FENCE.match(text)
            if fence is None:
                return None if _may_be_fence(text) else _NO
            place = fence.end()
        place += len(text[place:]) - len(text[place:].lstrip())
        return self._body(text, place)

    def _body(self, text: str, place: int) -> Verdict:
        match text[place : place + 1]:
            case "":
                return None
            case "{":
                return self._object(text, place)
            case "[":
                return self._list(text, place)
            case _ if self.form in (BARE, FENCED):
                return _NO
            case "<" if self.form.mark == "<tool_call>":
                return self._function(text, place)
            case _:
                python = self.form.mark.startswith("<|python_")
                return self._python(text, place) if python else self._named(text, place)

    def _list(self, text: str, place: int) -> Verdict:
        """A list of objects, or of calls in Python."""
        inside = place + 1 + len(text[place + 1 :]) - len(text[place + 1 :].lstrip())
        if text[inside : inside + 1] != "{":
            return self._python(text, place)
        self.in_list = True
        return self._object(text, inside)

    def _object(self, text: str, place: int) -> Verdict:
        head = in_json.head_of(text[place:])
        if head is not None:
            name, end = head
            return self._known(Head(name, place + end, "}" + (self.form.close or ""), True))  # noqa: FBT003 - a field
        if not in_json.may_be_call(text[place:], self._names):
            return _NO
        end = self._end(text, place)
        if end is None:
            return None
        call = in_json.decode(text[place:end])
        if call is None or not self._knows(call[0]):
            return _NO
        return Named(call[0]) if self._early else Whole((call,), end)

    def _python(self, text: str, place: int) -> Verdict:
        name = in_python.name_in(text[place:], self._names or ())
        if not name:
            return _NO if name is None else None
        if self._early:
            return Named(name)
        end = self._end(text, place, "\"'")
        if end is None:
            return None
        calls = in_python.decode(text[place:end], self._names or ())
        return Whole(tuple(calls), end) if calls else _NO

    def _function(self, text: str, place: int) -> Verdict:
        found = _FUNCTION.match(text, place)
        if found is None:
            name, closed, rest = text[place + len(FUNCTION.mark) :].partition(">")
            known = self._knows(name) if closed else self._may_become(name)
            return None if known and not rest.strip() else _NO
        begun = text[found.end() :]
        if found[2] is None:
            possible = any(each.startswith(begun) for each in ("<parameter=", "</function>"))
            return None if possible and self._knows(found[1]) else _NO
        if found[2] == "{":
            return self._known(Head(found[1], found.end(), FUNCTION.close))
        if not self._knows(found[1]):
            return _NO
        if self._early:
            return Named(found[1])
        return Head(found[1], found.end(), FUNCTION.close, xml=True)

    def _named(self, text: str, place: int) -> Verdict:
        for pattern in _NAMED:
            found = pattern.match(text, place)
            if found is not None:
                fenced = "```" in found[0]
                close = ("\n```" if fenced else "") + (self.form.close or "")
                return self._known(Head(found[1], found.end(), close))
        return None if self._may_be_named(text[place:]) else _NO

    def _may_be_named(self, text: str) -> bool:
        for lead in _CALL_LEADS:
            if lead.startswith(text):
                return True
            text = text.removeprefix(lead).lstrip()
        name, rest = _cut(_NAME, text)
        if not rest:
            return self._may_become(name)
        _, rest = _cut(_CALL_ID, rest)
        rest = rest.strip()
        return self._knows(name) and any(each.startswith(rest) for each in _BEFORE_ARGUMENTS)

    def _channel(self, text: str) -> Verdict:
        header, closed, _ = text.partition("<|message|>")
        if "\n" in header or len(header) > _HEADER_CHARS_MAX:
            return _NO
        if not closed:
            return None
        end = len(header) + len(closed)
        read = _HEADER.fullmatch(header)
        if read is None:
            return _NO
        name = read[1] or read[3]
        if name is None:
            return Channel(read[2] == "analysis", end)
        begun = text[end:].lstrip()[:1]
        if not self._knows(name) or begun not in {"", "{"}:
            return _NO
        return Head(name, text.index("{", end), None) if begun else None

    def _end(self, text: str, place: int, quotes: str = '"') -> int | None:
        """Where the bracket closes that stands at `place`; each character is read once."""
        if self._bracket is None:
            self._bracket, self._scanned = in_json.BracketEnd(quotes), place
        end = self._bracket.find(text[self._scanned :])
        if end is None:
            self._scanned = len(text)
            return None
        return self._scanned + end

    def _known(self, head: Head) -> Verdict:
        return head if self._knows(head.name) else _NO

    def _knows(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _may_become(self, begun: str) -> bool:
        return self._names is None or any(name.startswith(begun) for name in self._names)


def _cut(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    """What `pattern`, which may match nothing, finds at the beginning of `text`; and the rest."""
    found = pattern.match(text)
    end = found.end() if found else 0
    return text[:end], text[end:]


def _may_be_fence(text: str) -> bool:
    return "```json".startswith(text) or text.rstrip() in {"```", "```json"}
