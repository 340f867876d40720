"""The admin routes of machines and assets: terms, refusals, books and the audit log."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from starlette.types import ASGIApp

from headrace.core.clock import ManualClock
from headrace.edge.routes import create_app
from headrace.ledger.assets import ASSETS_MAX
from headrace.ledger.audit import AuditLog
from headrace.ledger.journal import Journal
from headrace.ledger.machines import Machines
from headrace.ledger.projection import Projector
from headrace.serving.admin.machines import asset_routes, machine_routes
from headrace.serving.app import not_found
from headrace.store import assets, balances
from headrace.store.assets import Asset
from headrace.store.database import Database
from support.admin import AsSaid, audited
from support.asgi import Reply, request
from support.people import People, move_in

DIGEST = "sha256:" + "c" * 64
TERMS = {"rent_per_hour": "2", "idle_watts": "100", "load_watts": "1000", "kwh": "0.5"}


class Office(msgspec.Struct):
    app: ASGIApp
    database: Database
    people: People
    machines: Machines
    clock: ManualClock
    journal: Journal

    async def ask(self, method: str, path: str, body: object = None, who: str = "admin") -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {who}")]
        return await request(self.app, method, f"/admin/{path}", headers=headers, body=sent)


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    people = await database.write(move_in)
    clock = ManualClock()
    journal = Journal.open(tmp_path / "journal", "control", clock)
    audit = AuditLog(journal, clock)
    machines = Machines(database, clock, people.owner)
    names = ("local", "gpu")
    routes = [
        *machine_routes(machines, names, "rapl", audit, clock, changed=machines.reload),
        *asset_routes(database, journal, audit, clock, changed=machines.reload),
    ]
    app = create_app(
        routes, doorman=AsSaid(people), allowed_hosts=frozenset(), not_found=not_found(clock)
    )
    yield Office(app, database, people, machines, clock, journal)
    journal.close()


def machine(**changed: object) -> dict[str, Any]:
    return {"name": "gpu", "terms": TERMS} | changed


async def test_terms_hold_from_now_on(office: Office) -> None:
    before = (await office.ask("GET", "machines")).json()["machines"]
    assert [(one["name"], one["terms"], one["measured"]) for one in before] == [
        ("local", None, {"energy": "rapl"}),
        ("gpu", None, {"energy": None}),
    ]
    made = await office.ask("POST", "machines", machine())
    assert made.status == 201
    assert made.json() == {
        "name": "gpu",
        "terms": TERMS,
        "effective_ns": office.clock.now_ns(),
        "measured": {"energy": "estimated"},
        "idle_nano_per_hour": 2_050_000_000,
        "load_nano_per_hour": 2_500_000_000,
    }
    assert (await office.ask("GET", "machines")).json()["machines"][1] == made.json()
    (change,) = audited(office.journal)
    assert (change.action, change.detail["name"]) == ("machine.set", "gpu")


async def test_later_terms_are_shown_when_their_time_has_come(office: Office) -> None:
    await office.ask("POST", "machines", machine())
    later = machine(terms={"rent_per_hour": "3"}, effective_ns=office.clock.now_ns() + 100)
    assert (await office.ask("POST", "machines", later)).json()["load_nano_per_hour"] == 25 * 10**8
    office.clock.move(100)
    shown = (await office.ask("GET", "machines")).json()["machines"][1]
    assert shown["load_nano_per_hour"] == 3 * 10**9
    assert shown["measured"] == {"energy": None}


async def test_what_cannot_be_is_refused(office: Office) -> None:
    for body, status, said in (
        (machine(name="moon"), 404, "known: local, gpu"),
        (machine(terms={"kwh": "much"}), 400, "kwh is not a decimal number"),
        (machine(terms={"watts": "1"}), 400, "watts"),
        (machine(effective_ns=1), 400, "in the past"),
    ):
        reply = await office.ask("POST", "machines", body)
        assert (reply.status, said in reply.json()["error"]["message"]) == (status, True), said
    assert audited(office.journal) == []


async def test_an_asset_enters_the_books_once(office: Office) -> None:
    body = {"release_digest": DIGEST, "cost_nano": 5_000, "planned_tokens": 100}
    made = await office.ask("POST", "assets", body)
    assert made.status == 201
    assert (await office.ask("GET", "assets")).json() == {"assets": [made.json()]}
    again = await office.ask("POST", "assets", body)
    assert again.status == 409
    await Projector(office.database, office.journal).catch_up()
    books = await office.database.read(
        lambda connection: balances.every(connection, office.people.owner)
    )
    assert {one.name: one.amount_nano for one in books} == {
        f"asset:{DIGEST}": 5_000,
        f"training:{DIGEST}": -5_000,
    }
    assert [one.action for one in audited(office.journal)] == ["asset.created"]


async def test_there_is_room_for_so_many_assets(office: Office) -> None:
    def work(connection: Connection) -> None:
        for number in range(ASSETS_MAX):
            asset = Asset(f"upstream:gpu/{number}", 1, 1, 1)
            assets.add(connection, office.people.owner, asset)

    await office.database.write(work)
    body = {"release_digest": DIGEST, "cost_nano": 1, "planned_tokens": 1}
    refused = await office.ask("POST", "assets", body)
    assert refused.status == 409
    assert "most there can be" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "changed", [{"release_digest": "mine"}, {"cost_nano": 0}, {"planned_tokens": 0}]
)
async def test_an_asset_must_be_one(office: Office, changed: dict[str, object]) -> None:
    body = {"release_digest": DIGEST, "cost_nano": 5_000, "planned_tokens": 100} | changed
    assert (await office.ask("POST", "assets", body)).status == 400


async def test_admins_change_viewers_see_members_neither(office: Office) -> None:
    asset = {"release_digest": DIGEST, "cost_nano": 1, "planned_tokens": 1}
    for path, body in (("machines", machine()), ("assets", asset)):
        for who, may_see, may_change in (("viewer", 200, 403), ("member", 403, 403)):
            assert (await office.ask("GET", path, who=who)).status == may_see
            assert (await office.ask("POST", path, body, who)).status == may_change
        assert (await office.ask("POST", path, body, "owner")).status == 201
