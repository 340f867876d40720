"""Reads a model's raw text as it comes: thinking, text and tool calls, whoever wrote them how.

Small models were taught one way of calling tools and use another, so every form of
`toolcalls_forms` is read from every model. A call counts if it names a tool of the request;
anything else stays text. JSON without a mark counts at the beginning of a line, alone or in a
fence, not in the middle of a sentence. Nothing is held back but what may still become a call,
and thinking (`<think>…</think>`, `[THINK]…[/THINK]`, harmony's analysis) is told apart.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Literal

import msgspec

from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.requests import JsonSchema
from headrace.wire.toolcalls_candidate import (
    Candidate,
    Channel,
    Head,
    Named,
    Refused,
    Whole,
)
from headrace.wire.toolcalls_forms import (
    BARE,
    CHANNEL_ENDS,
    CHANNEL_FIRST,
    CHANNELS,
    FENCED,
    FUNCTION,
    MARKED,
    THINKING,
    Form,
    form_at,
)
from headrace.wire.toolcalls_json import BracketEnd
from headrace.wire.toolcalls_xml import XmlArguments

Piece = Text | Thinking | ToolCall
"""More of an answer. A tool call with an id begins a new one; without, it is more arguments."""

_SIGN = re.compile(r"[<\[{`]")
"""Every form begins with one of these, as do its ends."""
_QUOTED = re.compile(r"(?:\A|[\s(])[`\"']\Z")
_LINE = re.compile(r"(?:\A|\n)[ \t]*(?=```|[{\[])")
_LINE_HELD = re.compile(r"(?:\A|\n)[ \t]*`{1,2}\Z")
_MORE = re.compile(r',\s*"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\w.+-]+(?=[\s,}]))')
_MORE_CHARS_MAX = 256
_FED_CHARS = 1_024
_WASTED_CHARS_MAX = 1 << 18
_NEXT = re.compile(r"[,;]\s*(?=\{)")

_MARKS = tuple(form.mark for form in MARKED)
_CHANNEL_MARKS = tuple(form.mark for form in CHANNELS)

_State = Literal["start", "thinking", "text", "call", "arguments", "xml", "tail"]


class Opened(msgspec.Struct, frozen=True):
    """A call that waits for its arguments; another may write them.

    The last `unread` characters of what was fed are forgotten; `lead` must stand in their place
    for JSON arguments to follow, and `close` behind those. Where `close` is None, the call ends
    the answer.
    """

    name: str
    unread: int
    lead: str
    close: str | None


class AnswerParser:
    """Feed it text; it gives pieces. The same text cut elsewhere gives the same answer.

    Args:
        tools: The names that calls may have; none of them given, no calls are looked for.
        new_call_id: Makes the id of a call.
        forced: The whole answer is one call, as a constraint made sure.
        parallel: Whether there may be more than one call; if not, all after the first is dropped.
        thinking: The prompt ended inside thinking already.
        schemas: The tools' parameters by name, to tell strings from other values where a form
            does not (Qwen3-Coder's).
        pausing: Stop at the arguments of a call and set `opened`; JSON must be fed then.
    """

    def __init__(
        self,
        tools: Collection[str],
        new_call_id: Callable[[], str],
        *,
        forced: bool = False,
        parallel: bool = True,
        thinking: bool = False,
        schemas: Mapping[str, JsonSchema] | None = None,
        pausing: bool = False,
    ) -> None:
        self._tools = tools
        self._new_call_id = new_call_id
        self._parallel = parallel
        self._schemas = schemas or {}
        self._pausing = pausing
        self._state: _State = "call" if forced else "thinking" if thinking else "start"
        self._held = ""
        self._again = ""
        self._gap = ""
        self._wasted = 0
        self._fresh = True
        self._said = ""
        self._trim = False
        self._unthink = "</think>"
        self._channel: Literal["thinking", "text"] | None = None
        self._candidate = Candidate(BARE, None, early=False)
        self._closers = BARE.closers
        self._in_list = self._in_object = False
        self._bracket = BracketEnd()
        self._argued = False
        self._xml = XmlArguments(None)
        self.opened: Opened | None = None
        self.calls_begun = 0
        self.calls_read = 0

    @property
    def full(self) -> bool:
        """Whether nothing that comes can matter any more."""
        return not self._parallel and self.calls_read > 0

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thinking, as far as is known."""
        return self._state == "thinking" or self._channel == "thinking"

    def feed(self, text: str) -> list[Piece]:
        """What can be said after `text`."""
        self.opened = None
        # Each step costs what is held: so a long text goes in piece by piece.
        step = max(1, len(text)) if self._pausing else _FED_CHARS
        pieces: list[Piece] = []
        for start in range(0, len(text), step):
            self._held += text[start : start + step]
            pieces += self._read(final=False)
        return _joined(pieces)

    def finish(self) -> list[Piece]:
        """What was held back, now that nothing more comes."""
        return _joined(self._read(final=True))

    def _read(self, *, final: bool) -> Iterator[Piece]:
        """Read what is held, then bit by bit what is to be read again."""
        while True:
            yield from self._read_held(final=final and not self._again)
            if not self._again:
                return
            self._held += self._again[:_FED_CHARS]
            self._again = self._again[_FED_CHARS:]

    def _read_held(self, *, final: bool) -> Iterator[Piece]:
        steps: dict[_State, Callable[[bool], Iterator[Piece]]] = {
            "start": self._start,
            "thinking": self._think,
            "text": self._text,
            "call": self._call,
            "arguments": self._more_arguments,
            "xml": self._more_xml,
            "tail": self._tail,
        }
        while self._held:
            if self.full:
                self._held = self._again = ""
                return
            before = (self._state, self._held)
            yield from steps[self._state](final)
            if before == (self._state, self._held):
                return
        if final and self._gap:  # it stood before nothing
            yield self._say("")

    def _start(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001 - one shape for all steps
        """Find out whether the answer begins with thinking."""
        bare = self._held.lstrip()
        first = CHANNEL_FIRST.mark
        for think, unthink in THINKING.items():
            if bare.startswith(think):
                self._held, self._unthink, self._state = bare[len(think) :], unthink, "thinking"
                return
        if bare.startswith(first) and self._tools:
            self._held = bare
            self._consider(CHANNEL_FIRST)
        elif final or not any(each.startswith(bare) for each in (*THINKING, first)):
            self._state = "text"
        yield from ()

    def _think(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        if self._fresh:
            self._held = self._held.lstrip()
        thought, closed, rest = self._held.partition(self._unthink)
        if not closed and not final:
            thought, rest = _split_possible(self._held, (self._unthink,))
        if thought:
            self._fresh = False
            yield Thinking(thought)
        self._held = rest
        if closed:
            self._state, self._fresh, self._trim = "text", True, True

    def _text(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Say what can be no call, up to where one may begin."""
        if self._trim and self._fresh:
            self._held = self._held.lstrip()
        place, form = self._opening()
        said, rest = self._held[:place], self._held[place:]
        if not rest and not final:
            said, rest = self._sayable(said)
        elif form is not None:
            self._gap = said[len(said.rstrip()) :]
            said = said.rstrip()
        self._held = rest
        if said:
            yield self._say(said, gap=False)
        if form is not None:
            self._consider(form)
        elif self._channel and rest.startswith(CHANNEL_ENDS):
            self._held = rest[rest.index(">") + 1 :]
            self._channel, self._fresh, self._said = None, True, ""

    def _opening(self) -> tuple[int, Form | None]:
        """Where the text ends for something else to begin, and the form of a call if it is one."""
        text = self._held
        if not _SIGN.search(text):
            return len(text), None
        # An answer that begins calls over and over without an end would be read again and again.
        worth_it = bool(self._tools) and self._wasted < _WASTED_CHARS_MAX
        calls = worth_it and self._channel != "thinking"
        marks = _MARKS if calls else _CHANNEL_MARKS
        ends = CHANNEL_ENDS if self._channel else ()
        places = [self._unquoted(text, mark) for mark in marks]
        places += [text.find(end) for end in ends]
        place = min((each for each in places if each >= 0), default=len(text))
        if calls:
            begun = _LINE.match(text) if self._fresh else None
            line = begun or _LINE.search(text, 0 if text[:1] == "\n" else 1)
            # A mark that begins here may yet become whole: `[TOOL` is no list.
            if line is not None and line.end() < place:
                if any(mark.startswith(text[line.end() :]) for mark in marks):
                    return len(text), None
                return line.end(), form_at(text[line.end() :], line=True)
        if place == len(text):
            return place, None
        return place, form_at(text[place:], line=False)

    def _unquoted(self, text: str, mark: str) -> int:
        """Where `mark` stands, -1 if nowhere; behind an opening quotation mark it is told of."""
        place = text.find(mark)
        while place >= 0 and _QUOTED.search(self._said + text[max(0, place - 2) : place]):
            place = text.find(mark, place + 1)
        return place

    def _sayable(self, text: str) -> tuple[str, str]:
        """Cut off the end that may belong to a call: blanks, a mark or a fence half written."""
        said = text
        if _SIGN.search(text):
            said, _ = _split_possible(text, (*_MARKS, *CHANNEL_ENDS))
        fence = _LINE_HELD.search(said, 0 if self._fresh or said[:1] == "\n" else 1)
        if fence is not None:
            said = said[: fence.start()]
        said = said.rstrip()
        return said, self._held[len(said) :]

    def _consider(self, form: Form) -> None:
        """What is held may be a call in `form`."""
        self._state = "call"
        self._candidate = Candidate(form, self._tools, early=self._pausing)
        # Calls without text between them stand in one frame: a list, a fence, a tag.
        again = self.calls_begun > 0 and self._fresh
        both = dict.fromkeys((*self._closers, *form.closers))
        self._closers = tuple(both) if again else form.closers
        self._in_list = self._in_list and again

    def _call(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Read up to the arguments, then stream them; or the whole call, if written oddly."""
        verdict = self._candidate.read(self._held, final=final)
        if verdict is None:
            return
        if isinstance(verdict, Refused):
            self._wasted += len(self._held) if self._candidate.scanned else 0
            mark = self._candidate.form.mark or self._held[:1]
            self._held, self._state = self._held[len(mark) :], "text"
            if not self._pausing:
                self._held, self._again = "", self._held + self._again
            yield self._say(mark)
            return
        self._gap = ""
        self._in_list = self._in_list or self._candidate.in_list
        self._in_object = isinstance(verdict, Head) and verdict.in_object
        match verdict:
            case Channel(thinking=thinking, end=end):
                self._channel = "thinking" if thinking else "text"
                self._state, self._fresh, self._held = "text", True, self._held[end:]
            case Whole(calls=calls, end=end):
                self._held, self._state = self._held[end:], "tail"
                for name, arguments in calls if self._parallel else calls[:1]:
                    yield self._begin(name, arguments)
                    self.calls_read += 1
            case Named(name=name):
                yield self._begin(name)
                self._open_anew(name)
            case Head():
                yield self._begin(verdict.name)
                self._read_arguments(verdict)

    def _read_arguments(self, head: Head) -> None:
        self._state = "xml" if head.xml else "arguments"
        self._xml = XmlArguments(self._schemas.get(head.name))
        if self._pausing:
            unread = len(self._held) - len(self._held[: head.end].rstrip())
            self.opened = Opened(head.name, unread, "", head.close)
        self._held = "" if self._pausing else self._held[head.end :]

    def _open_anew(self, name: str) -> None:
        """The call is written as something else than JSON; as JSON it can be constrained."""
        form = self._candidate.form
        kept = "" if form == FUNCTION else form.mark
        lead = "json\n" if form == FENCED else "\n" if form.mark == "<tool_call>" else ""
        lead += '[{"name": ' if self._in_list else '{"name": '
        lead += msgspec.json.encode(name).decode() + ', "arguments":'
        close = "}" + ("" if form == FUNCTION else form.close or "")
        self.opened = Opened(name, len(self._held) - len(kept), lead, close)
        self._held, self._state, self._in_object = "", "arguments", True

    def _more_arguments(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001, ARG002
        text = self._held if self._argued else self._held.lstrip()
        end = self._bracket.find(text)
        if text:
            self._argued = True
            yield ToolCall("", "", text[:end])
        if end is not None:
            self.calls_read += 1
            self._state = "tail"
        self._held = "" if end is None else text[end:]

    def _more_xml(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        said, self._held, ended = self._xml.read(self._held, final=final)
        if said:
            yield ToolCall("", "", said)
        if ended:
            self.calls_read += 1
            self._state = "tail"

    def _tail(self, final: bool) -> Iterator[Piece]:  # noqa: FBT001
        """Swallow what closes a call, all of which may be missing."""
        rest = self._held.lstrip()
        if not rest:
            self._held = ""
            return
        end = self._closed(rest, final=final)
        if end is None:
            return
        self._held = rest[end:]
        if not end:
            self._state, self._fresh, self._trim = "text", True, True
            self._in_object = False
        yield from ()

    def _closed(self, rest: str, *, final: bool) -> int | None:
        """How many characters close the call; None: that is not known yet."""
        first = rest[0]
        if self._in_object and first in "},":
            return self._object_closed(rest, final=final)
        if self._in_list and first == "]":
            self._in_list = False
            return 1
        if first in ",;":
            return _parted(rest, final=final)
        for closer in self._closers:
            if rest.startswith(closer):
                return len(closer)
        if any(closer.startswith(rest) for closer in self._closers):
            return len(rest) if final else None
        return 0

    def _object_closed(self, rest: str, *, final: bool) -> int | None:
        """As `_closed`, inside the object of a call: its brace, or a further key of no use."""
        if rest[0] == "}":
            self._in_object = False
            return 1
        more = _MORE.match(rest)
        if more is not None and more.end() <= _MORE_CHARS_MAX:
            return more.end()
        if not final and len(rest) <= _MORE_CHARS_MAX and not _NEXT.match(rest):
            return None
        return _parted(rest, final=final)

    def _say(self, text: str, *, gap: bool = True) -> Piece:
        if gap:
            text, self._gap = self._gap + text, ""
        self._fresh = False
        self._said = (self._said + text[-2:])[-2:]
        return Thinking(text) if self._channel == "thinking" else Text(text)

    def _begin(self, name: str, arguments: str = "") -> ToolCall:
        self.calls_begun += 1
        self._said = ""
        self._bracket, self._argued = BracketEnd(), False
        return ToolCall(self._new_call_id(), name, arguments)


def _parted(rest: str, *, final: bool) -> int | None:
    """How many characters stand between two calls, 0 if no other follows, None: not known yet."""
    following = _NEXT.match(rest)
    waits = not final and not rest[1:].strip()
    return following.end() if following else None if waits else 0


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring texts as one."""
    joined: list[Piece] = []
    for is_text, group in groupby(pieces, lambda piece: isinstance(piece, Text)):
        same = tuple(group)
        texts = [each.text for each in same if isinstance(each, Text)]
        joined += [Text("".join(texts))] if is_text else same
    return joined


def _split_possible(text: str, marks: Iterable[str]) -> tuple[str, str]:
    """Cut off the end of `text` that may be the beginning of a mark."""
    place = max(text.rfind("<"), text.rfind("["))
    if place >= 0 and any(mark.startswith(text[place:]) for mark in marks):
        return text[:place], text[place:]
    return text, ""
