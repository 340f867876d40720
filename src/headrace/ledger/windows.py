"""Windows of budgets: when they begin and end, what is known of each, and who holds of it."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from math import inf
from typing import Final

from headrace.core.errors import HeadraceError
from headrace.core.scope import Lineage
from headrace.store.budgets import Budget, BudgetPeriod, Span

HOUR_NS: Final = 3_600_000_000_000
DAY_NS: Final = 24 * HOUR_NS
END_OF_TIME_NS: Final = (1 << 63) - 1
TICK_S: Final = 0.25
RESTING_TICKS: Final = 4
# By then every process has heard of a new budget, and has a grant for what it uses.
_FLOOR_TICKS = 40
_NS_PER_S = 1_000_000_000


def span_of(period: BudgetPeriod, at_ns: int) -> tuple[int, int]:
    """When the window that a moment lies in begins, and when the next one does."""
    if period == "hour":
        start_ns = at_ns - at_ns % HOUR_NS
        return start_ns, start_ns + HOUR_NS
    if period == "day":
        start_ns = at_ns - at_ns % DAY_NS
        return start_ns, start_ns + DAY_NS
    if period == "month":
        first = datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).date().replace(day=1)
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        start_ns, end_ns = (
            int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * _NS_PER_S
            for day in (first, after)
        )
        return start_ns, end_ns
    return 0, END_OF_TIME_NS


class Window:
    """What this process has, uses and knows of a hard budget in one window.

    `room_nano` is what it may still hold: what is granted less what is spent and held.
    `ceiling_nano` is the most that it could ever spend here, if everybody else spends nothing
    more. `row_nano` is what others see as taken, never less than what is used. Until
    `dry_until_s` of the event loop's time nothing can be added to what is granted.
    """

    __slots__ = (
        "budget",
        "ceiling_nano",
        "dry_until_s",
        "end_ns",
        "floors",
        "granted_nano",
        "last_seq",
        "lock",
        "pump",
        "refused",
        "resting_ticks",
        "room_nano",
        "row_nano",
        "seen",
        "spent_nano",
        "start_ns",
        "ticks",
        "told",
        "waiting",
    )

    def __init__(self, budget: Budget, start_ns: int, end_ns: int) -> None:
        self.budget = budget
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.granted_nano = 0
        self.spent_nano = 0
        self.room_nano = 0
        self.row_nano = 0
        self.ceiling_nano = 0
        self.dry_until_s = -inf
        self.floors: dict[str, int] = {}
        self.waiting: deque[Waiter] = deque()
        self.lock = asyncio.Lock()
        self.pump: asyncio.Task[None] | None = None
        self.refused = False
        self.told = False
        self.seen: tuple[int, int] = (0, 0)
        self.last_seq = 0
        self.ticks = 0
        self.resting_ticks = 0

    @property
    def span(self) -> Span:
        """Which spending it counts."""
        return Span(self.budget.node_id, self.start_ns, self.end_ns)

    @property
    def held_nano(self) -> int:
        """What running calls of this process hold."""
        return self.granted_nano - self.spent_nano - self.room_nano

    def grant(self, nano: int) -> None:
        """More to use, or less."""
        self.granted_nano += nano
        self.room_nano += nano

    def is_dry(self) -> bool:
        """Whether it is known that no more can be had than what is granted."""
        return self.dry_until_s == inf or asyncio.get_running_loop().time() < self.dry_until_s

    def is_hopeless(self, least_nano: int) -> bool:
        """Whether so much is not to be had even when every running call gives all back."""
        return self.ceiling_nano - self.spent_nano < least_nano

    def look(self, seq: int) -> None:
        """Notice, now and then, whether anything happened; `seq` is the journal's newest."""
        self.ticks += 1
        if self.ticks == _FLOOR_TICKS:
            self.floors = {}
        now = (self.spent_nano, self.room_nano)
        if now == self.seen:
            self.resting_ticks += 1
        else:
            self.seen, self.resting_ticks, self.last_seq = now, 0, seq

    def rests(self) -> bool:
        """Whether nothing happened for about a second."""
        return self.resting_ticks >= RESTING_TICKS

    def is_idle(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return self.rests() and not self.held_nano and not self.waiting


class Hold:
    """Money that a running call holds, in every hard budget on its lineage. Given by `hold`."""

    __slots__ = ("at_ns", "lineage", "nano", "windows")

    def __init__(
        self, lineage: Lineage, at_ns: int, nano: int, windows: tuple[Window, ...]
    ) -> None:
        self.lineage = lineage
        self.at_ns = at_ns
        self.nano = nano
        self.windows = windows


class Waiter:
    """A call whose turn has not come. `turn` ends with a hold, an error, or neither: try anew."""

    __slots__ = ("at_ns", "error", "hold", "least_nano", "lineage", "turn", "windows", "worst_nano")

    def __init__(
        self,
        lineage: Lineage,
        at_ns: int,
        worst_nano: int,
        least_nano: int,
        windows: tuple[Window, ...],
    ) -> None:
        self.lineage = lineage
        self.at_ns = at_ns
        self.worst_nano = worst_nano
        self.least_nano = least_nano
        self.windows = windows
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hold: Hold | None = None
        self.error: HeadraceError | None = None

    def end(self, *, hold: Hold | None = None, error: HeadraceError | None = None) -> None:
        """Its turn has come."""
        self.hold = hold
        self.error = error
        if not self.turn.done():
            self.turn.set_result(None)
