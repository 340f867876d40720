"""Responses in the background: they belong to no connection.

An event is stored before anybody sees it, so that whoever comes back after a crash finds all
that he has seen. What a crash leaves unfinished is marked failed at the next start.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Literal

import msgspec
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import EngineFailed, HeadraceError, StoreError
from headrace.core.scope import Scope
from headrace.serving.responses.stream import Feed, ResponseStream, fields_of
from headrace.store.database import Database
from headrace.store.responses import (
    EventBatch,
    StoredResponse,
    add_response,
    append_events,
    finish_response,
    load_events,
    reap_responses,
    running_responses,
)
from headrace.wire.sse import ServerEvent

_FLUSH_S = 0.1
_FINISH_TRIES = 5
_REAP_EVERY_S = 3600.0
_STOPPED = "Headrace was stopped while it worked on this response; ask again"
_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """The bytes of a stream, and what is done once its call is paid for and runs."""

    chunks: AsyncGenerator[bytes]
    opened: asyncio.Future[None]


Answering = AbstractAsyncContextManager[Answer]
"""A model call; entering it may refuse."""


class Run:
    """A response that is worked on. `row` is how it was stored at first."""

    def __init__(self, scope: Scope, row: StoredResponse, stream: ResponseStream) -> None:
        self.scope = scope
        self.row = row
        self.feed = Feed()
        self.stream = stream
        self.begun = False
        self.cut: Literal["cancelled", "stopped"] | None = None
        self._work: asyncio.Task[None] | None = None
        self._queued = asyncio.Event()
        self._unstored: list[ServerEvent] = []
        self._stored = stream.count

    @asynccontextmanager
    async def working(self, answer: Answer, on_event: Callable[[], None]) -> AsyncGenerator[None]:
        """Work on the answer for the length of this context; nothing is taken before `queue`.

        Raises:
            HeadraceError: The call is refused.
        """
        work = self._work = asyncio.create_task(self._consume(answer.chunks, on_event))
        if self.cut is not None:
            work.cancel()
        try:
            await asyncio.wait({work, answer.opened}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.opened.done() and isinstance(_broken(work), HeadraceError):
                await work
            yield
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def worked(self) -> None:
        """Wait for the whole answer; its end, whatever it is, becomes the last events."""
        assert self._work is not None  # noqa: S101 - within `working`
        await asyncio.wait({self._work})
        if not self.stream.ended:
            self._unstored += self._last(self._work)

    def stop(self, how: Literal["cancelled", "stopped"]) -> None:
        """End it before its time; the first reason stands."""
        if self.cut is None and not self.stream.ended:
            self.cut = how
            if self._work is not None:
                self._work.cancel()

    def fail(self, error: HeadraceError) -> None:
        """End it with an error."""
        self._unstored += self.stream.fail(error)

    def queue(self) -> EventBatch | None:
        """The events of a response that has to wait, to be stored with it."""
        self._unstored += self.stream.queue()
        self._queued.set()
        self.row = msgspec.structs.replace(
            self.row, status="queued", response=self.stream.response.decode()
        )
        return self.batch()

    def batch(self) -> EventBatch | None:
        """What is not stored yet."""
        if not self._unstored:
            return None
        payload = b"[" + b",".join(event.data for event in self._unstored) + b"]"
        response: str | None = None
        if not self.begun and self.stream.status == "in_progress":
            response = self.stream.response.decode()
        last = self.stream.count - 1
        return EventBatch(self.scope, self.row.id, last, payload.decode(), response)

    def stored(self, batch: EventBatch) -> None:
        """The batch is safe, so readers may have it."""
        self.begun |= batch.response is not None
        number = batch.seq + 1 - self._stored
        self.feed.add(self._unstored[:number])
        del self._unstored[:number]
        self._stored += number

    def final(self, now_ns: int) -> StoredResponse:
        """The response as it is now that nothing more will come."""
        return msgspec.structs.replace(
            self.row,
            status=self.stream.status,
            response=self.stream.response.decode(),
            ended_ns=now_ns,
        )

    async def _consume(self, chunks: AsyncGenerator[bytes], on_event: Callable[[], None]) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                await self._queued.wait()
                self._unstored += self.stream.take(chunk)
                on_event()

    def _last(self, work: asyncio.Task[None]) -> list[ServerEvent]:
        if self.cut == "cancelled":
            return self.stream.cancel()
        if self.cut == "stopped":
            return self.stream.fail(EngineFailed(_STOPPED))
        broken = _broken(work)
        if isinstance(broken, HeadraceError):
            return self.stream.fail(broken)
        if broken is not None:
            _log.error("the response %s broke", self.row.id, exc_info=broken)
            return self.stream.fail(HeadraceError("Headrace made a mistake; its log says more"))
        return self.stream.fail(EngineFailed("the answer broke off"))


class Background:
    """All responses that are worked on without a connection.

    Args:
        database: Where they are kept.
        clock: The house's clock.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty = asyncio.Event()
        # Between taking events and showing them, nobody else may take any.
        self._storing = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Mends what a crash left, stores, and reaps; afterwards all responses are final."""
        await self._database.write(lambda connection: _mend(connection, self._clock.now_ns()))
        keepers = [asyncio.create_task(self._flush_for_ever())]
        keepers.append(asyncio.create_task(self._reap_for_ever()))
        try:
            yield
        finally:
            for run in tuple(self._runs.values()):
                run.stop("stopped")
            await asyncio.gather(*self._tasks)
            for keeper in keepers:
                keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeper

    def start(self, run: Run, call: Answering) -> None:
        """Work on a response; its feed tells what becomes of it, also a refusal of the call."""
        self._runs[run.row.id] = run
        task = asyncio.create_task(self._see_through(run, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def find(self, response_id: str) -> Run | None:
        """A response that is worked on."""
        return self._runs.get(response_id)

    async def cancel(self, response_id: str) -> None:
        """End a response with what it has, and wait until that is stored."""
        run = self._runs.get(response_id)
        if run is not None:
            run.stop("cancelled")
            await run.feed.finished()

    async def _see_through(self, run: Run, call: Answering) -> None:
        refusal: HeadraceError | None = None
        try:
            async with call as answer, run.working(answer, self._dirty.set):
                await self._add(run)
                await run.worked()
            await self._finish(run)
        except HeadraceError as error:
            refusal = error
            if run.stream.count:
                # The row stays as it is: the next start will mend it.
                _log.exception("the response %s could not be stored", run.row.id)
        except Exception:  # noqa: BLE001 - readers must hear of the end, whatever happened
            _log.exception("unexpected error in the response %s", run.row.id)
            refusal = HeadraceError("Headrace made a mistake; its log says more")
        finally:
            del self._runs[run.row.id]
            run.feed.end(refusal)

    async def _add(self, run: Run) -> None:
        async with self._storing:
            batch = run.queue()
            await self._database.write(
                lambda connection: add_response(connection, run.scope, run.row, batch)
            )
            if batch is not None:
                run.stored(batch)

    async def _finish(self, run: Run) -> None:
        final = run.final(self._clock.now_ns())
        async with self._storing:
            batch = run.batch()

            def work(connection: Connection) -> None:
                finish_response(connection, run.scope, final, batch)

            for attempt in range(_FINISH_TRIES):
                try:
                    await self._database.write(work)
                    break
                except StoreError:
                    if attempt == _FINISH_TRIES - 1:
                        raise
                    await asyncio.sleep(_FLUSH_S * 2**attempt)
            if batch is not None:
                run.stored(batch)

    async def _flush_for_ever(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._flush()
            except Exception:  # noqa: BLE001 - no failure may end the flusher
                _log.exception("storing responses failed, trying again")
                self._dirty.set()
            await asyncio.sleep(_FLUSH_S)

    async def _flush(self) -> None:
        async with self._storing:
            # A response that has ended is stored with its end.
            runs = [run for run in self._runs.values() if not run.stream.ended]
            batches = [(run, batch) for run in runs if (batch := run.batch()) is not None]
            if batches:
                stored = [batch for _, batch in batches]
                await self._database.write(lambda connection: append_events(connection, stored))
            for run, batch in batches:
                run.stored(batch)

    async def _reap_for_ever(self) -> None:
        while True:
            try:
                await self._database.write(
                    lambda connection: reap_responses(connection, self._clock.now_ns())
                )
            except StoreError:
                _log.exception("responses whose time is over could not be deleted")
            await asyncio.sleep(_REAP_EVERY_S)


def _broken(work: asyncio.Task[None]) -> BaseException | None:
    """What ended a task before its time, if it was not cancelled."""
    return work.exception() if work.done() and not work.cancelled() else None


def _mend(connection: Connection, now_ns: int) -> None:
    """Mark what a process that is gone left unfinished as failed."""
    for scope, row in running_responses(connection):
        events = load_events(connection, scope, row.id)
        stream = ResponseStream.resumed(fields_of(row.response), events)
        run = Run(scope, row, stream)
        run.fail(EngineFailed(_STOPPED))
        finish_response(connection, scope, run.final(now_ns), run.batch())
