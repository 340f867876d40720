"""Dialects of the API as the routes use them: names, headers, and the status of each error.

Status codes are chosen here and in `edge/routes.py`, nowhere below.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import ClassVar, Protocol

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import (
    BudgetSpent,
    HeadraceError,
    RateLimited,
    Retryable,
    Unauthenticated,
)
from headrace.core.events import Event
from headrace.edge.routes import STATUS
from headrace.serving.ask import Asked
from headrace.wire import anthropic, openai_chat, openai_responses

Headers = dict[str, str]

_NS_PER_S = 1_000_000_000
_MS_PER_S = 1_000


class Encoder(Protocol):
    """Turns the events of one answer into the bytes of a stream."""

    def encode(self, event: Event) -> bytes:
        """The bytes of one event."""
        ...

    def keep_alive(self) -> bytes:
        """Bytes that say the stream still lives."""
        ...


class Envelope(msgspec.Struct, frozen=True):
    """What stands around an answer, whatever it says."""

    asked: Asked
    generation_id: str
    created_s: int
    request_id: str


def retry_headers(error: HeadraceError) -> list[tuple[bytes, bytes]]:
    """Whether and when the client should ask again, where the status alone does not say it.

    Claude Code would ask with the same unknown key for minutes if it were not told to stop.
    """
    if isinstance(error, Unauthenticated | BudgetSpent):
        return [(b"x-should-retry", b"false")]
    if isinstance(error, Retryable) and error.retry_after_s is not None:
        # Up, as whoever comes too early is refused again; clients prefer milliseconds.
        return [
            (b"retry-after", b"%d" % max(1, ceil(error.retry_after_s))),
            (b"retry-after-ms", b"%d" % max(1, ceil(error.retry_after_s * _MS_PER_S))),
        ]
    if isinstance(error, RateLimited) and error.limits:
        return [(b"x-should-retry", b"false")]  # the call is more than its limit ever allows
    return []


class Dialect(ABC):
    """How one family of clients speaks."""

    name: ClassVar[str]
    request_id_header: ClassVar[str]
    _statuses: ClassVar[dict[str, int]] = STATUS

    @abstractmethod
    def decode(self, body: bytes, headers: Headers, *, depth_max: int) -> Asked:
        """Read a request body."""

    @abstractmethod
    def encoder(self, envelope: Envelope) -> Encoder:
        """An encoder for one streamed answer."""

    @abstractmethod
    def reply(self, envelope: Envelope, events: Sequence[Event]) -> bytes:
        """A whole answer."""

    @abstractmethod
    def error(self, kind: str, message: str, param: str | None, request_id: str) -> bytes:
        """An error body."""

    def status(self, kind: str) -> int:
        """The HTTP status of an error kind."""
        return self._statuses.get(kind, 500)


class OpenAIChat(Dialect):
    """Chat Completions."""

    name = "openai_chat"
    request_id_header = "x-request-id"

    def decode(self, body: bytes, headers: Headers, *, depth_max: int) -> Asked:
        """Read a request body."""
        del headers  # the dialect has no versions
        decoded = openai_chat.decode_request(body, depth_max=depth_max)
        return Asked(
            decoded.request, decoded.stream, decoded.include_usage, ignored=decoded.ignored
        )

    def encoder(self, envelope: Envelope) -> Encoder:
        """An encoder for one streamed answer."""
        return openai_chat.StreamEncoder(
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
            include_usage=envelope.asked.include_usage,
            custom=envelope.asked.request.free_text_tools(),
        )

    def reply(self, envelope: Envelope, events: Sequence[Event]) -> bytes:
        """A whole answer."""
        return openai_chat.encode_reply(
            events,
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
            custom=envelope.asked.request.free_text_tools(),
        )

    def error(self, kind: str, message: str, param: str | None, request_id: str) -> bytes:
        """An error body."""
        return openai_chat.encode_error(kind, message, param=param, request_id=request_id)


class OpenAIResponses(OpenAIChat):
    """Responses, none of which is stored; its errors are those of Chat Completions.

    Args:
        clock: Tells when a streamed answer is completed.
    """

    name = "openai_responses"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def decode(self, body: bytes, headers: Headers, *, depth_max: int) -> Asked:
        """Read a request body."""
        del headers  # the dialect has no versions
        decoded = openai_responses.decode_request(body, depth_max=depth_max)
        return Asked(decoded.request, decoded.stream, echo=decoded.echo, ignored=decoded.ignored)

    def encoder(self, envelope: Envelope) -> Encoder:
        """An encoder for one streamed answer."""
        return openai_responses.StreamEncoder(
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
            echo=envelope.asked.echo,
            now_s=lambda: self._clock.now_ns() // _NS_PER_S,
        )

    def reply(self, envelope: Envelope, events: Sequence[Event]) -> bytes:
        """A whole answer."""
        return openai_responses.encode_reply(
            events,
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
            echo=envelope.asked.echo,
        )


class AnthropicMessages(Dialect):
    """Messages, of both API versions."""

    name = "anthropic"
    request_id_header = "request-id"
    # The dialect has a status of its own for "come back later", which its SDK retries.
    _statuses = STATUS | {
        "budget_spent": 402,
        "overloaded": 529,
        "engine_unavailable": 529,
        "engine_failed": 500,
    }

    def decode(self, body: bytes, headers: Headers, *, depth_max: int) -> Asked:
        """Read a request body."""
        version = headers.get("anthropic-version", anthropic.VERSION)
        decoded = anthropic.decode_request(body, version=version, depth_max=depth_max)
        return Asked(decoded.request, decoded.stream, ignored=decoded.ignored)

    def encoder(self, envelope: Envelope) -> Encoder:
        """An encoder for one streamed answer."""
        return anthropic.StreamEncoder(
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
            request_id=envelope.request_id,
        )

    def reply(self, envelope: Envelope, events: Sequence[Event]) -> bytes:
        """A whole answer."""
        return anthropic.encode_reply(
            events,
            reply_id=envelope.generation_id,
            created_s=envelope.created_s,
            model=envelope.asked.request.model,
        )

    def error(self, kind: str, message: str, param: str | None, request_id: str) -> bytes:
        """An error body."""
        return anthropic.encode_error(kind, message, param=param, request_id=request_id)


def dialect_of(path: str, headers: Headers) -> Dialect:
    """The dialect in which a client of this path expects to be answered."""
    if path.startswith("/v1/messages") or "anthropic-version" in headers:
        return AnthropicMessages()
    return OpenAIChat()
