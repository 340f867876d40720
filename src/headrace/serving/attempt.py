"""One attempt at a call: a place at a target, its engine, and its first token in time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from headrace.core.errors import HeadraceError, Retryable, TimedOut, of_kind
from headrace.core.events import Counted, Failed, Started
from headrace.ledger.meter import Meter
from headrace.serving.call import Call, Item
from headrace.serving.engine import Engine
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.queue import Priority

_RETRY_AFTER_S = 2.0
# A target that only says that it is busy is not broken, and says when to come back.
_BROKEN = frozenset(("engine_failed", "engine_unavailable", "timed_out"))


class Entered:
    """A place at a call's target, and its engine; what becomes of it is told the breaker."""

    __slots__ = ("_call", "_loaded", "_meter", "_metrics", "_place", "_pool", "_span")

    def __init__(
        self, call: Call, priority: Priority, pool: Pool, *, meter: Meter, metrics: Metrics
    ) -> None:
        self._call = call
        self._pool = pool
        self._meter = meter
        self._metrics = metrics
        self._place = call.target.queue.place(call.queued_as, priority)
        self._span = call.trace.attempt(call.target)
        self._loaded: AbstractAsyncContextManager[Engine] | None = None

    async def __aenter__(self) -> Engine:
        target = self._call.target
        await self._place.__aenter__()
        self._call.waited_ns += self._place.waited_ns
        self._span.__enter__()
        target.breaker.tried()
        try:
            engine = target.engine
            if target.pooled:
                loaded = self._pool.engine(engine.model.id)
                engine = await loaded.__aenter__()
                self._loaded = loaded
            if self._call.charge is not None:
                self._meter.attempt(
                    self._call.charge,
                    target_id=target.id,
                    upstream=target.upstream,
                    machine=target.machine,
                    release_digest=engine.info.digest,
                )
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return engine

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        call = self._call
        if call.charge is not None:
            call.charge.left()
        breaker = call.target.breaker
        # What breaks after its first token is told by its last event.
        failed = error.kind if isinstance(error, HeadraceError) else call.error_kind
        if failed is not None and isinstance(of_kind(failed, ""), Retryable):
            self._metrics.target_failed(call.target.id, failed)
        if failed in _BROKEN:
            breaker.failed()
        elif failed is None and error is None:
            breaker.succeeded()
        else:
            breaker.left()
        try:
            if self._loaded is not None:
                await self._loaded.__aexit__(kind, error, trace)
        finally:
            self._span.__exit__(kind, error, trace)
            await self._place.__aexit__(kind, error, trace)


async def first(
    items: AsyncGenerator[Item | Counted], call: Call, *, hold: bool
) -> list[Item | Counted]:
    """The first items of an answer; with `hold`, up to its first token or its end.

    Raises:
        TimedOut: There was no first token in time.
        HeadraceError: The engine refused, or failed before its first token.
    """
    wait_s = call.target.first_token_s
    if wait_s is None:
        return await _held(items, call, hold=hold)
    try:
        async with asyncio.timeout(wait_s):
            return await _held(items, call, hold=True)
    except TimeoutError:
        raise TimedOut(f"no token came within {wait_s:g} s", retry_after_s=_RETRY_AFTER_S) from None


async def _held(
    items: AsyncGenerator[Item | Counted], call: Call, *, hold: bool
) -> list[Item | Counted]:
    held: list[Item | Counted] = []
    async for item in items:
        if isinstance(item, Started | Failed) and item.usage is not None:
            call.tried(item.usage)  # an upstream may bill what was of no use
        if isinstance(item, Failed):
            raise of_kind(item.kind, item.message, retry_after_s=item.retry_after_s)
        held.append(item)
        if not (hold and isinstance(item, Started)):
            break
    return held
