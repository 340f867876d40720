"""Reservations: each call holds the worst that it may cost, so that no hard budget is overshot.

What a call is charged never passes its hold, so `spent + held <= granted` keeps every window of
every budget exact, whatever the order of events. With one process a grant is all that is left of
the window. Several processes share it by leases (`leases.py`): a grant is a row of the database,
and the sum of a window's rows never passes its limit.

The usual hold and every settlement are a few additions in memory, and never wait. A window is
read when it is first needed: what its rows and the journals say, up to this very moment, since
nothing else runs between the end of that reading and the counting that begins with it.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

from headrace.core.clock import Clock
from headrace.core.errors import BudgetSpent, RateLimited, StoreError
from headrace.core.scope import Lineage
from headrace.ledger.budget_words import reached_words, spent_words, waiting_words
from headrace.ledger.journal import Journal
from headrace.ledger.leases import Leases
from headrace.ledger.spending import Tails
from headrace.ledger.windows import END_OF_TIME_NS, TICK_S, Hold, Waiter, Window, span_of
from headrace.store import budgets, notices
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.notices import Notice

WAIT_S: Final = 2.0
_WAITING_MAX = 1_000
_PLACES_MAX = 10_000
_RETRY_AFTER_S = 1.0
_WHOLE_PERCENT = 100

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """The windows that bind a lineage from one moment until another."""

    from_ns: int
    until_ns: int
    windows: tuple[Window, ...]


class Reservations:
    """The hard budgets of all organisations, as this process uses them.

    Args:
        database: Where budgets and grants are.
        journal: This process's own; charges must be appended to it in the same step in which
            they are settled, without anything in between.
        clock: Tells which windows are now.
        alone: Whether no other process serves calls.
        wait_s: How long a call waits for others to end, seconds.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        *,
        alone: bool,
        wait_s: float = WAIT_S,
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._wait_s = wait_s
        self._leases = None if alone else Leases(database, journal, self._serve)
        self._budgets: dict[str, Budget] = {}
        self._at_node: dict[str, tuple[Budget, ...]] = {}
        self._windows: dict[tuple[str, int], Window] = {}
        self._places: dict[Lineage, _Place] = {}
        self._running: set[Hold] = set()
        self._loading = asyncio.Lock()
        self._started = False

    async def reload(self) -> None:
        """Read all budgets anew; the first time also drops what a dead predecessor had.

        Running calls are held for in budgets that are new to them.

        Raises:
            StoreError: The database or a journal refuses.
        """
        async with self._loading:
            if not self._started:
                worker = None if self._leases is None else self._journal.worker
                await self._database.write(
                    lambda connection: budgets.drop_grants(connection, worker)
                )
                self._started = True
            found = await self._database.read(budgets.everywhere)
            lowered = self._replace({one.id: one for one in found if one.hard})
            moments = {self._clock.now_ns(), *(hold.at_ns for hold in self._running)}
            await self._load(moments)
            if self._leases is not None:
                for window in lowered:
                    await self._leases.renew(window)

    def binds(self, lineage: Lineage) -> bool:
        """Whether a hard budget stands somewhere on a lineage."""
        at_node = self._at_node
        return bool(at_node) and any(node in at_node for node in lineage.nodes())

    def try_hold(
        self, lineage: Lineage, at_ns: int, worst_nano: int, least_nano: int
    ) -> Hold | None:
        """Hold between `least_nano` and `worst_nano`; None where that cannot be told at once.

        Args:
            lineage: The nodes that the call hangs under.
            at_ns: When it began: its windows are of that time.
            worst_nano: The most that it may be charged.
            least_nano: Less than this is of no use to it.
        """
        windows: tuple[Window, ...] = ()
        nano = worst_nano
        if self._at_node:
            place = self._places.get(lineage)
            if place is None or not place.from_ns <= at_ns < place.until_ns:
                place = self._place(lineage, at_ns)
                if place is None:
                    return None
            windows = place.windows
            for window in windows:
                room_nano = window.room_nano
                if room_nano < nano:
                    if room_nano < least_nano or not window.is_dry():
                        return None
                    nano = room_nano
                if window.waiting:
                    return None
            for window in windows:
                window.room_nano -= nano
        hold = Hold(lineage, at_ns, nano, windows)
        self._running.add(hold)
        return hold

    async def hold(self, lineage: Lineage, at_ns: int, worst_nano: int, least_nano: int) -> Hold:
        """Hold between `least_nano` and `worst_nano`, waiting a moment in order of arrival.

        Who waits with others gets a fair part of what is there. `Hold.nano` says how much.

        Raises:
            BudgetSpent: It would not fit if all running calls gave everything back.
            RateLimited: It would, but they did not in time.
            StoreError: The database or a journal refuses.
        """
        while True:
            hold = self.try_hold(lineage, at_ns, worst_nano, least_nano)
            if hold is not None:
                return hold
            place = self._place(lineage, at_ns)
            if place is None:
                async with self._loading:
                    if self._place(lineage, at_ns) is None:
                        await self._load({at_ns})
                continue
            waiter = Waiter(lineage, at_ns, worst_nano, least_nano, place.windows)
            self._line_up(waiter)
            hold = await self._turn(waiter)
            if hold is not None:
                return hold

    def windows(self) -> tuple[Window, ...]:
        """All windows that this process knows at present."""
        return tuple(self._windows.values())

    def settle(self, hold: Hold, charged_nano: int) -> None:
        """The call was charged so much, at most its hold; the rest is free again.

        Only the first time counts. Call it right after the charge is in the journal: nothing
        may come in between.
        """
        try:
            self._running.remove(hold)
        except KeyError:
            return
        back_nano = hold.nano - charged_nano
        for window in hold.windows:
            window.spent_nano += charged_nano
            window.room_nano += back_nano
            if window.waiting:
                self._serve(window)

    def refund(self, lineage: Lineage, started_ns: int, nano: int) -> None:
        """A call of this lineage and time was given money back; the journal says so already."""
        for window in self._windows.values():
            holds = window.start_ns <= started_ns < window.end_ns
            if holds and window.budget.node_id in lineage.nodes():
                window.spent_nano -= nano
                window.room_nano += nano
                if window.waiting:
                    self._serve(window)

    async def run(self) -> None:
        """Give back what lies idle, and forget what is over, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tick()
            except StoreError:
                _log.exception("what is not used of budgets cannot be given back")

    async def tick(self) -> None:
        """One round of `run`."""
        now_ns = self._clock.now_ns()
        for key, window in list(self._windows.items()):
            window.look(self._journal.last.seq)
            if window.refused and not window.told:
                await self._tell(window)
            if self._leases is not None:
                await self._leases.tell(window)
                await self._leases.give_back_idle(window)
            current = window.start_ns <= now_ns < window.end_ns
            if not current and window.is_idle() and await self._may_forget(window):
                self._forget(key)

    async def close(self) -> None:
        """Give back everything that is not used; no call runs any more."""
        if self._leases is not None:
            await self._leases.close(self._windows.values())

    def _replace(self, found: dict[str, Budget]) -> list[Window]:
        """Take up budgets as they are now; returns the windows whose limits were lowered."""
        before, self._budgets = self._budgets, found
        at_node: dict[str, tuple[Budget, ...]] = {}
        for one in found.values():
            at_node[one.node_id] = (*at_node.get(one.node_id, ()), one)
        self._at_node = at_node
        self._places.clear()
        lowered: list[Window] = []
        for key, window in list(self._windows.items()):
            now = found.get(key[0])
            if now is None:
                self._drop(key)
                continue
            more_nano = now.counted_nano - before[key[0]].counted_nano
            window.budget = now
            if more_nano:
                window.ceiling_nano += more_nano
                if self._leases is None:
                    window.grant(more_nano)
                elif more_nano < 0:
                    lowered.append(window)
                self._serve(window)
        return lowered

    def _drop(self, key: tuple[str, int]) -> None:
        """Its budget has ended: who waits tries anew, without it."""
        window = self._windows.pop(key)
        while window.waiting:
            window.waiting.popleft().end()

    def _forget(self, key: tuple[str, int]) -> None:
        self._places.clear()
        self._drop(key)

    async def _may_forget(self, window: Window) -> bool:
        """Whether the window could be read again as it is."""
        if self._leases is not None and not await self._leases.end(window):
            return False
        return window.is_idle()

    async def _tell(self, window: Window) -> None:
        """A budget that refuses is spent, whatever little is left of it."""
        window.told = True
        one, now_ns = window.budget, self._clock.now_ns()
        if _WHOLE_PERCENT not in one.warn_percent:
            return
        spent_nano = window.granted_nano - window.room_nano - one.base_nano
        made = Notice(one.id, window.start_ns, _WHOLE_PERCENT, spent_nano, now_ns)
        taken_ns = now_ns if one.webhook_url is None else None
        if await self._database.write(
            lambda connection: notices.add(connection, made, delivered_ns=taken_ns)
        ):
            _log.warning("%s", reached_words(one, _WHOLE_PERCENT, spent_nano))

    async def _load(self, moments: Iterable[int]) -> None:
        """Read all windows of these moments that are not there yet, at once."""
        made: dict[tuple[str, int], Window] = {}
        for one in self._budgets.values():
            for at_ns in moments:
                start_ns, end_ns = span_of(one.period, at_ns)
                if (one.id, start_ns) not in self._windows:
                    made[one.id, start_ns] = Window(one, start_ns, end_ns)
        if not made:
            return
        spans = {window.span for window in made.values()}
        found = await self._database.read(lambda connection: budgets.spending(connection, spans))
        worker = self._journal.worker
        rows = {span: found.charged[span].get(worker, 0) for span in spans}
        tails = Tails(self._journal.directory, found)
        await asyncio.to_thread(tails.read_all)
        # From here on nothing else runs: not one charge may slip in between.
        tails.read(worker)
        for key, window in made.items():
            one = self._budgets.get(key[0])
            if one is not None and key not in self._windows:
                window.budget = one
                self._begin(window, tails)
                self._windows[key] = window
        self._places.clear()
        if self._leases is not None:
            for window in made.values():
                window.row_nano = rows[window.span]
            for window in made.values():
                await self._leases.tell(window)

    def _begin(self, window: Window, tails: Tails) -> None:
        """Count on from what rows and journals say, and from the calls that run."""
        worker = self._journal.worker
        charged, held = tails.charged(window.span), tails.held(window.span)
        others = {*charged, *held} - {worker}
        window.spent_nano = charged.get(worker, 0)
        others_nano = sum(charged.get(one, 0) for one in others)
        window.ceiling_nano = window.budget.counted_nano - others_nano
        used_nano = window.spent_nano
        for hold in self._running:
            if (
                window.start_ns <= hold.at_ns < window.end_ns
                and window.budget.node_id in hold.lineage.nodes()
            ):
                hold.windows = (*hold.windows, window)
                used_nano += hold.nano
        window.granted_nano = used_nano
        if self._leases is None:
            window.dry_until_s = float("inf")
            window.grant(window.ceiling_nano - used_nano)
        else:
            window.floors = {one: charged.get(one, 0) + held.get(one, 0) for one in others}

    def _place(self, lineage: Lineage, at_ns: int) -> _Place | None:
        """The windows of a call, None while one of them has not been read."""
        from_ns, until_ns = -END_OF_TIME_NS, END_OF_TIME_NS
        windows: list[Window] = []
        for node in lineage.nodes():
            for one in self._at_node.get(node, ()):
                start_ns, end_ns = span_of(one.period, at_ns)
                window = self._windows.get((one.id, start_ns))
                if window is None:
                    return None
                windows.append(window)
                from_ns, until_ns = max(from_ns, start_ns), min(until_ns, end_ns)
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        place = self._places[lineage] = _Place(from_ns, until_ns, tuple(windows))
        return place

    def _line_up(self, waiter: Waiter) -> None:
        """Put a call behind those that wait where it is blocked; it may end at once."""
        window = next((one for one in waiter.windows if one.waiting), None)
        window = window or _blocking(waiter)
        if window is None:
            waiter.end()
        elif len(window.waiting) >= _WAITING_MAX:
            waiter.end(error=_held(window))
        elif window.is_dry() and window.is_hopeless(waiter.least_nano):
            waiter.end(error=_spent(window, waiter))
        else:
            window.waiting.append(waiter)
            if self._leases is not None:
                self._leases.pump(window)

    async def _turn(self, waiter: Waiter) -> Hold | None:
        """Wait in line; None where it is worth trying anew."""
        try:
            async with asyncio.timeout(self._wait_s):
                await waiter.turn
        except TimeoutError:
            if waiter.hold is None and waiter.error is None:
                waiter.error = _held(self._leave(waiter))
        except BaseException:
            if waiter.hold is not None:
                self.settle(waiter.hold, 0)
            else:
                self._leave(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        return waiter.hold

    def _leave(self, waiter: Waiter) -> Window:
        """Out of line; whoever comes behind may fit."""
        for window in waiter.windows:
            if waiter in window.waiting:
                window.waiting.remove(waiter)
                self._serve(window)
                return window
        return waiter.windows[0]

    def _serve(self, window: Window) -> None:
        """Let those in whose turn has come."""
        while window.waiting:
            waiter = window.waiting[0]
            if not self._is_bound(waiter):
                window.waiting.popleft()
                waiter.end()
                continue
            blocking = _blocking(waiter)
            if blocking is window:
                if not (window.is_dry() and window.is_hopeless(waiter.least_nano)):
                    return
                window.waiting.popleft()
                waiter.end(error=_spent(window, waiter))
                continue
            window.waiting.popleft()
            if blocking is None:
                waiter.end(hold=self._give(waiter))
            else:
                blocking.waiting.append(waiter)
                if self._leases is not None:
                    self._leases.pump(blocking)

    def _is_bound(self, waiter: Waiter) -> bool:
        """Whether the windows that it waits for are still all that bind it, and no others."""
        place = self._place(waiter.lineage, waiter.at_ns)
        return place is not None and place.windows == waiter.windows

    def _give(self, waiter: Waiter) -> Hold:
        """A fair part of what is there, with those who still wait."""
        fair = (one.room_nano // (1 + len(one.waiting)) for one in waiter.windows)
        nano = max(waiter.least_nano, min(waiter.worst_nano, *fair))
        for window in waiter.windows:
            window.room_nano -= nano
        hold = Hold(waiter.lineage, waiter.at_ns, nano, waiter.windows)
        self._running.add(hold)
        return hold


def _blocking(waiter: Waiter) -> Window | None:
    """The first window that has no room for it, or may soon have more room."""
    for window in waiter.windows:
        if window.room_nano < waiter.worst_nano and (
            window.room_nano < waiter.least_nano or not window.is_dry()
        ):
            return window
    return None


def _spent(window: Window, waiter: Waiter) -> BudgetSpent:
    left_nano = window.ceiling_nano - window.spent_nano
    # A call that is too dear is refused long before; with a hundredth left, nearly all are.
    window.refused = left_nano * _WHOLE_PERCENT <= window.budget.limit_nano
    return BudgetSpent(spent_words(window, left_nano, waiter.least_nano))


def _held(window: Window) -> RateLimited:
    return RateLimited(waiting_words(window), retry_after_s=_RETRY_AFTER_S)
