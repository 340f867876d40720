"""The gateway: the one road of every model call, whatever its dialect.

1. who      the caller, known by its key                         (serving/app.py)
2. may      the model exists, can do what is asked, and this caller may use it
3. afford   a place among the running calls is free, limits and budgets allow it, and the worst
            that it may come to is held                           (ledger/meter.py)
4. where    the target that answers, and the next ones if it fails (serving/router.py)
5. wait     a fair place at that target                           (serving/queue.py)
6. stream   its events, bytes or vectors, counted as they pass
7. settle   the journal holds what was used before the last of them leaves
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import (
    EngineUnavailable,
    HeadraceError,
    Overloaded,
    Retryable,
    Unsupported,
)
from headrace.core.events import Counted, Finished
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.identity.caller import Caller, may
from headrace.ledger.charge import Charge
from headrace.ledger.meter import Meter
from headrace.ledger.records import GenerationClosed
from headrace.serving.ask import Ask
from headrace.serving.attachments import Attachments
from headrace.serving.attempt import Entered, first
from headrace.serving.bounds import bounds_of, bounds_of_texts
from headrace.serving.call import Call, Generation, Item
from headrace.serving.engine import Engine, LateEngine
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.queue import Priority
from headrace.serving.router import Route, Router, Target
from headrace.serving.tracing import Operation, Tracer
from headrace.wire.losses import local_losses

_NS_PER_MS = 1_000_000
_RETRY_AFTER_S = 2.0
# Texts that go to the engine together; between two such groups a call's use is noted.
_EMBEDDED_TOGETHER = 32
_CANNOT = {"chat": "makes embeddings only and cannot answer", "embeddings": "makes no embeddings"}
_log = logging.getLogger(__name__)


class Gateway:
    """Takes calls in any dialect and answers with events, or with the upstream's own bytes.

    Args:
        router: Knows who answers for which model.
        pool: Loads the engines that are loaded on demand.
        meter: Writes the journal.
        metrics: Counts for operators.
        clock: The house's clock.
        running_max: Model calls at the same time.
        tracer: Makes a trace of each call; None: nobody wants one.
        attachments: Reads the files that requests name; None: there are none.
    """

    def __init__(
        self,
        router: Router,
        pool: Pool,
        *,
        meter: Meter,
        metrics: Metrics,
        clock: Clock,
        running_max: int,
        tracer: Tracer | None = None,
        attachments: Attachments | None = None,
    ) -> None:
        self._router = router
        self._pool = pool
        self._meter = meter
        self._metrics = metrics
        metrics.targets = router.targets
        self._tracer = tracer or Tracer()
        self._attachments = attachments
        self._clock = clock
        self._running_max = running_max
        self._running = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def router(self) -> Router:
        """Knows who answers for which model."""
        return self._router

    @property
    def pool(self) -> Pool:
        """Knows which engines are loaded."""
        return self._pool

    def models(self) -> tuple[Model, ...]:
        """The models that may be asked for, the default one first."""
        return self._router.models()

    def relays(self, dialect: str, model_id: str | None = None) -> bool:
        """Whether a target, of this model or of any, may take calls of a dialect as they come."""
        return self._router.relays(dialect, model_id)

    def why_not_ready(self) -> str | None:
        """Why a call would not be taken now, for whoever may know that much; None if it would."""
        if self._draining:
            return "stopping"
        if self._meter.failure is not None:
            return "the journal cannot be written"
        return None if self._pool.ready() else "the engine is not ready"

    def generate(
        self, caller: Caller, ask: Ask, *, priority: Priority = "interactive"
    ) -> "_Answering":
        """One answer, admitted for the length of a context, whose end cancels it.

        Nothing runs before its items are read.

        Raises:
            HeadraceError: As `admit`.
        """
        admitted = self.admit(caller, ask.model, ability="chat", dialect=ask.dialect)
        call = admitted.call
        call.streamed, call.priority = ask.stream, priority
        call.conversation_id, call.once = ask.conversation_id, ask.once
        call.bounds = bounds_of(ask, call.route.model, priority)
        return _Answering(admitted, self._run(call, ask, priority))

    def admit(
        self, caller: Caller, model_id: str, *, ability: Operation, dialect: str
    ) -> "_Admitted":
        """A call that has a place among those that run for the length of a context.

        Raises:
            Forbidden: The caller's key may not use the model.
            ModelNotFound: The model is not served here.
            Unsupported: It lacks the ability.
            Overloaded: (on entering) Too many calls run already.
            EngineUnavailable: (on entering) Headrace is stopping.
        """
        may(caller, model=model_id)
        call = Call(caller, self._able(model_id, ability), dialect, self._clock)
        call.ability = ability
        return _Admitted(call, self._enter, self._leave)

    async def embed(
        self,
        call: Call,
        texts: Sequence[str],
        dimensions: int | None = None,
        *,
        priority: Priority = "interactive",
    ) -> list[tuple[float, ...]]:
        """One vector for each text, in their order; a cancel stops the engine.

        Args:
            call: It was admitted to embed; `usage` then tells the tokens.
            texts: What to embed.
            dimensions: How long the vectors must be; None: as long as the model makes them.
            priority: Whose turn it is at a busy target.

        Raises:
            Unsupported: The model's vectors are of another length.
            HeadraceError: The engine refuses or fails.
        """
        call.priority = priority
        call.bounds = bounds_of_texts(texts, call.route.model, priority)
        async with _Metered(call, self._open, self._settle):
            targets = self._router.order(call.route, None)
            for target in targets:
                call.target = target
                try:
                    async with self._entered(call, priority) as engine:
                        vectors = await _embedded(call, engine, texts, dimensions)
                        call.see(Finished("end", call.usage))
                        await self._settle(call, durable=True)
                        return vectors
                except Retryable as error:
                    if call.settled or target is targets[-1]:
                        raise
                    _log.warning("%s failed and another is tried: %s", target.id, error.kind)
        raise AssertionError  # the last target either answers or fails

    async def count_tokens(self, caller: Caller, request: Request) -> int:
        """Prompt tokens of a request, exactly as the engine will count them.

        Raises:
            ModelNotFound: The model is not served here.
            Unsupported: It makes embeddings only.
            Overloaded: Too many calls run already.
            RateLimited: A limit of the caller is reached; counting is free, but a request.
            EngineUnavailable: Headrace is stopping.
        """
        may(caller, model=request.model)
        route = self._able(request.model, "chat")
        if self._attachments is not None:
            request = await self._attachments.resolve(request, caller.scope)
        target = self._router.order(route, None)[0]
        charge = self._meter.request(caller.lineage)
        try:
            self._enter()
        except HeadraceError:
            self._meter.void(charge)
            raise
        try:
            if not target.pooled:
                return await target.engine.count_tokens(request)
            async with self._pool.engine(target.engine.model.id) as engine:
                return await engine.count_tokens(request)
        finally:
            self._leave()
            self._meter.void(charge)

    async def drain(self, wait_s: float) -> None:
        """Take no more calls and wait for those that run, up to `wait_s` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(wait_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%d model calls are cut off by the stop", self._running)

    def _able(self, model_id: str, ability: Operation) -> Route:
        """The route of a model, nothing loaded only to hear that it cannot do what is asked."""
        route = self._router.find(model_id)
        able = route.model.abilities
        if not (able.chat if ability == "chat" else able.embeddings):
            raise Unsupported(f"the model {model_id} {_CANNOT[ability]}", param="model")
        return route

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

    async def _run(self, call: Call, ask: Ask, priority: Priority) -> AsyncGenerator[Item]:
        """The answer of the first target that gives one.

        No item is held while the next one is awaited: thousands of streams may be silent.
        """
        async with _Metered(call, self._open, self._settle):
            ask = await self._ready(call, ask)
            targets = self._targets(call.route, ask)
            for target in targets:
                call.target = target
                further = target is not targets[-1]
                held: list[Item | Counted] = []
                begun = False
                try:
                    async with (
                        self._entered(call, priority) as engine,
                        # Not `async for` alone: the engine must hear of a cancel at once.
                        aclosing(self._answer(call, engine, ask)) as items,
                    ):
                        held = await first(items, call, hold=further)
                        begun = True
                        while (
                            item := held.pop(0) if held else await anext(items, None)
                        ) is not None:
                            if call.see(item):
                                await self._settle(call, durable=True)
                            if not isinstance(item, Counted):
                                yield item
                            del item
                except Retryable as error:
                    if begun or not further:
                        raise
                    _log.warning("%s failed and another is tried: %s", target.id, error.kind)
                else:
                    return
                finally:
                    call.received(held)

    async def _ready(self, call: Call, ask: Ask) -> Ask:
        """The call with as many tokens as its budget buys, and the files that it names."""
        affordable = call.charge and call.charge.affordable
        if affordable is not None:
            ask = ask.limited(affordable)
        if ask.passage is not None or self._attachments is None:
            return ask
        request = ask.asked.request
        resolved = await self._attachments.resolve(request, call.scope)
        return ask if resolved is request else ask.replaced(resolved)

    def _targets(self, route: Route, ask: Ask) -> tuple[Target, ...]:
        several = len(route.targets) > 1
        return self._router.order(route, ask.affinity() if several else None)

    def _answer(self, call: Call, engine: Engine, ask: Ask) -> AsyncGenerator[Item | Counted]:
        relay, passage = self._router.relay(call.target), ask.passage
        call.not_carried = ()
        if (
            relay is not None
            and passage is not None
            and relay.dialect == call.dialect
            and relay.relays(passage)
        ):
            return relay.relay(passage)
        asked = ask.asked
        request = msgspec.structs.replace(asked.request, cache_scope=call.scope.organisation_id)
        lost = local_losses(request) if relay is None else relay.losses(request)
        call.not_carried = asked.ignored + lost
        call.sent = request
        return engine.stream(request)

    def _entered(self, call: Call, priority: Priority) -> Entered:
        return Entered(call, priority, self._pool, meter=self._meter, metrics=self._metrics)

    async def _open(self, call: Call) -> None:
        """Admit a call and write down that it begins; where this raises, nothing is held."""
        charge = await self._meter.admit(
            call.lineage,
            call.route.model.id,
            call.bounds,
            at_ns=call.opened_ns,
            once=call.once,
        )
        self._meter.open(call.opened(charge), charge)
        call.charge = charge
        call.trace = self._tracer.begin(
            call.ability,
            call_id=call.id,
            model=call.route.model.id,
            dialect=call.dialect,
            key_id=call.key_id,
        )

    async def _settle(self, call: Call, *, durable: bool) -> None:
        """Close the call's record, once; the first to come wins."""
        if call.settled:
            return
        call.settled = True
        assert call.charge is not None  # noqa: S101 - it was opened
        closed = self._closed(call, call.charge)
        try:
            await self._meter.close(closed, call.charge, durable=durable)
        finally:
            self._metrics.record(
                model=call.route.model.id,
                key_id=call.key_id,
                dialect=call.dialect,
                priority=call.priority,
                outcome=closed.stop,
                usage=closed.usage or call.usage,
                waited_ms=call.waited_ns / _NS_PER_MS,
                first_token_ms=closed.first_token_ms,
                duration_ms=closed.duration_ms or 0,
            )
            call.trace.end(
                answered=call.target.engine.model.id,
                usage=call.usage,
                stop=closed.stop,
                error_kind=closed.error_kind,
                streamed=call.streamed,
                first_token_ms=closed.first_token_ms,
                waited_ms=call.waited_ns / _NS_PER_MS,
            )

    def _closed(self, call: Call, charge: Charge) -> GenerationClosed:
        """The record of a call that has ended, with what it comes to."""
        engine = call.target.engine
        if call.stop == "cancelled" and call.sent is not None and isinstance(engine, LateEngine):
            call.unbilled_tokens = engine.late_tokens(call.sent)
        try:
            usage = call.reckon()
            figures = self._meter.figures(
                charge,
                usage,
                at_ns=call.opened_ns,
                charged=call.charged,
                unbilled_tokens=call.unbilled_tokens,
            )
            if charge.price is not None:
                call.price_nano = figures.price_nano
            return call.closed(usage, figures)
        except BaseException:
            self._meter.leave(charge)
            raise


# Contexts of the road are classes: made of generators, they would cost a call a tenth of its
# time and memory.


class _Admitted:
    """A call's place among those that run."""

    __slots__ = ("_enter", "_leave", "call")

    def __init__(self, call: Call, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self.call = call
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> Call:
        self._enter()
        return self.call

    def __exit__(self, *_: object) -> None:
        self._leave()


class _Answering:
    """An answer for as long as somebody wants it."""

    __slots__ = ("_admitted", "_items")

    def __init__(self, admitted: _Admitted, items: AsyncGenerator[Item]) -> None:
        self._admitted = admitted
        self._items = items

    async def __aenter__(self) -> Generation:
        return Generation(self._admitted.__enter__(), self._items)

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._items.aclose()
        finally:
            self._admitted.__exit__()


class _Metered:
    """Whatever happens to a call, the journal holds both its ends."""

    __slots__ = ("_call", "_open", "_settle")

    def __init__(
        self,
        call: Call,
        open_: Callable[[Call], Awaitable[None]],
        settle: Callable[..., Awaitable[None]],
    ) -> None:
        self._call = call
        self._open = open_
        self._settle = settle

    async def __aenter__(self) -> None:
        await self._open(self._call)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        call = self._call
        try:
            if isinstance(error, HeadraceError):
                call.refused(error)
            elif isinstance(error, Exception):
                _log.error("unexpected error in the call %s", call.id, exc_info=error)
                mistake = HeadraceError("Headrace made a mistake; its log says more")
                call.refused(mistake)
                raise mistake from error
        finally:
            await self._settle(call, durable=False)


async def _embedded(
    call: Call, engine: Engine, texts: Sequence[str], dimensions: int | None
) -> list[tuple[float, ...]]:
    vectors: list[tuple[float, ...]] = []
    used = 0
    for start in range(0, len(texts), _EMBEDDED_TOGETHER):
        together = tuple(texts[start : start + _EMBEDDED_TOGETHER])
        made, tokens = await engine.embed(together)
        used += tokens
        call.embedded(used)
        if dimensions not in {None, len(made[0])}:
            raise Unsupported(
                f"dimensions: The vectors of {call.route.model.id} have {len(made[0])}"
                " dimensions, and it was not made to have them cut.",
                param="dimensions",
            )
        vectors += made
    return vectors
