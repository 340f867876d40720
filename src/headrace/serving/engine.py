"""Engine: whatever turns a request into events.

The scripted engine, the llama.cpp child, vLLM behind a URL and other providers all look like
this to the gateway.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from headrace.core.events import Counted, Event, Stop
from headrace.core.models import Model, Usage
from headrace.core.requests import Request


class EngineInfo(msgspec.Struct, frozen=True):
    """What people may know of an engine. `digest` is that of the release it answers with.

    `address` is the host and port of an upstream.
    """

    name: str
    version: str
    digest: str
    threads: int | None = None
    batch_tokens: int | None = None
    slots: int | None = None
    address: tuple[str, int] | None = None


class Engine(Protocol):
    """Serves one release of one model."""

    @property
    def model(self) -> Model:
        """The model it serves, under its public name."""
        ...

    @property
    def info(self) -> EngineInfo:
        """Name, version and settings, for receipts, the start screen and `doctor`."""
        ...

    async def start(self) -> None:
        """Get ready to answer; returns when the first request may come.

        Raises:
            EngineUnavailable: It cannot start; the text says why and what to do.
        """
        ...

    async def stop(self) -> None:
        """Free everything. Answers still running fail with `engine_unavailable`."""
        ...

    def ready(self) -> bool:
        """Whether a request sent now would be taken."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        """Answer. The last event is Finished or Failed; closing the generator cancels.

        Refusals known before the first token (context too long, engine not there) are
        raised from the first step as errors of the core's tree; whatever happens after
        Started arrives as Failed.
        """
        ...

    async def count_tokens(self, request: Request) -> int:
        """Prompt tokens that `stream` would compute for this request, exactly."""
        ...

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        """One vector for each text, and the input tokens used.

        Raises:
            Unsupported: The model makes no embeddings.
        """
        ...


@runtime_checkable
class LateEngine(Engine, Protocol):
    """An engine of our own that knows what it still made after its client had gone."""

    def late_tokens(self, request: Request) -> int:
        """Tokens of a cancelled answer that were made and never told; asked for once.

        Args:
            request: The very object that `stream` was given.
        """
        ...


OUTPUT_LIMITS: Mapping[str, tuple[str, ...]] = {
    "openai_chat": ("max_completion_tokens", "max_tokens", "n_predict"),
    "openai_responses": ("max_output_tokens",),
    "anthropic": ("max_tokens",),
}
"""The fields by which calls of a dialect limit their answers: the one to write, then others that
upstreams go by."""


class Passage(msgspec.Struct, frozen=True):
    """A client's call as it came, for an upstream that speaks the same dialect.

    `body` is JSON in UTF-8, checked for syntax only; `headers` have lower-case names and no
    credentials; `query` is what stood behind the question mark. `output_tokens_max` is the limit
    that it names for each of its `answers`; where it names none, `output_tokens_affordable` may
    say how many a budget buys, which the upstream is then told.
    """

    body: bytes
    headers: Mapping[str, str]
    query: str
    stream: bool
    output_tokens_max: int | None = None
    answers: int = 1
    output_tokens_affordable: int | None = None


class Passed(msgspec.Struct, frozen=True):
    """Bytes of an upstream's answer on their way to the client, and what they were seen to say.

    `output_tokens` is the running count of produced tokens, as far as it is known before the
    upstream tells; `usage` is set once it has told, and `told` once that is of the whole answer;
    `stop` is set on the last one, which holds no more bytes than the others. A whole answer is
    one of them.
    """

    data: bytes
    output_tokens: int = 0
    usage: Usage | None = None
    stop: Stop | None = None
    told: bool = False


@runtime_checkable
class RelayEngine(Engine, Protocol):
    """An engine behind a dialect: calls that come in that dialect are passed on as they are."""

    @property
    def dialect(self) -> str:
        """The upstream's dialect: openai_chat, openai_responses or anthropic."""
        ...

    def relays(self, passage: Passage) -> bool:
        """Whether this call may pass unread; not where the gateway must read its answer."""
        ...

    def losses(self, request: Request) -> tuple[str, ...]:
        """The fields of a request that the upstream's dialect cannot carry."""
        ...

    def relay(self, passage: Passage) -> AsyncGenerator[Passed]:
        """Answer in the client's own dialect; closing the generator cancels upstream.

        Refusals known before the first byte are raised as errors of the core's tree, with the
        upstream's own body where the client may see it. What breaks afterwards is raised too.
        """
        ...
