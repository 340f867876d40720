"""The gateway: the one road of every model call, whatever its dialect.

1. who      the caller, known by its key                         (serving/app.py)
2. may      the model exists, can do what is asked, and this caller may use it
3. afford   a place among the running calls is free
4. where    the engine that serves the model, loaded if need be  (serving/pool.py)
5. stream   the engine's events or vectors, counted as they pass
6. settle   the journal holds what was used before the last of them leaves
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Literal

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import EngineUnavailable, HeadraceError, Overloaded, Unsupported
from headrace.core.events import Delta, Event, Failed, Finished, Started
from headrace.core.ids import new_id
from headrace.core.models import Model, Usage
from headrace.core.requests import Request
from headrace.identity.keys import Caller
from headrace.ledger.meter import Meter
from headrace.ledger.records import GenerationClosed, GenerationOpened
from headrace.serving.engine import Engine
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool

_NS_PER_MS = 1_000_000
_RETRY_AFTER_S = 2.0
# Texts that go to the engine together; between two such groups a call's use is noted.
_EMBEDDED_TOGETHER = 32
_CANNOT = {"chat": "makes embeddings only and cannot answer", "embeddings": "makes no embeddings"}
_log = logging.getLogger(__name__)


class Gateway:
    """Takes requests in nobody's dialect and answers with events.

    Args:
        pool: The engines.
        meter: Writes the journal.
        metrics: Counts for operators.
        clock: The house's clock.
        running_max: Model calls at the same time.
    """

    def __init__(
        self, pool: Pool, *, meter: Meter, metrics: Metrics, clock: Clock, running_max: int
    ) -> None:
        self._pool = pool
        self._meter = meter
        self._metrics = metrics
        self._clock = clock
        self._running_max = running_max
        self._running = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def models(self) -> tuple[Model, ...]:
        """The models that may be asked for, the default one first."""
        return self._pool.models()

    def why_not_ready(self) -> str | None:
        """Why a call would not be taken now, for whoever may know that much; None if it would."""
        if self._draining:
            return "stopping"
        if self._meter.failure is not None:
            return "the journal cannot be written"
        return None if self._pool.ready() else "the engine is not ready"

    @asynccontextmanager
    async def generate(
        self, caller: Caller, request: Request, *, dialect: str
    ) -> AsyncGenerator["Generation"]:
        """Admit one answer for the length of the context, whose end cancels it.

        Nothing runs before its events are read.

        Raises:
            HeadraceError: As `admit`.
        """
        with self.admit(caller, request.model, ability="chat", dialect=dialect) as call:
            async with aclosing(self._run(call, request)) as events:
                yield Generation(call.id, events)

    @contextmanager
    def admit(
        self, caller: Caller, model_id: str, *, ability: Literal["chat", "embeddings"], dialect: str
    ) -> Generator["Call"]:
        """A place among the running calls for the length of the context.

        Raises:
            ModelNotFound: The model is not served here.
            Unsupported: It lacks the ability.
            Overloaded: Too many calls run already.
            EngineUnavailable: Headrace is stopping.
        """
        call = Call(caller, self._able(model_id, ability), dialect, self._clock)
        self._enter()
        try:
            yield call
        finally:
            self._leave()

    async def embed(
        self, call: "Call", texts: Sequence[str], dimensions: int | None = None
    ) -> list[tuple[float, ...]]:
        """One vector for each text, in their order; a cancel stops the engine.

        Args:
            call: It was admitted to embed; `usage` then tells the tokens.
            texts: What to embed.
            dimensions: How long the vectors must be; None: as long as the model makes them.

        Raises:
            Unsupported: The model's vectors are of another length.
            HeadraceError: The engine refuses or fails.
        """
        vectors: list[tuple[float, ...]] = []
        async with self._metered(call) as engine:
            for start in range(0, len(texts), _EMBEDDED_TOGETHER):
                made, tokens = await engine.embed(tuple(texts[start : start + _EMBEDDED_TOGETHER]))
                call.embedded(tokens)
                if dimensions not in {None, len(made[0])}:
                    raise Unsupported(
                        f"dimensions: The vectors of {call.engine.model.id} have {len(made[0])}"
                        " dimensions, and it was not made to have them cut.",
                        param="dimensions",
                    )
                vectors += made
            call.see(Finished("end", call.usage))
            await self._settle(call, durable=True)
        return vectors

    async def count_tokens(self, request: Request) -> int:
        """Prompt tokens of a request, exactly as the engine will count them.

        Raises:
            ModelNotFound: The model is not served here.
            Unsupported: It makes embeddings only.
        """
        self._able(request.model, "chat")
        async with self._pool.engine(request.model) as engine:
            return await engine.count_tokens(request)

    async def drain(self, wait_s: float) -> None:
        """Take no more calls and wait for those that run, up to `wait_s` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(wait_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%d model calls are cut off by the stop", self._running)

    def _able(self, model_id: str, ability: Literal["chat", "embeddings"]) -> Engine:
        """The engine of a model, not loaded only to hear that it cannot do what is asked."""
        engine = self._pool.find(model_id)
        able = engine.model.abilities
        if not (able.chat if ability == "chat" else able.embeddings):
            raise Unsupported(f"the model {model_id} {_CANNOT[ability]}", param="model")
        return engine

    def _enter(self) -> None:
        if self._draining:
            raise EngineUnavailable("Headrace is stopping", retry_after_s=_RETRY_AFTER_S)
        if self._running >= self._running_max:
            raise Overloaded(
                f"{self._running} model calls are running, which is the limit of this server",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._running += 1
        self._idle.clear()
        self._metrics.running.set(self._running)

    def _leave(self) -> None:
        self._running -= 1
        self._metrics.running.set(self._running)
        if self._running == 0:
            self._idle.set()

    async def _run(self, call: "Call", request: Request) -> AsyncGenerator[Event]:
        # Not `async for` alone: the engine must hear of a cancel now, not at collection.
        async with self._metered(call) as engine, aclosing(engine.stream(request)) as events:
            async for event in events:
                call.see(event)
                if isinstance(event, Finished | Failed):
                    await self._settle(call, durable=True)
                yield event

    @asynccontextmanager
    async def _metered(self, call: "Call") -> AsyncGenerator[Engine]:
        """The engine of a call, loaded; whatever happens, the journal holds both its ends."""
        self._meter.open(call.opened())
        try:
            async with self._pool.engine(call.engine.model.id) as engine:
                yield engine
        except HeadraceError as error:
            call.refused(error)
            raise
        except Exception as error:
            _log.exception("unexpected error in the call %s", call.id)
            mistake = HeadraceError("Headrace made a mistake; its log says more")
            call.refused(mistake)
            raise mistake from error
        finally:
            await self._settle(call, durable=False)

    async def _settle(self, call: "Call", *, durable: bool) -> None:
        """Close the call's record, once; the first to come wins."""
        if call.settled:
            return
        call.settled = True
        closed = call.closed()
        try:
            await self._meter.close(closed, durable=durable)
        finally:
            self._metrics.record(
                model=call.engine.model.id,
                dialect=call.dialect,
                outcome=closed.stop,
                usage=call.usage,
                first_token_ms=closed.first_token_ms,
                duration_ms=closed.duration_ms or 0,
            )


class Generation(msgspec.Struct, frozen=True):
    """One answer: its last event is Finished or Failed; what it raises is of the core's tree."""

    id: str
    events: AsyncGenerator[Event]


class Call:
    """One model call on the road, and what has been seen of it so far."""

    def __init__(self, caller: Caller, engine: Engine, dialect: str, clock: Clock) -> None:
        self.id = new_id(clock)
        self.engine = engine
        self.dialect = dialect
        self.settled = False
        self.usage = Usage()
        self._caller = caller
        self._clock = clock
        self._opened_ns = clock.now_ns()
        self._started_ns = clock.monotonic_ns()
        self._first_token_ns: int | None = None
        self._stop = "cancelled"
        self._error_kind: str | None = None

    def see(self, event: Event) -> None:
        """Take note of an event on its way out."""
        if isinstance(event, Delta):
            if self._first_token_ns is None:
                self._first_token_ns = self._clock.monotonic_ns()
            # A cut answer is accounted to the last count received.
            used = self.usage
            self.usage = Usage(used.input, used.cached, event.output_tokens, used.reasoning)
        elif isinstance(event, Started):
            self.usage = event.usage
        elif isinstance(event, Finished):
            self.usage = event.usage
            self._stop = event.stop
        else:
            self.usage = event.usage or self.usage
            self._stop, self._error_kind = "failed", event.kind

    def embedded(self, tokens: int) -> None:
        """So many more tokens have become vectors."""
        self.usage = Usage(self.usage.input + tokens)

    def refused(self, error: HeadraceError) -> None:
        """The engine would not take the call."""
        self._stop, self._error_kind = "failed", error.kind

    def opened(self) -> GenerationOpened:
        """The record that the call begins."""
        caller = self._caller
        return GenerationOpened(
            id=self.id,
            organisation_id=caller.scope.organisation_id,
            account_id=caller.scope.account_id,
            key_id=caller.key_id,
            purpose=caller.purpose,
            model_id=self.engine.model.id,
            release_digest=self.engine.info.digest,
            engine=self.engine.info.name,
            dialect=self.dialect,
            started_ns=self._opened_ns,
        )

    def closed(self) -> GenerationClosed:
        """The record of what the call used and how it ended."""
        now_ns, first_ns = self._clock.monotonic_ns(), self._first_token_ns
        return GenerationClosed(
            id=self.id,
            usage=self.usage,
            cost_nano=0,
            first_token_ms=None if first_ns is None else _ms(first_ns - self._started_ns),
            duration_ms=_ms(now_ns - self._started_ns),
            stop=self._stop,
            error_kind=self._error_kind,
        )


def _ms(duration_ns: int) -> int:
    return round(duration_ns / _NS_PER_MS)
