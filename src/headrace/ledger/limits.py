"""Limits: how much the nodes of a call's lineage may use in a minute or a day, and at once.

Each limit is a token bucket of its maximum that fills continuously. A call takes from all the
buckets of its lineage or from none: its tokens are estimated then, and put right when it ends,
so a bucket may go below empty, for which the next calls wait.
"""

import math
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import RateLimited
from headrace.core.limits import LimitPeriod, LimitState
from headrace.core.scope import Lineage
from headrace.ledger.limit_page import LimitPage
from headrace.store import limits as rows
from headrace.store.database import Database
from headrace.store.limits import RateLimit

OUTPUT_TOKENS_TAKEN = 256
"""What a call takes from output buckets if it does not say how much it may make."""

_NS_PER_S = 1_000_000_000
_PERIODS_NS = {"minute": 60 * _NS_PER_S, "day": 86_400 * _NS_PER_S}
MAXIMA: Mapping[LimitPeriod, int] = {"now": 10**6, "minute": 10**9, "day": 10**12}
"""By period: below these a token is worth many nanoseconds, in which buckets are counted."""
_TIME_MAX_NS = 2**62  # what a number of the page can hold, with room to add to
_PLACE_RETRY_S = 1.0
_AMOUNTS = {"requests": 0, "input_tokens": 1, "output_tokens": 2}
_OUTPUT = _AMOUNTS["output_tokens"]
_LINEAGES_MAX = 100_000


class Bucket(msgspec.Struct, frozen=True):
    """A limit per period.

    Attributes:
        limit: As it is set.
        at: Where on the page the time stands at which it is full.
        amount: Which of a call's amounts it counts.
        period_ns: The time that fills it.
        maximum: What fits in.
    """

    limit: RateLimit
    at: int
    amount: int
    period_ns: int
    maximum: int


class Places(msgspec.Struct, frozen=True):
    """A limit on running calls; `at` is where on the page those of this process are counted."""

    limit: RateLimit
    slot: int
    at: int
    maximum: int


class Bound(msgspec.Struct, frozen=True):
    """All the limits that bind a lineage."""

    buckets: tuple[Bucket, ...]
    places: tuple[Places, ...]


class Ticket:
    """What one call has taken; `Limits.settle` puts it right, once."""

    __slots__ = ("_limits", "bound", "settled", "taken_ns")

    def __init__(self, limits: "Limits", bound: Bound, taken_ns: list[int]) -> None:
        self._limits = limits
        self.bound = bound
        self.taken_ns = taken_ns
        self.settled = False

    def states(self) -> tuple[LimitState, ...]:
        """How the limits that bind the call stand now: of each kind the one with least left."""
        return self._limits.states(self.bound)


class Limits:
    """All limits of this installation, counted together with the other processes.

    Args:
        database: Where they are set.
        path: The file of the memory that is shared.
        clock: The house's clock.
        process: Which process this is: 0 the control process, from 1 on the workers.
        processes: How many there are.

    Raises:
        StoreError: The shared memory cannot be made.
    """

    def __init__(
        self, database: Database, path: Path, clock: Clock, *, process: int = 0, processes: int = 1
    ) -> None:
        self._database = database
        self._clock = clock
        self._page = LimitPage(path, clock, process=process, processes=processes)
        self._by_node: dict[str, list[Bucket | Places]] = {}
        self._bounds: dict[Lineage, Bound | None] = {}

    async def reload(self) -> None:
        """Read the limits as they are set now; running calls keep those that they began under.

        Raises:
            Conflict: There are more than the page has room for.
        """
        found = await self._database.read(rows.everywhere)
        slots = self._page.slots_of(map(_name, found))
        by_node: dict[str, list[Bucket | Places]] = {}
        for limit, slot in zip(found, slots, strict=True):
            by_node.setdefault(limit.node_id, []).append(self._counted(limit, slot))
        self._by_node, self._bounds = by_node, {}

    def take(
        self, lineage: Lineage, *, input_tokens: int, output_tokens: int | None
    ) -> Ticket | None:
        """Take what a call will use from every bucket of its lineage, or nothing of any.

        Args:
            lineage: Where it hangs.
            input_tokens: An estimate.
            output_tokens: How many it may make; None where it does not say.

        Returns:
            What was taken, None where no limit stands.

        Raises:
            RateLimited: A limit is reached; says which, whose, and when to come back.
        """
        if not self._by_node:
            return None
        try:
            bound = self._bounds[lineage]
        except KeyError:
            bound = self._bind(lineage)
        if bound is None:
            return None
        amounts = _amounts(input_tokens, output_tokens)
        taken_ns: list[int] = []
        times_ns: list[int] = []
        page = self._page
        with page.shared as words:
            now_ns = self._clock.monotonic_ns()
            for bucket in bound.buckets:
                used_ns = _used_ns(bucket, amounts)
                time_ns = max(words[bucket.at], now_ns) + used_ns
                if time_ns - now_ns > bucket.period_ns:
                    self._refuse(bound, amounts, now_ns)
                taken_ns.append(used_ns)
                times_ns.append(time_ns)
            for places in bound.places:
                if page.running(places.slot) >= places.maximum:
                    self._refuse(bound, amounts, now_ns)
            for bucket, time_ns in zip(bound.buckets, times_ns, strict=True):
                words[bucket.at] = time_ns
            for places in bound.places:
                words[places.at] += 1
            page.seen(now_ns)
        return Ticket(self, bound, taken_ns)

    def settle(self, ticket: Ticket, *, input_tokens: int, output_tokens: int) -> None:
        """Put right what a call has taken, and free its places. Only the first time counts.

        Args:
            ticket: Of the call.
            input_tokens: What it used; 0 for a call that never ran.
            output_tokens: What it made.
        """
        if ticket.settled:
            return
        ticket.settled = True
        amounts = (1, input_tokens, output_tokens)
        with self._page.shared as words:
            now_ns = self._clock.monotonic_ns()
            for bucket, taken_ns in zip(ticket.bound.buckets, ticket.taken_ns, strict=True):
                used_ns = amounts[bucket.amount] * bucket.period_ns // bucket.maximum
                if used_ns != taken_ns:
                    time_ns = max(words[bucket.at], now_ns) + used_ns - taken_ns
                    words[bucket.at] = min(time_ns, _TIME_MAX_NS)
            for places in ticket.bound.places:
                words[places.at] -= 1

    def states(self, bound: Bound) -> tuple[LimitState, ...]:
        """How limits stand now: of each kind the one with least left."""
        now_ns = self._clock.monotonic_ns()
        tightest: dict[str, LimitState] = {}
        for each in (*bound.buckets, *bound.places):
            state = self._state(each, now_ns)
            known = tightest.get(state.kind)
            if known is None or _tightness(state) < _tightness(known):
                tightest[state.kind] = state
        return tuple(tightest.values())

    def reserve(self, limit: RateLimit) -> None:
        """See that there is room to count a limit, before it is set.

        Raises:
            Conflict: There is none.
        """
        self._page.slots_of([_name(limit)])

    def used(self, limit: RateLimit) -> int:
        """How much of a limit is used now: never more than its maximum, 0 if it is not read yet."""
        now_ns = self._clock.monotonic_ns()
        for each in self._by_node.get(limit.node_id, ()):
            if _name(each.limit) == _name(limit):
                return each.maximum - self._state(each, now_ns).remaining
        return 0

    def forget(self, process: int) -> None:
        """A worker has ended; the calls that it was running are not running any more."""
        self._page.forget(process)

    def close(self) -> None:
        """Let go of the shared memory."""
        self._page.close()

    def _counted(self, limit: RateLimit, slot: int) -> Bucket | Places:
        if limit.kind == "concurrent":
            return Places(limit, slot, self._page.own_counts + slot, limit.maximum)
        period_ns = _PERIODS_NS[limit.period]
        at = self._page.time_at(slot)
        return Bucket(limit, at, _AMOUNTS[limit.kind], period_ns, limit.maximum)

    def _bind(self, lineage: Lineage) -> Bound | None:
        """Find the limits of a lineage, once until they change."""
        counted = [each for node in lineage.nodes() for each in self._by_node.get(node, ())]
        buckets = tuple(each for each in counted if isinstance(each, Bucket))
        places = tuple(each for each in counted if isinstance(each, Places))
        if len(self._bounds) >= _LINEAGES_MAX:
            self._bounds.clear()
        self._bounds[lineage] = bound = Bound(buckets, places) if counted else None
        return bound

    def _state(self, each: Bucket | Places, now_ns: int) -> LimitState:
        if isinstance(each, Places):
            left = max(0, each.maximum - self._page.running(each.slot))
            return LimitState("concurrent", each.maximum, left, 0.0)
        missing_ns = max(0, self._page.words[each.at] - now_ns)
        left_ns = max(0, each.period_ns - missing_ns)
        left = left_ns * each.maximum // each.period_ns
        return LimitState(each.limit.kind, each.maximum, left, missing_ns / _NS_PER_S)

    def _refuse(self, bound: Bound, amounts: tuple[int, int, int], now_ns: int) -> NoReturn:
        """Name the limit that lasts longest: who comes back then passes the others as well."""
        refusals: list[tuple[float, RateLimited]] = []
        for bucket in bound.buckets:
            used_ns = _used_ns(bucket, amounts)
            missing_ns = max(0, self._page.words[bucket.at] - now_ns)
            if used_ns > bucket.period_ns:
                refusals.append((math.inf, _never(bucket.limit, amounts[bucket.amount])))
            elif used_ns + missing_ns > bucket.period_ns:
                wait_s = (used_ns + missing_ns - bucket.period_ns) / _NS_PER_S
                refusals.append((wait_s, _later(bucket.limit, wait_s)))
        refusals += [
            (_PLACE_RETRY_S, _no_place(places.limit))
            for places in bound.places
            if self._page.running(places.slot) >= places.maximum
        ]
        _, error = max(refusals, key=itemgetter(0))
        error.limits = self.states(bound)
        raise error


def _name(limit: RateLimit) -> str:
    """What a slot of the page belongs to."""
    return f"{limit.node_id} {limit.kind} {limit.period}"


def _amounts(input_tokens: int, output_tokens: int | None) -> tuple[int, int, int]:
    return 1, input_tokens, OUTPUT_TOKENS_TAKEN if output_tokens is None else output_tokens


def _used_ns(bucket: Bucket, amounts: tuple[int, int, int]) -> int:
    """By how much a call moves the time of a bucket."""
    amount = amounts[bucket.amount]
    if bucket.amount == _OUTPUT and amount > bucket.maximum:
        return bucket.period_ns  # it may make less, and is told apart when it has ended
    return amount * bucket.period_ns // bucket.maximum


def _tightness(state: LimitState) -> tuple[int, float]:
    return state.remaining, -state.reset_s


def _of(limit: RateLimit) -> str:
    return f"this {limit.node_kind} ({limit.node_id})"


def _rate(limit: RateLimit) -> str:
    return f"{limit.maximum} {limit.kind.replace('_', ' ')} per {limit.period}"


def _later(limit: RateLimit, wait_s: float) -> RateLimited:
    return RateLimited(
        f"{_of(limit)} has used up its limit of {_rate(limit)}; there is room for this call in"
        f" {wait_s:.3g} s",
        retry_after_s=wait_s,
    )


def _never(limit: RateLimit, amount: int) -> RateLimited:
    return RateLimited(
        f"this call needs about {amount} {limit.kind.replace('_', ' ')}, and {_of(limit)} may"
        f" never use more than {_rate(limit)}",
        hint="make the call shorter, or have the limit raised",
    )


def _no_place(limit: RateLimit) -> RateLimited:
    return RateLimited(
        f"{_of(limit)} has {limit.maximum} calls running, which is its limit",
        retry_after_s=_PLACE_RETRY_S,
    )
