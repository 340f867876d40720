"""Runner: takes every batch to its end, whatever happens in between.

Each batch has a task of its own: check the input, run the lines, write the results. All that
must survive is in the database, so a task that a crash or a fault ended begins again where the
rows say it was. A line that ran at that moment runs again; its result is recorded once.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from headrace.core.batches import Batch, Done, Line, LineStatus
from headrace.core.clock import Clock
from headrace.core.errors import (
    EngineFailed,
    HeadraceError,
    Retryable,
    StoreError,
    TimedOut,
)
from headrace.core.scope import Scope
from headrace.identity.keys import Caller
from headrace.ledger.charge import Once
from headrace.ledger.tries import Charged
from headrace.serving.batches.calls import Calls
from headrace.serving.batches.intake import Intake
from headrace.serving.batches.results import Results
from headrace.store import batches as rows
from headrace.store.database import Database
from headrace.wire import anthropic_batches

_NUMBERS = 1_000
_FAILED_TOGETHER = 500
_DROPPED_TOGETHER = 1_000
_SPENT = 10
_SWEEP_S = 60.0
_AGAIN_S = 5.0
_PAUSE_S_MIN, _PAUSE_S, _PAUSE_S_MAX = 0.1, 1.0, 60.0
# An engine that breaks over a line once may have had bad luck; over and over it is the line.
_BREAKS_MAX = 3
_NS_PER_S = 1_000_000_000
_log = logging.getLogger(__name__)

Holder = Callable[[str, Scope], Caller]
"""The caller that a key id and an account are now; raises when they are nobody any more."""


class Runner:
    """All running batches.

    Args:
        database: Where they are kept.
        holder: Gives the caller of each line.
        calls: Runs a line.
        intake: Checks inputs.
        results: Writes what is left.
        clock: The house's clock.
        running_max: Lines at the same time, of all batches.
        charged: Tells what a line that is run again was charged; None: nothing is charged.
    """

    def __init__(
        self,
        database: Database,
        *,
        holder: Holder,
        calls: Calls,
        intake: Intake,
        results: Results,
        clock: Clock,
        running_max: int,
        charged: Charged | None = None,
    ) -> None:
        self._database = database
        self._holder = holder
        self._calls = calls
        self._intake = intake
        self._results = results
        self._clock = clock
        self._running_max = running_max
        self._charged = charged
        # Those who wait get their places in order: so batches take turns, whatever their length.
        self._places = asyncio.Semaphore(running_max)
        self._lines: dict[asyncio.Task[None], _Place] = {}
        self._tended: dict[str, _Tended] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Go on with everything that has not ended."""
        self._draining = False
        for batch in await self._database.read(rows.unfinished):
            if batch.status == "validating" and batch.input_file_id is None:
                # Its client never heard of it: the start cut its upload off.
                await self._database.write(
                    lambda connection, batch=batch: rows.discard(connection, batch.id)
                )
            else:
                self.begin(batch.id)
        self._sweeper = asyncio.create_task(self._keep_sweeping())

    def begin(self, identifier: str) -> None:
        """Take a batch, which the database holds, to its end."""
        if self._draining:
            return
        tended = _Tended()
        self._tended[identifier] = tended
        tended.task = asyncio.create_task(self._tend(identifier, tended))
        tended.task.add_done_callback(lambda _: self._tended.pop(identifier, None))

    def cancel(self, identifier: str) -> None:
        """Stop a batch's lines at once, after the database says that it is cancelled."""
        tended = self._tended.get(identifier)
        if tended is not None:
            tended.cancelled = True
            if tended.work is not None:
                tended.work.cancel()

    async def drain(self, wait_s: float) -> None:
        """Begin no more lines, wait for those that run, leave the rest to the next start."""
        self._draining = True
        try:
            if running := [task for task, place in self._lines.items() if place.held]:
                await asyncio.wait(running, timeout=wait_s)
        finally:
            tasks = [each.task for each in self._tended.values() if each.task is not None]
            if self._sweeper is not None:
                tasks.append(self._sweeper)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tend(self, identifier: str, tended: "_Tended") -> None:
        while True:
            try:
                await self._complete(identifier, tended)
            except Exception:  # noqa: BLE001 - a batch may wait, but must come to its end
                _log.exception("the batch %s waits %g s after a fault", identifier, _AGAIN_S)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _complete(self, identifier: str, tended: "_Tended") -> None:
        """Every step that is left of a batch."""
        batch = await self._database.read(lambda connection: rows.find(connection, identifier))
        if batch is None or batch.ended_ns is not None:
            return
        leave: LineStatus | None = None
        if batch.status == "cancelling" or tended.cancelled:
            leave = "canceled"
        elif batch.status != "finalizing":
            tended.work = asyncio.create_task(self._work(batch))
            try:
                leave = await self._until_over(batch, tended)
            finally:
                tended.work.cancel()
                with suppress(asyncio.CancelledError):
                    await tended.work
            if leave is None and not tended.work.result():
                return
        await self._results.close(batch, leave)

    async def _until_over(self, batch: Batch, tended: "_Tended") -> LineStatus | None:
        """Wait for the work; what cut it short decides what becomes of the lines it left."""
        assert tended.work is not None  # noqa: S101 - made just before
        left_s = max(0.0, (batch.expires_ns - self._clock.now_ns()) / _NS_PER_S)
        done, _ = await asyncio.wait({tended.work}, timeout=left_s)
        if tended.cancelled:
            return "canceled"
        if not done:
            return "expired"
        if tended.work.cancelled():
            raise asyncio.CancelledError
        return None

    async def _work(self, batch: Batch) -> bool:
        """Check the input and run the lines; False when there is nothing to run."""
        if batch.status == "validating" and not await self._intake.check(batch):
            return False
        gone: HeadraceError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                await self._run_lines(batch, group)
        except* _KeyGone as errors:
            gone = _first(errors)
        # Not above: a cancel that meets an `except*` comes out of it as a group of errors.
        if gone is not None:
            await self._fail_rest(batch, gone)
        return True

    async def _run_lines(self, batch: Batch, group: asyncio.TaskGroup) -> None:
        pace, after = _Pace(self._clock), 0
        # Those that ran when the process ended are the first that are left: so many at most.
        perhaps_run = 0 if batch.status == "validating" else 2 * self._running_max
        # Lines that wait for a further try hold no place, but they are not to become many.
        room = asyncio.Semaphore(self._running_max)
        while numbers := await self._database.read(
            lambda connection, after=after: rows.pending(
                connection, batch.id, after=after, limit=_NUMBERS
            )
        ):
            for number in numbers:
                await room.acquire()
                place = _Place(self._places)
                await self._enter(place, pace)
                again = perhaps_run > 0
                perhaps_run -= 1
                task = group.create_task(self._line(batch, number, place, pace, again=again))
                self._lines[task] = place
                # Not in the task itself: one that is cancelled before its first step does nothing.
                task.add_done_callback(self._line_ended)
                task.add_done_callback(lambda _: room.release())
            after = numbers[-1]

    def _line_ended(self, task: asyncio.Task[None]) -> None:
        self._lines.pop(task).leave()

    async def _enter(self, place: "_Place", pace: "_Pace") -> None:
        """Wait until a line of this batch may run; during a stop none may any more."""
        await pace.ready()
        await place.enter()
        if self._draining:
            place.leave()
            await asyncio.Event().wait()

    async def _line(
        self, batch: Batch, number: int, place: "_Place", pace: "_Pace", *, again: bool
    ) -> None:
        """Run a line, again if need be, and record its end; it is charged once."""
        once = Once(f"{batch.id}:{number}")
        if again and self._charged is not None:
            once.charged_nano = await self._charged(once.id)
        line = await self._database.read(lambda connection: rows.line(connection, batch.id, number))
        breaks = 0
        while line is not None:
            once.begin()
            done = await self._try(batch, line, once, pace, last=breaks + 1 >= _BREAKS_MAX)
            if isinstance(done, Done):
                await self._database.write(
                    lambda connection, done=done: rows.record(connection, batch.id, [done])
                )
                return
            breaks += done
            place.leave()
            await self._enter(place, pace)

    async def _try(
        self, batch: Batch, line: Line, once: Once, pace: "_Pace", *, last: bool
    ) -> Done | int:
        """How the line ended; or, when it is to be tried again, whether the engine broke."""
        try:
            caller = self._holder(batch.key_id, Scope(batch.organisation_id, batch.account_id))
        except HeadraceError as error:
            raise _KeyGone(error) from error
        try:
            return await self._calls.run(caller, batch, line, once)
        except StoreError:
            raise
        except Retryable as error:
            broke = isinstance(error, EngineFailed | TimedOut)
            if broke and last:
                return self._calls.refused(batch, line, error)
            pace.pause(error.retry_after_s)
            return int(broke)
        except HeadraceError as error:
            return self._calls.refused(batch, line, error)
        except Exception:  # noqa: BLE001 - it would happen again and again, and hold up the others
            _log.exception("unexpected error in line %d of the batch %s", line.number, batch.id)
            mistake = HeadraceError("Headrace made a mistake; its log says more")
            return self._calls.refused(batch, line, mistake)

    async def _fail_rest(self, batch: Batch, error: HeadraceError) -> None:
        """End every line that waits with the same error."""
        _log.info("the batch %s ends early: %s", batch.id, error.message)
        while waiting := await self._database.read(
            lambda connection: rows.waiting(connection, batch.id, limit=_FAILED_TOGETHER)
        ):
            done = [
                self._calls.refused(batch, Line(number, custom_id, ""), error)
                for number, custom_id in waiting
            ]
            await self._database.write(
                lambda connection, done=done: rows.record(connection, batch.id, done)
            )

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except StoreError:
                _log.exception("lines of ended batches could not be deleted")
            await asyncio.sleep(_SWEEP_S)

    async def sweep(self) -> None:
        """Delete lines that nobody needs any more."""
        kept_ns = anthropic_batches.RESULTS_KEPT_S * _NS_PER_S
        before_ns = self._clock.now_ns() - kept_ns
        while spent := await self._database.read(
            lambda connection: rows.spent(connection, anthropic_before_ns=before_ns, limit=_SPENT)
        ):
            for identifier in spent:
                while await self._database.write(
                    lambda connection, identifier=identifier: rows.drop_lines(
                        connection, identifier, limit=_DROPPED_TOGETHER
                    )
                ):
                    continue


class _Tended:
    """The tasks of one batch."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.work: asyncio.Task[bool] | None = None
        self.cancelled = False


class _Place:
    """A line's place among those that run.

    Args:
        places: All places.
    """

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self.held = False

    async def enter(self) -> None:
        """Wait for a place and take it."""
        await self._places.acquire()
        self.held = True

    def leave(self) -> None:
        """Give it back, if it is held."""
        if self.held:
            self.held = False
            self._places.release()


class _Pace:
    """When a batch may ask again, after its model would not take a call.

    Args:
        clock: Measures the pause.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ns = 0

    def pause(self, wait_s: float | None) -> None:
        """Ask nothing for so long."""
        pause_s = min(max(_PAUSE_S if wait_s is None else wait_s, _PAUSE_S_MIN), _PAUSE_S_MAX)
        until_ns = self._clock.monotonic_ns() + round(pause_s * _NS_PER_S)
        self._until_ns = max(self._until_ns, until_ns)

    async def ready(self) -> None:
        """Wait for the end of the pause."""
        while (left_ns := self._until_ns - self._clock.monotonic_ns()) > 0:  # noqa: ASYNC110 - its end may move
            await asyncio.sleep(left_ns / _NS_PER_S)


class _KeyGone(Exception):
    """The key that a batch was handed in with opens nothing any more."""

    def __init__(self, error: HeadraceError) -> None:
        super().__init__(error.message)
        self.error = error


def _first(gone: BaseExceptionGroup[_KeyGone]) -> HeadraceError:
    found = gone.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found.error
