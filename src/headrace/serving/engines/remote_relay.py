"""Relay: a client's bytes to an upstream of the same dialect and back, read only where they tell.

What a client wrote stays as it is, byte for byte, but for the model's name and the wish for
counts. Of a stream only those events are decoded that tell usage, an ending or an error.
"""

import re
from collections.abc import Iterator

import msgspec

from headrace.core.errors import EngineFailed, InvalidRequest
from headrace.core.events import Failed, Finished, Started, Stop
from headrace.core.models import Usage
from headrace.serving.engine import OUTPUT_LIMITS, Passage, Passed
from headrace.serving.engines.remote_dialects import Decoder, Speech

_FRAME_BYTES_MAX = 64 << 20
_FRAME_ENDS = (b"\n\n", b"\r\n\r\n")
_NO_CHOICES = re.compile(rb'"choices": ?\[\]')
_TRUE = msgspec.Raw(b"true")

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Rewritten(msgspec.Struct, frozen=True):
    """A client's body made ready; `strip_usage` if the answer tells more than was asked for."""

    body: bytes
    strip_usage: bool = False


def rewrite(passage: Passage, speech: Speech, model: str) -> Rewritten:
    """Name the upstream's model, and ask a Chat Completions stream for its counts.

    Where the client names no limit of tokens, what its budget buys is put in, in place of every
    field that would say otherwise, as with null or -1.

    Raises:
        InvalidRequest: The body is not a JSON object.
    """
    fields = _fields(passage.body)
    strip_usage = False
    changes = {"model": msgspec.Raw(msgspec.json.encode(model))}
    if speech.name == "openai_chat" and passage.stream:
        given = bytes(fields.get("stream_options", b""))
        options = _fields(given) if given.startswith(b"{") else {}
        strip_usage = bytes(options.get("include_usage", b"")) != b"true"
        if strip_usage:
            wished = options | {"include_usage": _TRUE}
            changes["stream_options"] = msgspec.Raw(msgspec.json.encode(wished))
    if passage.output_tokens_affordable is not None:
        limits = OUTPUT_LIMITS[speech.name]
        fields = {name: value for name, value in fields.items() if name not in limits}
        changes[limits[0]] = msgspec.Raw(str(passage.output_tokens_affordable).encode())
    # Written anew even if nothing changes: of a field that stands there twice, an upstream might
    # take another one than was judged here.
    return Rewritten(msgspec.json.encode(fields | changes), strip_usage)


def has_tools(body: bytes) -> bool:
    """Whether a request offers tools, so that its answer may call them in text."""
    if b'"tools"' not in body and b'"functions"' not in body:
        return False
    fields = _fields(body)
    return any(bytes(fields.get(name, b"")) not in _NONE for name in ("tools", "functions"))


_NONE = {b"", b"null", b"[]"}


def is_stateless(body: bytes) -> bool:
    """Whether a Responses request leaves nothing behind and builds on nothing."""
    fields = _fields(body)
    held = (bytes(fields.get(name, b"null")) for name in ("previous_response_id", "conversation"))
    background = bytes(fields.get("background", b"false"))
    stored = bytes(fields.get("store", b"true"))
    return stored == b"false" and background in {b"false", b"null"} and set(held) == {b"null"}


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _FIELDS.decode(body)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}") from None


class Watch:
    """Looks at a streamed answer as it passes, in whole events.

    Args:
        speech: Its dialect.
        strip_usage: Take out the event that tells nothing but usage.

    Attributes:
        ended: Whether the event has passed that ends a stream.
        failed: The error that the upstream sent in its place.
    """

    def __init__(self, speech: Speech, *, strip_usage: bool) -> None:
        self._speech = speech
        self._strip_usage = strip_usage
        self._decoder: Decoder | None = None  # made for the first event that tells something
        self._held = bytearray()
        self._tokens = 0
        self._told: Usage | None = None
        self._whole = False
        self._stop: Stop = "end"
        self.ended = False
        self.failed: Failed | None = None

    def take(self, data: bytes) -> tuple[Passed, ...]:
        """What of `data`, and of what was held back before it, can go to the client now.

        The event that ends a stream comes by itself: what stands before it need not wait
        until the call is settled.
        """
        if self._held or not data.endswith(b"\n\n"):
            data = self._whole_events(data)
            if not data:
                return ()
        return self._pass(data)

    def end(self) -> tuple[Passed, ...]:
        """What is left when the stream has ended."""
        rest = bytes(self._held)
        self._held.clear()
        return self._pass(rest) if rest else ()

    def _whole_events(self, data: bytes) -> bytes:
        held = self._held
        seam = max(0, len(held) - 3)
        held += data
        ends = [at + len(mark) for mark in _FRAME_ENDS if (at := held.rfind(mark, seam)) >= 0]
        if not ends:
            if len(held) > _FRAME_BYTES_MAX:
                raise EngineFailed("one event of the upstream's stream is endless")
            return b""
        events = bytes(held[: max(ends)])
        del held[: max(ends)]
        return events

    def _pass(self, events: bytes) -> tuple[Passed, ...]:
        """Read the events that tell something; the others are not even parted."""
        self._tokens += events.count(self._speech.counted)
        spans = [span for mark in self._speech.telling for span in _spans(events, mark)]
        if not spans:
            return (Passed(events, self._tokens),)
        told = self._told
        passed: list[bytes] = []
        done = 0
        ending: int | None = None
        for start, end in sorted(set(spans)):
            if not self._read(events[start:end]):
                passed.append(events[done:start])
                done = end
            if self.failed is not None:
                done = len(events)
                break
            if self.ended and ending is None:
                ending = start
        data = b"".join((*passed, events[done:])) if done else events
        news = self._told if self._told is not told else None
        if ending is None:
            return (Passed(data, self._tokens, news, told=self._whole),) if data else ()
        cut = len(data) - (len(events) - ending)
        last = Passed(data[cut:], self._tokens, news, self._stop, self._whole)
        # Known with the first of them: a client may leave when it has all but the end.
        first = Passed(data[:cut], self._tokens, news, told=self._whole)
        return (first, last) if cut > 0 else (last,)

    def _read(self, event: bytes) -> bool:
        """Take note of one event; whether the client gets it."""
        if self._decoder is None:
            self._decoder = self._speech.decoder()
        for said in self._decoder.feed(event if event.endswith(b"\n") else event + b"\n\n"):
            if isinstance(said, Started):
                self._told = said.usage if said.usage.input else self._told
            elif isinstance(said, Finished):
                self._stop = said.stop
                if said.usage.input or said.usage.output:  # else it never told
                    self._told, self._whole = said.usage, True
            elif isinstance(said, Failed) and b'"error"' in event:
                self.failed = said
                return False
        if self._speech.last.search(event):
            self.ended = True
        return not (self._strip_usage and b'"prompt_tokens"' in event and _NO_CHOICES.search(event))


def _spans(events: bytes, mark: bytes) -> Iterator[tuple[int, int]]:
    """From where to where the events reach that hold `mark`."""
    at = events.find(mark)
    while at >= 0:
        # The line end before is there but for the first event, and tells which one is used.
        line = events.rfind(b"\n", 0, at)
        if line < 0:
            line = events.find(b"\n", at)
        blank = _FRAME_ENDS[1] if events[line - 1 : line] == b"\r" else _FRAME_ENDS[0]
        before, after = events.rfind(blank, 0, at), events.find(blank, at)
        end = after + len(blank) if after >= 0 else len(events)
        yield (before + len(blank) if before >= 0 else 0, end)
        at = events.find(mark, end)


def whole(body: bytes, speech: Speech) -> Passed | Failed:
    """An answer that is not streamed, or the error that stands in its place."""
    events = speech.decode_reply(body)
    match events[-1]:
        case Finished() as finished:
            if not finished.usage.input and not finished.usage.output:
                return Passed(body, stop=finished.stop)
            return Passed(body, finished.usage.output, finished.usage, finished.stop, told=True)
        case Failed() as failed if _is_error(body):
            return failed
        case _:  # newer than its reader here; the client may know it
            return Passed(body, stop="end")


def _is_error(body: bytes) -> bool:
    try:
        fields = _fields(body)
    except InvalidRequest:
        return True
    return bytes(fields.get("error", b"null")) != b"null"
