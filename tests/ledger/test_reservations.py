"""Holding money of budgets: what fits, who waits, what processes share, what is told."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import BudgetSpent, RateLimited, StoreError
from headrace.core.ids import new_id
from headrace.core.scope import NodeKind
from headrace.ledger.journal import Journal
from headrace.ledger.leases import Leases
from headrace.ledger.projection import Projector
from headrace.ledger.reservations import Reservations
from headrace.ledger.windows import DAY_NS, HOUR_NS, Window, span_of
from headrace.store import budgets
from headrace.store.budgets import Budget, BudgetPeriod
from headrace.store.database import Database
from support.budgets import ADA, BOB, OWNER, settle_in
from support.journals import Note

NOW_NS = ManualClock().now_ns()


class House(msgspec.Struct):
    """A data folder with a database; processes are opened as they are needed."""

    database: Database
    folder: Path
    clock: ManualClock
    opened: list[tuple[Journal, Reservations]]

    async def process(
        self, name: str = "control", *, alone: bool = True, wait_s: float | None = None
    ) -> Reservations:
        journal = Journal.open(self.folder, name, self.clock)
        # What others have must be asked of the database, which may be slow.
        wait_s = wait_s or (0.05 if alone else 1)
        made = Reservations(self.database, journal, self.clock, alone=alone, wait_s=wait_s)
        self.opened.append((journal, made))
        await made.reload()
        return made

    async def budget(
        self,
        limit_nano: int,
        *,
        node: tuple[NodeKind, str] = ("organisation", "acme"),
        period: BudgetPeriod = "day",
        hard: bool = True,
    ) -> str:
        made = Budget(
            id=new_id(self.clock),
            organisation_id="acme",
            node_kind=node[0],
            node_id=node[1],
            period=period,
            limit_nano=limit_nano,
            hard=hard,
            warn_percent=(100,),
            webhook_url=None,
            created_ns=self.clock.now_ns(),
        )
        await self.database.write(lambda connection: budgets.add(connection, OWNER, made))
        for _, reservations in self.opened:
            await reservations.reload()
        return made.id


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    await database.write(settle_in)
    made = House(database, tmp_path / "journal", ManualClock(), [])
    yield made
    for journal, reservations in made.opened:
        await reservations.close()
        journal.close()


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("hour", "2023-11-14T22:13:20", "2023-11-14T22:00:00", "2023-11-14T23:00:00"),
        ("day", "2024-02-29T23:59:59", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        ("month", "2024-02-29T00:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("month", "2023-12-31T23:59:59", "2023-12-01T00:00:00", "2024-01-01T00:00:00"),
    ],
)
def test_windows_begin_and_end_in_utc(period: BudgetPeriod, at: str, start: str, end: str):
    def nano(text: str) -> int:
        from datetime import datetime  # noqa: PLC0415 - only here

        return int(datetime.fromisoformat(text + "+00:00").timestamp()) * 10**9

    assert span_of(period, nano(at)) == (nano(start), nano(end))
    assert span_of(period, nano(end)) != span_of(period, nano(at))


async def test_nothing_binds_where_no_budget_stands(house: House):
    reservations = await house.process()
    assert not reservations.binds(ADA)
    hold = reservations.try_hold(ADA, NOW_NS, 10**15, 10**15)
    assert hold is not None
    assert hold.nano == 10**15
    reservations.settle(hold, 5)
    await house.budget(1, hard=False)
    assert not reservations.binds(ADA)
    assert reservations.try_hold(ADA, NOW_NS, 10**15, 10**15) is not None


@pytest.mark.parametrize("alone", [True, False])
async def test_every_budget_of_the_lineage_binds(house: House, *, alone: bool):
    reservations = await house.process(alone=alone)
    await house.budget(100)
    await house.budget(60, node=("team", "team"), period="hour")
    await house.budget(30, node=("key", "key-bob"))
    assert reservations.binds(ADA)
    first = await reservations.hold(ADA, NOW_NS, 60, 60)
    with pytest.raises(RateLimited, match="held by calls that are running"):
        await reservations.hold(ADA, NOW_NS, 1, 1)
    second = await reservations.hold(BOB, NOW_NS, 30, 30)
    reservations.settle(first, 20)
    third = await reservations.hold(ADA, NOW_NS, 100, 1)
    assert third.nano == 40
    reservations.settle(third, 40)
    reservations.settle(second, 30)
    with pytest.raises(BudgetSpent, match="this team for this hour is spent") as told:
        await reservations.hold(ADA, NOW_NS, 1, 1)
    assert "It begins anew at 2023-11-14 23:00 UTC." in told.value.message
    with pytest.raises(BudgetSpent, match=r"this API key for this day is spent: \$0.00 of"):
        await reservations.hold(BOB, NOW_NS, 1, 1)
    again = await reservations.hold(ADA, NOW_NS + HOUR_NS, 50, 1)
    assert again.nano == 10, "the team has another hour, the organisation the same day"


async def test_each_window_is_exact_when_the_clock_jumps(house: House):
    reservations = await house.process()
    await house.budget(10, period="hour")
    await house.budget(25, period="once", node=("account", "ada"))
    for at_ns in (NOW_NS, NOW_NS - 30 * DAY_NS, NOW_NS + DAY_NS):
        hold = await reservations.hold(ADA, at_ns, 10, 1)
        reservations.settle(hold, hold.nano)
        with pytest.raises(BudgetSpent):
            await reservations.hold(ADA, at_ns, 1, 1)
    with pytest.raises(BudgetSpent, match="not renewed"):
        await reservations.hold(ADA, NOW_NS + 9 * DAY_NS, 1, 1)


async def test_what_is_there_is_parted_among_those_who_wait(house: House):
    reservations = await house.process(wait_s=5)
    await house.budget(900)
    everything = await reservations.hold(ADA, NOW_NS, 900, 900)
    waiting = [asyncio.create_task(reservations.hold(ADA, NOW_NS, 900, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    assert reservations.try_hold(BOB, NOW_NS, 1, 1) is None, "nobody jumps the line"
    reservations.settle(everything, 0)
    assert [hold.nano for hold in await asyncio.gather(*waiting)] == [300, 300, 300]


async def test_who_comes_first_is_served_first(house: House):
    reservations = await house.process(wait_s=5)
    await house.budget(100)
    everything = await reservations.hold(ADA, NOW_NS, 100, 100)
    served: list[int] = []

    async def call(number: int, nano: int) -> None:
        hold = await reservations.hold(ADA, NOW_NS, nano, nano)
        served.append(number)
        await asyncio.sleep(0)
        reservations.settle(hold, 1)

    tasks = [asyncio.create_task(call(n, nano)) for n, nano in enumerate((90, 5, 80, 5))]
    await asyncio.sleep(0)
    reservations.settle(everything, 0)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3]


async def test_a_call_that_gives_up_waiting_holds_nothing(house: House):
    reservations = await house.process(wait_s=5)
    await house.budget(100)
    everything = await reservations.hold(ADA, NOW_NS, 100, 100)
    gone = asyncio.create_task(reservations.hold(ADA, NOW_NS, 100, 100))
    late = asyncio.create_task(reservations.hold(ADA, NOW_NS, 100, 100))
    await asyncio.sleep(0)
    reservations.settle(everything, 0)  # the first has its hold, and does not know it yet
    gone.cancel()
    hold = await late
    assert hold.nano == 100
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_whoever_waits_for_what_is_spent_meanwhile_is_told(house: House):
    reservations = await house.process(wait_s=5)
    await house.budget(100)
    everything = await reservations.hold(ADA, NOW_NS, 100, 100)
    waiting = asyncio.create_task(reservations.hold(ADA, NOW_NS, 50, 50))
    await asyncio.sleep(0)
    reservations.settle(everything, 60)
    with pytest.raises(BudgetSpent, match=r"\$0.00000004 of \$0.0000001 is left"):
        await waiting


@pytest.mark.parametrize("alone", [True, False])
async def test_calls_that_run_count_in_a_new_budget(house: House, *, alone: bool):
    reservations = await house.process(alone=alone)
    running = reservations.try_hold(ADA, NOW_NS, 80, 80)
    assert running is not None
    await house.budget(100)
    hold = await reservations.hold(BOB, NOW_NS, 100, 1)
    assert hold.nano == 20
    reservations.settle(running, 50)
    hold = await reservations.hold(BOB, NOW_NS, 100, 1)
    assert hold.nano == 30


@pytest.mark.parametrize("alone", [True, False])
async def test_limits_change_under_running_calls(house: House, *, alone: bool):
    reservations = await house.process(alone=alone)
    identifier = await house.budget(100)
    running = await reservations.hold(ADA, NOW_NS, 80, 80)

    async def change(**values: object) -> None:
        await house.database.write(
            lambda connection: budgets.change(connection, OWNER, identifier, values)
        )
        await reservations.reload()

    await change(limit_nano=50)
    with pytest.raises(RateLimited):
        await reservations.hold(ADA, NOW_NS, 1, 1)
    reservations.settle(running, 45)
    assert (await reservations.hold(ADA, NOW_NS, 100, 1)).nano == 5
    with pytest.raises(BudgetSpent):
        await reservations.hold(ADA, NOW_NS, 6, 6)
    await change(limit_nano=1_000)
    assert (await reservations.hold(ADA, NOW_NS, 100, 100)).nano == 100
    waiting = asyncio.create_task(reservations.hold(ADA, NOW_NS, 10_000, 900))
    await asyncio.sleep(0.01)
    await change(ended_ns=1)
    assert (await waiting).nano == 10_000


class Pair(msgspec.Struct):
    one: Reservations
    two: Reservations
    granted: Callable[[], Awaitable[dict[str, int]]]


@pytest.fixture
async def pair(house: House) -> Pair:
    """Two processes that share a budget of 1,000."""
    one = await house.process(alone=False, wait_s=3)
    two = await house.process("w1", alone=False, wait_s=3)
    identifier = await house.budget(1_000)
    start_ns, _ = span_of("day", NOW_NS)

    async def granted() -> dict[str, int]:
        return await house.database.read(
            lambda connection: budgets.granted(connection, identifier, start_ns)
        )

    return Pair(one, two, granted)


async def test_processes_take_slices_and_give_back_what_lies_idle(pair: Pair):
    hold = await pair.one.hold(ADA, NOW_NS, 10, 10)
    assert await pair.granted() == {"control": 50}, "a twentieth of what is left"
    assert pair.one.try_hold(ADA, NOW_NS, 40, 40) is not None
    await pair.two.hold(ADA, NOW_NS, 100, 100)
    assert await pair.granted() == {"control": 50, "w1": 100}
    pair.one.settle(hold, 3)
    for _ in range(6):
        await pair.one.tick()
    assert await pair.granted() == {"control": 43, "w1": 100}


async def test_what_another_process_gives_back_serves_those_who_wait(pair: Pair):
    hold = await pair.one.hold(ADA, NOW_NS, 990, 990)
    waiting = asyncio.create_task(pair.two.hold(ADA, NOW_NS, 500, 400))
    await asyncio.sleep(0.1)
    pair.one.settle(hold, 100)
    for _ in range(6):
        await pair.one.tick()
    assert (await waiting).nano == 500
    with pytest.raises(RateLimited):
        await pair.one.hold(ADA, NOW_NS, 900, 900)


async def test_a_successor_frees_what_its_predecessor_held(house: House, pair: Pair):
    await pair.two.hold(ADA, NOW_NS, 900, 900)
    journal, _ = house.opened.pop()
    journal.close()
    three = await house.process("w1", alone=False)
    assert await pair.granted() == {}
    assert (await three.hold(ADA, NOW_NS, 1_000, 1_000)).nano == 1_000


async def test_a_slice_that_one_process_needs_is_not_kept_in_parts(pair: Pair):
    """Each has a little that is too little for its own calls."""
    first = await pair.one.hold(ADA, NOW_NS, 500, 500)
    second = await pair.two.hold(ADA, NOW_NS, 500, 500)
    pair.one.settle(first, 440)
    pair.two.settle(second, 440)
    waiting = [
        asyncio.create_task(each.hold(ADA, NOW_NS, 100, 100)) for each in (pair.one, pair.two)
    ]
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().nano for task in done} == {100}
    for task in left:
        task.cancel()


@pytest.mark.parametrize("alone", [True, False])
async def test_who_waits_is_bound_by_a_budget_that_is_made_meanwhile(house: House, *, alone: bool):
    reservations = await house.process(alone=alone, wait_s=2)
    await house.budget(100)
    running = await reservations.hold(ADA, NOW_NS, 100, 100)
    waiting = asyncio.create_task(reservations.hold(ADA, NOW_NS, 50, 50))
    await asyncio.sleep(0.02)
    await house.budget(50, node=("team", "team"))
    reservations.settle(running, 0)
    hold = await waiting
    assert reservations.try_hold(ADA, NOW_NS, 1, 1) is None, "all of the team's is held"
    reservations.settle(hold, 50)
    with pytest.raises(BudgetSpent):
        await reservations.hold(ADA, NOW_NS, 1, 1)


def window_of(reservations: Reservations) -> tuple[Leases, Window]:
    (window,) = reservations.windows()
    leases = reservations._leases  # pyright: ignore[reportPrivateUsage]
    assert leases is not None
    return leases, window


async def test_a_renewal_that_is_cut_off_leaves_nothing_that_others_get(pair: Pair):
    one, two = pair.one, pair.two
    one.settle(await one.hold(ADA, NOW_NS, 10, 10), 0)
    assert await pair.granted() == {"control": 50}
    leases, window = window_of(one)
    giving_back = asyncio.create_task(leases.renew(window))
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - the database does it, and the loop does not hear of that
    giving_back.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving_back
    assert (await two.hold(ADA, NOW_NS, 1_000, 1_000)).nano == 1_000
    assert one.try_hold(ADA, NOW_NS, 1, 1) is None


async def test_what_others_could_not_be_told_of_a_new_budget_is_told_later(
    sqlite_database: Database, tmp_path: Path
):
    await sqlite_database.write(settle_in)
    house = House(sqlite_database, tmp_path / "journal", ManualClock(), [])
    one = await house.process(alone=False)
    assert one.try_hold(ADA, NOW_NS, 80, 80) is not None

    async def run(statement: str) -> None:
        await sqlite_database.write(lambda connection: connection.exec_driver_sql(statement))

    await run("ALTER TABLE budget_grant RENAME TO elsewhere")
    with pytest.raises(StoreError):
        await house.budget(100)
    await run("ALTER TABLE elsewhere RENAME TO budget_grant")
    await one.tick()
    (window,) = one.windows()
    found = await sqlite_database.read(
        lambda connection: budgets.granted(connection, window.budget.id, window.start_ns)
    )
    assert found == {"control": 80}
    await one.close()
    house.opened[0][0].close()


async def test_what_is_over_a_lowered_limit_is_not_freed_while_it_is_renewed(house: House):
    one = await house.process(alone=False)
    identifier = await house.budget(100)
    first, second = [await one.hold(ADA, NOW_NS, 50, 50) for _ in range(2)]
    await house.database.write(
        lambda connection: budgets.change(connection, OWNER, identifier, {"limit_nano": 40})
    )
    await one.reload()
    leases, window = window_of(one)
    renewing = asyncio.create_task(leases.renew(window))
    await asyncio.sleep(0)
    one.settle(first, 0)
    assert one.try_hold(ADA, NOW_NS, 50, 1) is None, "50 are held of 40"
    await renewing
    assert one.try_hold(ADA, NOW_NS, 50, 1) is None
    one.settle(second, 10)
    assert (await one.hold(ADA, NOW_NS, 50, 1)).nano == 30


async def test_a_slice_that_is_on_its_way_keeps_its_window(house: House, pair: Pair):
    one = pair.one
    one.settle(await one.hold(ADA, NOW_NS, 10, 10), 0)
    journal, _ = house.opened[0]
    journal.append("note", Note(1, "rows are complete"))
    await Projector(house.database, journal).catch_up()
    leases, window = window_of(one)
    await leases.renew(window)
    fetching = asyncio.create_task(leases.renew(window, least_nano=1, want_nano=70))
    await asyncio.sleep(0)
    assert not await leases.end(window)
    await fetching
    assert (await pair.granted())["control"] == 70
