"""Messages answers from the wire: stream events, whole replies, errors, lists of models."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.events import Delta, Event, Failed, Finished, Started, Stop
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.models import Abilities, Model, Usage
from headrace.wire import content, sse, strict_json

_STOPS: dict[str, Stop] = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "end",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
}

_BROKEN = "engine_failed"

_KINDS_BY_TYPE = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "unauthenticated",
    "billing_error": "forbidden",
    "permission_error": "forbidden",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limited",
    "timeout_error": "timed_out",
    "overloaded_error": "overloaded",
    "api_error": _BROKEN,
}

_KINDS_BY_STATUS = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    408: "timed_out",
    409: "conflict",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    504: "timed_out",
    529: "overloaded",
}

_OWN_KINDS = frozenset(
    {
        "internal",
        "invalid_request",
        "context_too_long",
        "unsupported",
        "previous_not_found",
        "too_large",
        "too_slow",
        "unauthenticated",
        "forbidden",
        "not_found",
        "model_not_found",
        "conflict",
        "budget_spent",
        "rate_limited",
        "overloaded",
        "engine_failed",
        "engine_unavailable",
        "timed_out",
        "catalog",
        "config",
        "store",
    }
)
"""Kinds that `details.error_code` is believed to mean; others are another server's codes."""


_ADDED = "prompt is too long: "
"""What our own server puts before other words for it."""


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int = 0


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    citations: list[dict[str, Any]] | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    citation: dict[str, Any] | None = None


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""
    details: _Details | None = None


class _Message(msgspec.Struct):
    content: list[_Block]
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage | None = None


class _StreamEvent(msgspec.Struct):
    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    index: int | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Capability(msgspec.Struct, frozen=True):
    supported: bool = False


class _Capabilities(msgspec.Struct):
    image_input: _Capability = _Capability()
    thinking: _Capability = _Capability()
    chat: _Capability = _Capability(supported=True)
    embeddings: _Capability = _Capability()
    tools: _Capability = _Capability()


class _Model(msgspec.Struct):
    id: str
    display_name: str = ""
    created_at: dt.datetime | None = None
    max_input_tokens: int | None = None
    capabilities: _Capabilities | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Kind(msgspec.Struct):
    type: str


_KIND = msgspec.json.Decoder(_Kind)
_STREAM_EVENT = msgspec.json.Decoder(_StreamEvent)
_MESSAGE = msgspec.json.Decoder(_Message)
_ERROR = msgspec.json.Decoder(_ErrorBody)
_MODELS = msgspec.json.Decoder(_Models)


class StreamDecoder:
    """Reads events from the bytes of a streamed answer.

    The last event is Finished or Failed; what comes after it is passed over. Call `end` when
    the stream has ended, so that a cut one is told from a whole one.
    """

    def __init__(self) -> None:
        self._parser = sse.Parser()
        self._done = False
        self._index = -1
        self._block: int | None = None
        self._part: Text | Thinking | ToolCall | None = None
        self._empty = True
        self._finished: tuple[Stop, str | None] | None = None
        self._usage = _Usage()
        self._takers: dict[str, Callable[[_StreamEvent], list[Event]]] = {
            "message_start": self._start,
            "content_block_start": self._start_block,
            "content_block_delta": self._delta,
            "content_block_stop": self._stop_block,
            "message_delta": self._stop,
            "message_stop": self._finish,
            "error": self._error,
        }

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes; a broken stream gives Failed."""
        return self._read(chunk, ended=False)

    def end(self) -> list[Event]:
        """The last events of a stream that has ended; Failed where it was cut."""
        return self._read(b"", ended=True)

    def _read(self, chunk: bytes, *, ended: bool) -> list[Event]:
        events: list[Event] = []
        try:
            for frame in self._parser.end() if ended else self._parser.feed(chunk):
                events += self._take(frame.data)
            if ended:
                events += self._finish()
        except HeadraceError as error:
            events += self._fail(f"The upstream's stream is broken: {error.message}")
        return events

    def _take(self, data: bytes) -> list[Event]:
        if self._done:
            return []
        event = self._event(data)
        self._count(event.usage)
        take = self._takers.get(event.type)
        # Without a taker it is a ping, or a kind that is newer than this reader.
        return [] if take is None else take(event)

    def _event(self, data: bytes) -> _StreamEvent:
        try:
            return strict_json.decode(data, _STREAM_EVENT)
        except InvalidRequest:
            # A kind that is newer than this reader may have fields of ours with other contents.
            kind = strict_json.decode(data, _KIND).type
            if kind in self._takers:
                raise
            return _StreamEvent(kind)

    def _start(self, event: _StreamEvent) -> list[Event]:
        message = event.message or _Message([])
        self._count(message.usage)
        return [Started(message.model, _usage(self._usage))]

    def _stop(self, event: _StreamEvent) -> list[Event]:
        if event.delta is not None and event.delta.stop_reason is not None:
            stop = _STOPS.get(event.delta.stop_reason, "end")
            self._finished = (stop, event.delta.stop_sequence)
        return []

    def _error(self, event: _StreamEvent) -> list[Event]:
        self._done = True
        return [_failed(event.error or _Error(), 0)]

    def _start_block(self, event: _StreamEvent) -> list[Event]:
        block = event.content_block or _Block("")
        match block.type:
            case "text":
                self._part = Text("")
                first = Text(block.text, tuple(block.citations or ()))
            case "thinking":
                self._part = Thinking()
                first = Thinking(block.thinking, block.signature or None)
            case "redacted_thinking":
                self._part = Thinking()
                first = Thinking(redacted=block.data)
            case "tool_use":
                self._part = ToolCall("", "", "")
                first = ToolCall(block.id, block.name, "")
            case _:  # blocks of server tools are not for us
                self._part = None
                return []
        self._index += 1
        self._block = event.index
        self._empty = True
        if first == self._part:
            return []
        return [Delta(self._index, first), *self._whole_input(block)]

    def _whole_input(self, block: _Block) -> list[Event]:
        """Some servers send the whole input at once, at the start of the block."""
        if block.type != "tool_use":
            self._empty = False
            return []
        arguments = content.arguments_text(bytes(block.input), "content_block.input")
        if "".join(arguments.split()) == "{}":
            return []
        return self._more(ToolCall("", "", arguments))

    def _delta(self, event: _StreamEvent) -> list[Event]:
        delta = event.delta or _Delta()
        numbers = {self._block, event.index} - {None}
        if self._part is not None and len(numbers) > 1:
            raise HeadraceError("a delta of a block that is not open")
        match delta.type, self._part:
            case "text_delta", Text():
                return self._more(Text(delta.text))
            case "thinking_delta", Thinking():
                return self._more(Thinking(delta.thinking))
            case "signature_delta", Thinking():
                return self._more(Thinking(signature=delta.signature))
            case "citations_delta", Text() if delta.citation is not None:
                return self._more(Text("", (delta.citation,)))
            case "input_json_delta", ToolCall():
                return self._more(ToolCall("", "", delta.partial_json))
            case (
                ("text_delta" | "thinking_delta" | "input_json_delta"),
                (Text() | Thinking() | ToolCall()),
            ):
                raise HeadraceError(f"a {delta.type} in a block of another type")
            case _:
                return []

    def _more(self, part: Text | Thinking | ToolCall) -> list[Event]:
        if part == self._part:
            return []
        self._empty = False
        return [Delta(self._index, part)]

    def _stop_block(self, _: _StreamEvent) -> list[Event]:
        part, self._part = self._part, None
        if part is None or not self._empty:
            return []
        if isinstance(part, ToolCall):
            part = ToolCall("", "", "{}")
        return [Delta(self._index, part)]

    def _finish(self, _: _StreamEvent | None = None) -> list[Event]:
        if self._done:
            return []
        if self._finished is None:
            return self._fail("The upstream's stream ended before its answer did.")
        self._done = True
        stop, stop_sequence = self._finished
        return [Finished(stop, _usage(self._usage), stop_sequence)]

    def _fail(self, message: str) -> list[Event]:
        if self._done:
            return []
        self._done = True
        return [Failed(_BROKEN, message)]

    def _count(self, usage: _Usage | None) -> None:
        """Counts are cumulative, and those a later event leaves out still hold."""
        if usage is not None:
            for name in usage.__struct_fields__:
                count = getattr(usage, name)
                if count is not None:
                    setattr(self._usage, name, count)


def decode_reply(body: bytes) -> list[Event]:
    """The events that a whole answer amounts to; one Failed if it cannot be read."""
    try:
        message = strict_json.decode(body, _MESSAGE)
        parts = [part for block in message.content if (part := _part(block)) is not None]
    except HeadraceError as error:
        return [Failed(_BROKEN, f"The upstream's answer is broken: {error.message}")]
    usage = _usage(message.usage or _Usage())
    stop = _STOPS.get(message.stop_reason or "", "end")
    return [
        Started(message.model, usage),
        *(Delta(index, part) for index, part in enumerate(parts)),
        Finished(stop, usage, message.stop_sequence),
    ]


def decode_error(status: int, body: bytes) -> Failed:
    """The failure that an answer with an HTTP error status stands for."""
    try:
        error = strict_json.decode(body, _ERROR).error
    except HeadraceError:
        error = _Error(message=body[:500].decode(errors="replace").strip())
    return _failed(error, status)


def decode_models(body: bytes) -> tuple[Model, ...]:
    """The models of one page.

    Raises:
        InvalidRequest: The body is not a page of models.
    """
    return tuple(
        Model(
            wire.id,
            wire.display_name or wire.id,
            wire.max_input_tokens or 0,
            _abilities(wire.capabilities or _Capabilities()),
            int(wire.created_at.timestamp()) * 1_000_000_000 if wire.created_at else 0,
        )
        for wire in strict_json.decode(body, _MODELS).data
    )


def _abilities(wire: _Capabilities) -> Abilities:
    return Abilities(
        chat=wire.chat.supported,
        tools=wire.tools.supported,
        thinking=wire.thinking.supported,
        vision=wire.image_input.supported,
        embeddings=wire.embeddings.supported,
    )


def _part(block: _Block) -> Text | Thinking | ToolCall | None:
    match block.type:
        case "text":
            return Text(block.text, tuple(block.citations or ()))
        case "thinking":
            return Thinking(block.thinking, block.signature or None)
        case "redacted_thinking":
            return Thinking(redacted=block.data)
        case "tool_use":
            arguments = content.arguments_text(bytes(block.input), "content.input")
            return ToolCall(block.id, block.name, arguments)
        case _:
            return None


def _failed(error: _Error, status: int) -> Failed:
    kind = _KINDS_BY_TYPE.get(error.type) or _KINDS_BY_STATUS.get(status, _BROKEN)
    code = error.details.error_code if error.details else None
    message = error.message or f"HTTP status {status}"
    if code in _OWN_KINDS:
        kind, message = code, message.removeprefix(_ADDED)
    return Failed(kind, message)


def _usage(usage: _Usage) -> Usage:
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    details, creation = usage.output_tokens_details, usage.cache_creation
    return Usage(
        input=(usage.input_tokens or 0) + written + cached,
        cached=cached,
        output=usage.output_tokens or 0,
        reasoning=details.thinking_tokens if details else 0,
        cache_written=written,
        cache_written_long=(creation and creation.ephemeral_1h_input_tokens) or 0,
    )
