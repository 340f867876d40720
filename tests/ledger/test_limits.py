"""Limits: buckets that fill, places that are freed, and what a refusal tells."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict, RateLimited
from headrace.core.limits import LimitKind, LimitPeriod, LimitState
from headrace.core.scope import Lineage, NodeKind, Scope
from headrace.ledger.limit_page import SLOTS
from headrace.ledger.limits import Limits, Ticket
from headrace.store import limits as rows
from headrace.store.database import Database
from headrace.store.limits import RateLimit
from support.people import move_in

OWNER = Scope("acme", "owner")
ADA = Lineage("acme", "team-1", "ada", "key-1")
BOB = Lineage("acme", None, "bob", "key-2")
S = 1_000_000_000
DAY_S = 86_400


class Door:
    """Limits on one data folder, which can be opened several times as processes would."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self._path = folder / "limits.page"
        self._opened: list[Limits] = []

    async def open(self, process: int = 0, processes: int = 1) -> Limits:
        limits = Limits(self.database, self._path, self.clock, process=process, processes=processes)
        self._opened.append(limits)
        await limits.reload()
        return limits

    async def set(
        self,
        maximum: int,
        kind: LimitKind = "requests",
        period: LimitPeriod = "minute",
        *,
        node: tuple[NodeKind, str] = ("account", "ada"),
    ) -> None:
        limit = RateLimit(*node, kind, period, maximum)
        await self.database.write(lambda c: rows.put(c, OWNER, limit, created_ns=1))

    async def limits(self, maximum: int, *what: str) -> Limits:
        await self.set(maximum, *what)  # pyright: ignore[reportArgumentType] - kind, period
        return await self.open()

    def close(self) -> None:
        for limits in self._opened:
            limits.close()


@pytest.fixture
async def door(sqlite_database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    await sqlite_database.write(move_in)
    made = Door(sqlite_database, tmp_path)
    yield made
    made.close()


def take(
    limits: Limits, who: Lineage = ADA, *, input_tokens: int = 10, output_tokens: int | None = None
) -> Ticket:
    ticket = limits.take(who, input_tokens=input_tokens, output_tokens=output_tokens)
    assert ticket is not None
    return ticket


def refused(
    limits: Limits, who: Lineage = ADA, *, input_tokens: int = 10, output_tokens: int | None = None
) -> RateLimited:
    with pytest.raises(RateLimited) as error:
        limits.take(who, input_tokens=input_tokens, output_tokens=output_tokens)
    return error.value


def left(limits: Limits, who: Lineage = ADA) -> dict[str, int]:
    """What is left, by kind; looked at without taking more than a request."""
    return {state.kind: state.remaining for state in _states(limits, who)}


def _states(limits: Limits, who: Lineage) -> tuple[LimitState, ...]:
    bound = limits._bind(who)  # pyright: ignore[reportPrivateUsage] - a look from outside costs nothing
    assert bound is not None
    return limits.states(bound)


async def test_where_no_limit_stands_nothing_is_taken(door: Door):
    limits = await door.open()
    assert limits.take(ADA, input_tokens=1, output_tokens=1) is None
    await door.set(1)
    await limits.reload()
    take(limits)
    assert limits.take(BOB, input_tokens=1, output_tokens=1) is None
    await door.database.write(lambda c: rows.remove(c, OWNER, "ada", "requests", "minute"))
    await limits.reload()
    assert limits.take(ADA, input_tokens=1, output_tokens=1) is None


async def test_a_bucket_lets_its_maximum_through_and_fills_continuously(door: Door):
    limits = await door.limits(3)
    for _ in range(3):
        take(limits)
    error = refused(limits)
    assert error.retry_after_s == 20.0
    assert "this account (ada) has used up its limit of 3 requests per minute" in error.message
    assert error.limits == (LimitState("requests", 3, 0, 60.0),)
    door.clock.move(20 * S - 1)
    assert refused(limits).retry_after_s == 1 / S
    door.clock.move(1)
    take(limits)
    door.clock.move(3_600 * S)
    for _ in range(3):
        take(limits)
    refused(limits)


@pytest.mark.parametrize(
    "node",
    [("organisation", "acme"), ("team", "team-1"), ("account", "ada"), ("key", "key-1")],
)
async def test_every_node_of_the_lineage_binds(door: Door, node: tuple[NodeKind, str]):
    await door.set(1, node=node)
    limits = await door.open()
    take(limits)
    assert f"this {node[0]} ({node[1]})" in refused(limits).message
    if node[0] == "organisation":
        refused(limits, BOB)
    else:
        assert limits.take(BOB, input_tokens=1, output_tokens=1) is None


async def test_a_refusal_takes_nothing_of_any_limit(door: Door):
    await door.set(10)
    await door.set(100, "input_tokens")
    await door.set(1_000, "output_tokens", "day", node=("team", "team-1"))
    await door.set(1, "concurrent", "now", node=("organisation", "acme"))
    limits = await door.open()
    take(limits, input_tokens=60, output_tokens=400)
    before = left(limits)
    assert before == {"requests": 9, "input_tokens": 40, "output_tokens": 600, "concurrent": 0}
    refused(limits, input_tokens=30)
    refused(limits, input_tokens=60)
    assert left(limits) == before


async def test_the_limit_that_lasts_longest_is_named(door: Door):
    await door.set(10, "requests", "day")
    await door.set(100, "input_tokens")
    limits = await door.open()
    for _ in range(10):
        take(limits, input_tokens=10)
    error = refused(limits, input_tokens=10)
    assert "10 requests per day" in error.message
    assert error.retry_after_s == DAY_S / 10
    door.clock.move(DAY_S // 10 * S)
    take(limits, input_tokens=10)


async def test_tokens_are_put_right_both_ways_once(door: Door):
    await door.set(1_000, "input_tokens")
    await door.set(1_000, "output_tokens")
    limits = await door.open()
    ticket = take(limits, input_tokens=500, output_tokens=200)
    assert left(limits) == {"input_tokens": 500, "output_tokens": 800}
    for _ in range(3):
        limits.settle(ticket, input_tokens=100, output_tokens=1_600)
        assert left(limits) == {"input_tokens": 900, "output_tokens": 0}
    error = refused(limits, output_tokens=1)
    assert error.retry_after_s == pytest.approx(60 * 0.601)
    assert {state.kind: state.reset_s for state in error.limits} == {
        "input_tokens": 6.0,
        "output_tokens": 96.0,
    }


async def test_output_is_taken_as_far_as_it_is_known(door: Door):
    limits = await door.limits(1_000, "output_tokens")
    take(limits)
    assert left(limits) == {"output_tokens": 1_000 - 256}
    refused(limits, output_tokens=100_000)
    door.clock.move(60 * S)
    ticket = take(limits, output_tokens=100_000)
    assert left(limits) == {"output_tokens": 0}
    limits.settle(ticket, input_tokens=0, output_tokens=1)
    assert left(limits) == {"output_tokens": 999}
    limits.settle(take(limits), input_tokens=0, output_tokens=999)
    assert left(limits) == {"output_tokens": 0}
    assert take(limits, output_tokens=0), "a count of tokens makes none"


async def test_a_call_that_can_never_pass_is_told_so(door: Door):
    await door.set(1)
    await door.set(100, "input_tokens")
    limits = await door.open()
    take(limits, input_tokens=1)
    error = refused(limits, input_tokens=101)
    assert error.retry_after_s is None
    assert "needs about 101 input tokens" in error.message
    assert error.hint is not None


async def test_what_is_used_beyond_all_measure_locks_and_breaks_nothing(door: Door):
    limits = await door.limits(1, "output_tokens", "day")
    ticket = take(limits)
    limits.settle(ticket, input_tokens=0, output_tokens=10**9)
    assert (refused(limits).retry_after_s or 0) > 100 * 365 * DAY_S


async def test_running_calls_are_limited_and_free_their_places_once(door: Door):
    limits = await door.limits(2, "concurrent", "now")
    tickets = [take(limits), take(limits)]
    error = refused(limits)
    assert (error.retry_after_s, error.limits) == (1.0, (LimitState("concurrent", 2, 0, 0.0),))
    limits.settle(tickets[0], input_tokens=0, output_tokens=0)
    limits.settle(tickets[0], input_tokens=0, output_tokens=0)
    take(limits)
    refused(limits)


async def test_calls_settle_where_they_were_taken_when_a_limit_changes(door: Door):
    limits = await door.limits(100, "output_tokens")
    ticket = take(limits, output_tokens=100)
    await door.database.write(lambda c: rows.remove(c, OWNER, "ada", "output_tokens", "minute"))
    await limits.reload()
    await door.set(10, "output_tokens")
    await limits.reload()
    limits.settle(ticket, input_tokens=0, output_tokens=0)
    assert left(limits) == {"output_tokens": 10}


async def test_processes_count_together(door: Door):
    await door.set(4)
    await door.set(2, "concurrent", "now")
    control, one, two = [await door.open(number, 3) for number in range(3)]
    first = take(one)
    take(two)
    refused(control)
    one.settle(first, input_tokens=0, output_tokens=0)
    take(control)
    control.forget(2)
    take(one)
    assert refused(two).retry_after_s == 15.0
    assert control.used(RateLimit("account", "ada", "requests", "minute", 4)) == 4
    assert control.used(RateLimit("account", "ada", "concurrent", "now", 2)) == 2


async def test_a_worker_that_starts_holds_no_places(door: Door):
    await door.set(1, "concurrent", "now")
    control = await door.open(0, 2)
    take(await door.open(1, 2))
    refused(control)
    await door.open(1, 2)
    take(control)


def _in_a_child_that_is_killed(work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


async def test_a_killed_process_leaves_what_it_took(door: Door):
    await door.set(2)
    limits = await door.open(0, 2)
    _in_a_child_that_is_killed(lambda: take(limits))
    take(limits)
    refused(limits)


def _reboot(clock: ManualClock) -> None:
    clock._monotonic_ns = 5  # pyright: ignore[reportPrivateUsage] - the machine begins anew


def _same(_: ManualClock) -> None:
    pass


@pytest.mark.parametrize("start", [_same, _reboot])
@pytest.mark.parametrize(("away_s", "there"), [(0, 0), (DAY_S // 10, 1), (DAY_S, 10)])
async def test_a_restart_hands_out_what_time_has_refilled(
    door: Door, start: Callable[[ManualClock], None], away_s: int, there: int
):
    door.clock.move(1_000 * S)
    limits = await door.limits(10, "requests", "day")
    for _ in range(10):
        take(limits)
    door.clock.move(away_s * S)
    start(door.clock)
    limits = await door.open()
    for _ in range(there):
        take(limits)
    refused(limits)


@pytest.mark.parametrize("jump_s", [-400 * DAY_S, -60, 60, 400 * DAY_S])
async def test_a_wall_clock_that_jumps_neither_fills_nor_locks(door: Door, jump_s: int):
    limits = await door.limits(10, "requests", "day")
    for _ in range(10):
        take(limits)
    door.clock.jump(door.clock.now_ns() + jump_s * S)
    refused(limits)
    limits = await door.open()
    assert (refused(limits).retry_after_s or 0) <= DAY_S / 10
    door.clock.move(DAY_S * S)
    for _ in range(10):
        take(limits)


async def test_a_page_of_another_layout_begins_anew(door: Door, tmp_path: Path):
    (tmp_path / "limits.page").write_bytes(b"\xff" * 200_000)
    limits = await door.limits(1)
    take(limits)
    refused(limits)


async def test_more_limits_than_there_is_room_for_are_refused(door: Door):
    def fill(connection: Connection) -> None:
        for number in range(SLOTS):
            limit = RateLimit("key", f"key-{number}", "requests", "minute", 1)
            rows.put(connection, OWNER, limit, created_ns=1)

    await door.database.write(fill)
    limits = await door.open()
    await door.set(1, node=("key", "one-more"))
    with pytest.raises(Conflict, match="limits stand"):
        limits.reserve(RateLimit("key", "one-more", "requests", "minute", 1))
    with pytest.raises(Conflict, match="limits stand"):
        await limits.reload()
    take(limits)
    refused(limits)


async def test_rows_are_kept_apart_by_organisation(database: Database):
    people = await database.write(move_in)
    limit = RateLimit("key", "key-1", "requests", "day", 5)
    for maximum in (4, 5):
        changed = msgspec.structs.replace(limit, maximum=maximum)
        await database.write(partial(rows.put, scope=people.owner, limit=changed, created_ns=1))
    assert await database.read(lambda c: rows.of(c, people.member)) == (limit,)
    assert await database.read(lambda c: rows.of(c, people.stranger)) == ()
    assert await database.read(rows.everywhere) == (limit,)
    for scope, gone in ((people.stranger, False), (people.owner, True), (people.owner, False)):
        work = partial(rows.remove, scope=scope, node_id="key-1", kind="requests", period="day")
        assert await database.write(work) is gone
