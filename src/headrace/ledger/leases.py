"""Leases: several processes share the windows of hard budgets, a slice each at a time.

What a process may use of a window is its row of `budget_grant`. Rows change only in transactions
that see all of them, and their sum never passes the limit. A process adds to what it may use
after its row says so, and takes from that before: whatever is lost in between is lost to itself
alone, until its successor drops the row.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec
from sqlalchemy import Connection

from headrace.core.errors import HeadraceError
from headrace.ledger.chain import Position
from headrace.ledger.journal import Journal
from headrace.ledger.projection import name_of
from headrace.ledger.windows import Window
from headrace.store import budgets, generations
from headrace.store.database import Database

_DRY_S = 0.25
_PUMP_S = 0.05
# A slice is for so many of those who wait; with all of them it would leave nothing to others.
_SERVED_AT_ONCE = 16


class Leases:
    """What one process takes of windows, and gives back.

    Args:
        database: Where the grants are.
        journal: The process's own; its worker is the name of the grants.
        serve: Called when a window may have more room.
    """

    def __init__(
        self, database: Database, journal: Journal, serve: Callable[[Window], None]
    ) -> None:
        self._database = database
        self._journal = journal
        self._serve = serve
        self._pumps: set[asyncio.Task[None]] = set()

    async def renew(self, window: Window, *, least_nano: int = 0, want_nano: int = 0) -> None:
        """Give back what is not used, and take what somebody wants.

        Raises:
            StoreError: The database refuses; until it is asked again there is no room.
        """
        async with window.lock:
            # Nothing can be held while the database is asked; whoever wants to waits. That stays
            # so if no answer comes, as it may have given the room to others all the same.
            window.grant(-max(window.room_nano, 0))
            missing_nano = -window.room_nano
            used_nano = window.granted_nano + missing_nano
            found = await self._database.write(
                lambda connection: budgets.lease(
                    connection,
                    window.span,
                    window.budget.id,
                    self._journal.worker,
                    used_nano=used_nano,
                    least_nano=least_nano,
                    want_nano=want_nano,
                    floors=window.floors,
                )
            )
            window.grant(missing_nano + found.extra_nano)
            window.ceiling_nano = found.ceiling_nano
            window.row_nano = found.row_nano
            dry = found.extra_nano < want_nano
            window.dry_until_s = asyncio.get_running_loop().time() + _DRY_S if dry else 0.0

    def pump(self, window: Window) -> None:
        """Fetch what those who wait need, for as long as somebody does."""
        if window.pump is None:
            window.pump = asyncio.create_task(self._pump(window))
            self._pumps.add(window.pump)
            window.pump.add_done_callback(self._pumps.discard)

    async def tell(self, window: Window) -> None:
        """See that others know all that is used, as where a budget is new and calls run."""
        if window.row_nano < window.granted_nano - window.room_nano:
            await self.renew(window)

    async def give_back_idle(self, window: Window) -> None:
        """Give back the room of a window that nobody used for a while."""
        if window.rests() and _is_more_than_used(window) and not window.waiting:
            await self.renew(window)

    async def end(self, window: Window) -> bool:
        """Take back the grant of a window that is over; False while its rows are not complete."""
        async with window.lock:  # or what is being fetched would have no row
            return not _is_more_than_used(window) and await self._end(window)

    async def _end(self, window: Window) -> bool:
        worker, name, seq = self._journal.worker, name_of(self._journal.worker), window.last_seq

        def work(connection: Connection) -> bool:
            place = generations.position(connection, name)
            if place is None or msgspec.json.decode(place, type=Position).seq < seq:
                return False
            budgets.drop_grant(connection, window.budget.id, window.start_ns, worker)
            return True

        return await self._database.write(work)

    async def close(self, windows: Iterable[Window]) -> None:
        """Give back what is not used, everywhere."""
        pumps = list(self._pumps)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for window in windows:
            if _is_more_than_used(window):
                await self.renew(window)

    async def _pump(self, window: Window) -> None:
        try:
            while window.waiting:
                first = islice(window.waiting, _SERVED_AT_ONCE)
                want_nano = sum(waiter.worst_nano for waiter in first)
                least_nano = window.waiting[0].least_nano
                await self.renew(window, least_nano=least_nano, want_nano=want_nano)
                self._serve(window)
                if window.waiting:
                    await asyncio.sleep(_PUMP_S)
        except HeadraceError as error:
            while window.waiting:
                window.waiting.popleft().end(error=error)
        finally:
            window.pump = None


def _is_more_than_used(window: Window) -> bool:
    return window.row_nano > window.granted_nano - window.room_nano
