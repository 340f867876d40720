"""What calls cost: bills, shares of machines, training, and what was made for nobody."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.ledger.assets import Assets
from headrace.ledger.costs import FREE, CallCost, Costs
from headrace.ledger.machines import Machines, Terms
from headrace.ledger.price_book import PriceBook
from headrace.ledger.prices import Rates
from headrace.ledger.records import Entry, balanced
from headrace.ledger.share_clock import ShareClock
from headrace.store import assets as asset_rows
from headrace.store import balances
from headrace.store.assets import Asset
from headrace.store.database import Database
from support.people import move_in

DIGEST = "sha256:" + "a" * 64
HOUR_NS = 3_600_000_000_000
MILLION = 1_000_000
USED = Usage(input=100, output=50)


class Office(msgspec.Struct):
    database: Database
    scope: Scope
    clock: ManualClock
    book: PriceBook
    machines: Machines
    assets: Assets
    costs: Costs

    async def reload(self) -> None:
        await self.book.reload()
        await self.costs.reload()

    def of(self, **given: Any) -> CallCost:
        call: dict[str, Any] = {
            "model_id": "mini",
            "target_id": "openai/mini",
            "upstream": "openai",
            "machine": None,
            "release_digest": "",
            "usage": USED,
            "at_ns": self.clock.now_ns(),
        }
        cost = self.costs.of_call(**call | given)
        assert balanced(cost.entries)
        assert cost.cost_nano + cost.loss_nano == -sum(
            entry.amount_nano for entry in cost.entries if entry.amount_nano < 0
        )
        return cost


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    scope = (await database.write(move_in)).owner
    clock = ManualClock()
    book, machines = PriceBook(database, clock, scope), Machines(database, clock, scope)
    assets = Assets(database, scope, tmp_path / "assets.page")
    shares = ShareClock(tmp_path / "shares.page", ("local",), clock)
    costs = Costs(book, machines, assets, shares)
    made = Office(database, scope, clock, book, machines, assets, costs)
    await made.reload()
    yield made
    assets.close()
    shares.close()


async def test_what_nobody_knows_costs_nothing(office: Office) -> None:
    assert office.of() is FREE
    share = office.costs.begin("local")
    office.clock.move(7)
    share.end()
    cost = office.of(upstream=None, machine="local", share=share)
    assert cost == CallCost(machine_ns=7, prefill_machine_ns=7)


async def test_an_upstreams_bill_is_owed_to_it(office: Office) -> None:
    await office.book.set("cost", "openai/mini", Rates(input=2 * MILLION, output=4 * MILLION))
    await office.reload()
    cost = office.of()
    assert cost.entries == (Entry("cogs:mini", 400), Entry("payable:openai", -400))
    assert (cost.cost_nano, cost.loss_nano, cost.estimated) == (400, 0, False)
    assert office.of(usage=Usage()).entries == ()


async def test_what_an_upstream_made_for_nobody_is_a_loss(office: Office) -> None:
    await office.book.set("cost", "openai/mini", Rates(input=2 * MILLION, output=4 * MILLION))
    await office.reload()
    cost = office.of(unbilled_tokens=10)
    assert cost.entries == (
        Entry("cogs:mini", 400),
        Entry("loss:unbilled", 40),
        Entry("payable:openai", -440),
    )


async def test_a_call_pays_for_its_share_of_the_machine(office: Office) -> None:
    terms = Terms(rent_per_hour="3.6", load_watts="500", kwh="0.36")
    await office.machines.set("local", terms)
    await office.reload()
    share = office.costs.begin("local")
    office.clock.move(HOUR_NS // 4)
    share.first_token()
    office.clock.move(HOUR_NS // 4)
    share.end()
    given = {"upstream": None, "machine": "local", "share": share}
    cost = office.of(**given)
    # Half an hour of $3.60 and of half a kilowatt at $0.36.
    due = 1_800_000_000 + 90_000_000
    assert cost.entries == (Entry("cogs:mini", due), Entry("capacity:local", -due))
    assert (cost.machine_ns, cost.prefill_machine_ns) == (HOUR_NS // 2, HOUR_NS // 4)
    assert cost.estimated
    # A half of what was decoded was heard by nobody: a quarter of the whole.
    cut = office.of(**given, unbilled_tokens=50)
    assert cut.loss_nano == due // 4
    assert cut.cost_nano == due - due // 4


async def test_an_upstream_on_our_own_machine_may_cost_both(office: Office) -> None:
    await office.machines.set("local", Terms(rent_per_hour="3.6"))
    await office.book.set("cost", "openai/mini", Rates(call=5))
    await office.reload()
    share = office.costs.begin("local")
    office.clock.move(1_000_000)
    share.end()
    cost = office.of(machine="local", share=share)
    assert cost.entries == (
        Entry("cogs:mini", 1_005),
        Entry("payable:openai", -5),
        Entry("capacity:local", -1_000),
    )
    assert not cost.estimated


async def test_training_is_paid_back_by_tokens_and_never_more_than_once(office: Office) -> None:
    asset = Asset(DIGEST, 1_000, 1_000, office.clock.now_ns())
    await office.database.write(lambda connection: asset_rows.add(connection, office.scope, asset))
    await office.reload()
    given = {"upstream": None, "release_digest": DIGEST}
    first = office.of(**given)
    assert first.entries == (Entry("cogs:mini", 150), Entry(f"asset:{DIGEST}", -150))
    paid = [office.of(**given).cost_nano for _ in range(9)]
    assert sum(paid) + first.cost_nano == 1_000
    assert paid[-1] == 0
    assert office.of(upstream=None, release_digest="sha256:other").entries == ()


async def test_processes_share_what_is_left_of_an_asset(office: Office, tmp_path: Path) -> None:
    asset = Asset(DIGEST, 1_000, 1_000, 1)
    await office.database.write(lambda connection: asset_rows.add(connection, office.scope, asset))
    path = tmp_path / "shared.page"
    control = Assets(office.database, office.scope, path, alone=False)
    await control.reload()
    worker = Assets(office.database, office.scope, path, first=False, alone=False)
    await worker.reload()
    paid = [one.write_off(DIGEST, 300) for one in (control, worker, control, worker)]
    assert paid == [300, 300, 300, 100]
    control.close()
    worker.close()


async def test_a_restart_goes_on_with_what_the_books_hold(office: Office, tmp_path: Path) -> None:
    asset = Asset(DIGEST, 1_000, 1_000, 1)
    place = (office.scope.organisation_id, f"asset:{DIGEST}")
    await office.database.write(lambda connection: asset_rows.add(connection, office.scope, asset))
    await office.database.write(lambda connection: balances.add(connection, {place: (250, 9)}))
    again = Assets(office.database, office.scope, tmp_path / "again.page")
    await again.reload()
    assert [again.write_off(DIGEST, 200), again.write_off(DIGEST, 200)] == [200, 50]
    again.close()
