"""Engine: whatever turns a request into events.

The scripted engine, the llama.cpp child, vLLM behind a URL and other providers all look like
this to the gateway.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from headrace.core.events import Event
from headrace.core.models import Model
from headrace.core.requests import Request


class EngineInfo(msgspec.Struct, frozen=True):
    """What people may know of an engine. `digest` is that of the release it answers with."""

    name: str
    version: str
    digest: str
    threads: int | None = None
    batch_tokens: int | None = None
    slots: int | None = None


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

    def stream(self, request: Request) -> AsyncGenerator[Event]:
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
