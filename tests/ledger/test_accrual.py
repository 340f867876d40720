"""What machines cost by the hour: written once, whatever ends the process, and balanced."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import StoreError
from headrace.core.scope import Scope
from headrace.ledger.accrual import FILE, Accrual
from headrace.ledger.energy import LocalEnergy
from headrace.ledger.journal import Journal
from headrace.ledger.machines import Machines, Terms
from headrace.ledger.projection import Projector
from headrace.ledger.reader import read
from headrace.ledger.records import POSTED, Entry, Posted, balanced
from headrace.ledger.share_clock import ShareClock
from headrace.store import assets, balances
from headrace.store.assets import Asset
from headrace.store.database import Database
from headrace.store.hardware_hours import HardwareHour
from support.people import move_in

HOUR_NS = 3_600_000_000_000
MINUTE_NS = HOUR_NS // 60
START_NS = 1_700_000_000_000_000_000 // HOUR_NS * HOUR_NS
TERMS = Terms(rent_per_hour="3.6", idle_watts="100", load_watts="300", pue="2", kwh="0.5")
DIGEST = "sha256:" + "b" * 64


class _Counter:
    """A counter of energy that somebody turns."""

    def __init__(self) -> None:
        self.mj = 0

    def read_mj(self) -> int:
        found, self.mj = self.mj, 0
        return found


class Office(msgspec.Struct):
    database: Database
    scope: Scope
    data: Path
    clock: ManualClock
    journal: Journal
    machines: Machines
    shares: ShareClock
    counter: _Counter
    measures: bool = False

    def accrual(self, journal: Journal | None = None) -> Accrual:
        """What a start makes."""
        journal = journal or self.journal
        return Accrual(
            self.database,
            journal,
            self.clock,
            self.scope,
            machines=self.machines,
            shares=self.shares,
            energy=LocalEnergy(self.counter if self.measures else None, None),
            data=self.data,
            catch_up=Projector(self.database, journal).catch_up,
        )

    async def set(self, name: str = "local", terms: Terms = TERMS) -> None:
        await self.machines.set(name, terms)
        await self.machines.reload()

    def use(self, duration_ns: int, machine: str = "local") -> None:
        """A call runs for so long."""
        share = self.shares.begin(machine)
        self.clock.move(duration_ns)
        share.end()

    def pay(self, nano: int) -> None:
        """Write down what a call paid for its share of the time."""
        paid = Posted(
            id="call",
            organisation_id=self.scope.organisation_id,
            kind="adjustment",
            time_ns=self.clock.now_ns(),
            entries=(Entry("cogs:tiny", nano), Entry("capacity:local", -nano)),
        )
        self.journal.append(POSTED, paid)

    def posted(self) -> list[Posted]:
        return [
            msgspec.json.decode(one.data, type=Posted)
            for one in read(self.journal.directory, "control")
            if one.kind == POSTED
        ]

    def hours(self) -> list[HardwareHour]:
        return [
            msgspec.convert(one.detail, HardwareHour)
            for one in self.posted()
            if one.kind == "accrual"
        ]

    async def books(self) -> dict[str, int]:
        await Projector(self.database, self.journal).catch_up()
        found = await self.database.read(lambda connection: balances.every(connection, self.scope))
        return {one.name: one.amount_nano for one in found}


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    scope = (await database.write(move_in)).owner
    clock = ManualClock(START_NS)
    journal = Journal.open(tmp_path / "journal", "control", clock)
    machines = Machines(database, clock, scope)
    shares = ShareClock(tmp_path / "shares.page", ("local", "gpu"), clock)
    yield Office(database, scope, tmp_path, clock, journal, machines, shares, _Counter())
    shares.close()
    journal.close()


async def test_an_hour_costs_its_time_and_its_energy(office: Office) -> None:
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    office.use(HOUR_NS // 4)
    await accrual.tick()
    assert office.posted() == []
    office.clock.move(HOUR_NS - HOUR_NS // 4)
    await accrual.tick()
    (hour,) = office.hours()
    # A quarter of an hour at 300 W, three at 100 W: 150 Wh.
    energy_mj = 150 * 3_600 * 1_000
    cost_nano = 3_600_000_000 + 150_000_000
    assert hour == HardwareHour(
        machine="local",
        hour_ns=START_NS,
        up_ns=HOUR_NS,
        busy_ns=HOUR_NS // 4,
        energy_mj=energy_mj,
        estimated_mj=energy_mj,
        cost_nano=cost_nano,
        idle_nano=cost_nano,
    )
    assert await office.books() == {
        "capacity:local": 0,
        "hardware:local": -3_600_000_000,
        "energy:local": -150_000_000,
        "idle:local": cost_nano,
    }


async def test_what_calls_paid_is_not_idle(office: Office) -> None:
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    office.pay(975_000_000)  # a quarter of an hour
    office.use(HOUR_NS // 4)
    office.clock.move(HOUR_NS - HOUR_NS // 4)
    await accrual.tick()
    books = await office.books()
    assert books["capacity:local"] == 0
    assert books["idle:local"] == 3_750_000_000 - 975_000_000
    assert sum(books.values()) == 0


async def test_measured_energy_counts_for_this_machine_alone(office: Office) -> None:
    office.measures = True
    office.counter.mj = 999
    await office.set()
    await office.set("gpu")
    accrual = office.accrual()
    await accrual.start()
    office.counter.mj = 7_200_000
    office.clock.move(HOUR_NS)
    await accrual.tick()
    local, gpu = office.hours()
    assert (local.energy_mj, local.estimated_mj) == (7_200_000, 0)
    assert local.cost_nano == 3_600_000_000 + 2_000_000
    assert gpu.energy_mj == gpu.estimated_mj == 100 * 3_600 * 1_000


async def test_nothing_is_written_where_nobody_knows_costs_and_nobody_calls(
    office: Office,
) -> None:
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(HOUR_NS)
    await accrual.tick()
    assert office.posted() == []
    office.use(5)
    await accrual.stop()
    (hour,) = office.hours()
    assert (hour.machine, hour.busy_ns, hour.cost_nano) == ("local", 5, 0)
    assert await office.books() == {}


async def test_new_terms_hold_from_the_next_part_of_the_hour_on(office: Office) -> None:
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    await accrual.tick()
    office.clock.move(HOUR_NS // 2)
    await office.set(terms=Terms(rent_per_hour="1"))
    office.clock.move(HOUR_NS // 8)
    await accrual.tick()
    office.clock.move(HOUR_NS // 8)
    await accrual.stop()
    first, second = office.hours()
    assert first.hour_ns == second.hour_ns == START_NS
    assert first.cost_nano == 1_800_000_000 + 50_000_000
    assert second.cost_nano == 250_000_000


async def test_first_terms_hold_from_their_time_on(office: Office) -> None:
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(MINUTE_NS)
    await office.set()
    office.clock.move(HOUR_NS // 4)
    await accrual.stop()
    (hour,) = office.hours()
    assert hour.up_ns == HOUR_NS // 4
    assert hour.cost_nano == 900_000_000 + 25_000_000


async def test_calls_under_the_first_terms_are_not_idle_time_before_them(office: Office) -> None:
    accrual = office.accrual()
    await accrual.start()
    office.use(MINUTE_NS)
    await office.set()
    office.use(MINUTE_NS)
    office.pay(65_000_000)
    await accrual.tick()
    (before,) = office.hours()
    assert (before.up_ns, before.cost_nano, before.idle_nano) == (MINUTE_NS, 0, 0)
    assert "idle:local" not in await office.books()
    office.clock.move(HOUR_NS // 4)
    await accrual.stop()
    _, after = office.hours()
    assert after.idle_nano == after.cost_nano - 65_000_000 > 0
    books = await office.books()
    assert (books["capacity:local"], books["idle:local"]) == (0, after.idle_nano)


async def test_measured_energy_is_split_where_terms_change(office: Office) -> None:
    office.measures = True
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(10 * MINUTE_NS)
    await office.set(terms=Terms(rent_per_hour="1"))
    office.clock.move(20 * MINUTE_NS)
    office.counter.mj = 3_001
    await accrual.stop()
    assert [hour.energy_mj for hour in office.hours()] == [1_000, 2_001]


async def test_a_stop_posts_the_rest_and_time_without_headrace_costs_nothing(
    office: Office,
) -> None:
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(10 * MINUTE_NS)
    await accrual.stop()
    office.clock.move(20 * MINUTE_NS)
    again = office.accrual()
    await again.start()
    office.clock.move(5 * MINUTE_NS)
    await again.stop()
    assert [hour.up_ns for hour in office.hours()] == [10 * MINUTE_NS, 5 * MINUTE_NS]
    assert len({one.id for one in office.posted()}) == 2


async def test_a_killed_process_loses_what_passed_since_the_last_minute(office: Office) -> None:
    await office.set()
    killed = office.accrual()
    await killed.start()
    office.clock.move(30 * MINUTE_NS)
    await killed.tick()
    office.clock.move(MINUTE_NS // 2)
    again = office.accrual()
    await again.start()
    (hour,) = office.hours()
    assert hour.up_ns == 30 * MINUTE_NS


async def test_what_was_written_just_before_the_end_is_not_doubled(office: Office) -> None:
    await office.set()
    killed = office.accrual()
    await killed.start()
    office.clock.move(30 * MINUTE_NS)
    await killed.tick()
    kept = office.data / "kept"
    shutil.copy(office.data / FILE, kept)
    await killed.stop()
    # It dies between writing the posting and taking the file away.
    shutil.copy(kept, office.data / FILE)
    before = await office.books()
    await office.accrual().start()
    assert len(office.posted()) == 1
    assert await office.books() == before
    assert before["hardware:local"] == -1_800_000_000


@pytest.mark.parametrize("left", [b"", b"{", b'{"local": [3]}'])
async def test_a_file_that_a_power_cut_took_is_begun_anew(office: Office, left: bytes) -> None:
    (office.data / FILE).write_bytes(left)
    await office.set()
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(MINUTE_NS)
    await accrual.stop()
    assert [hour.up_ns for hour in office.hours()] == [MINUTE_NS]


async def test_clocks_that_jump_neither_stretch_nor_double_time(office: Office) -> None:
    await office.set()
    office.clock.jump(START_NS + 6 * HOUR_NS)
    accrual = office.accrual()
    await accrual.start()
    office.clock.move(MINUTE_NS)
    office.clock.jump(START_NS + 1 * HOUR_NS)
    await accrual.tick()
    office.clock.move(MINUTE_NS)
    office.clock.jump(START_NS + 9 * HOUR_NS)
    await accrual.tick()
    office.clock.move(MINUTE_NS)
    await accrual.stop()
    hours = office.hours()
    assert sum(hour.up_ns for hour in hours) == 3 * MINUTE_NS
    assert len({one.id for one in office.posted()}) == len(hours)


async def test_a_journal_that_takes_nothing_leaves_the_hour_to_the_next_start(
    office: Office,
) -> None:
    await office.set()
    journal = Journal.open(office.data / "other", "control", office.clock)
    broken = office.accrual(journal)
    await broken.start()
    office.clock.move(MINUTE_NS)
    journal.close()
    await broken.stop()
    assert (office.data / FILE).exists()
    office.clock.move(HOUR_NS)
    with pytest.raises(StoreError):
        await broken.tick()
    await office.accrual().start()
    assert office.hours()[0].up_ns >= MINUTE_NS


async def test_an_asset_without_its_posting_gets_it_at_the_next_start(office: Office) -> None:
    asset = Asset(DIGEST, 5_000, 100, START_NS)
    await office.database.write(lambda connection: assets.add(connection, office.scope, asset))
    for _ in range(2):
        await office.accrual().start()
        await office.books()
    assert await office.books() == {f"asset:{DIGEST}": 5_000, f"training:{DIGEST}": -5_000}
    assert len(office.posted()) == 1
    assert all(balanced(one.entries) for one in office.posted())
