"""Routes of reports, receipts, books, the audit log and outcomes: who sees what, page by page."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from headrace.core.clock import ManualClock
from headrace.core.errors import Unauthenticated
from headrace.core.scope import Lineage
from headrace.edge.routes import create_app
from headrace.identity.caller import Caller
from headrace.ledger.audit import AuditLog
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.serving.admin.audit import audit_routes
from headrace.serving.admin.balances import balance_routes
from headrace.serving.admin.receipts import receipt_routes
from headrace.serving.admin.reports import report_routes
from headrace.serving.app import not_found
from headrace.serving.dialects import Headers
from headrace.serving.outcomes import outcome_route
from headrace.store.database import Database
from headrace.store.sessions import Visitor
from headrace.store.spend import DAY_NS
from support.asgi import request
from support.journals import open_journal
from support.ledger import begin, end, refund
from support.people import People, move_in

AT_NS = 20_000 * DAY_NS


class House:
    """The routes, and everybody's credential: the name."""

    def __init__(self, database: Database, folder: Path, people: People, journal: Journal) -> None:
        self.clock = ManualClock(AT_NS + 5)
        self.people = people
        self.journal = journal
        self.projector = Projector(database, journal)
        self.app: ASGIApp = create_app(
            [
                *report_routes(database, self.clock),
                *receipt_routes(database, folder),
                *audit_routes(database),
                *balance_routes(database),
                outcome_route(journal, self._caller, self.clock, models=lambda: ["tiny"]),
            ],
            doorman=self,
            allowed_hosts=frozenset(),
            not_found=not_found(self.clock),
        )

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        roles: dict[str, Any] = {"owner": "owner", "stranger": "owner", "member": "member"}
        role = roles.get(credential)
        return Visitor(getattr(self.people, credential), role) if role else None

    def _caller(self, headers: Headers) -> Caller:
        if headers.get("authorization") != "Bearer member":
            raise Unauthenticated("no")
        scope = self.people.member
        lineage = Lineage(scope.organisation_id, "t", scope.account_id, "k")
        return Caller(
            key_id="k", scope=scope, purpose="code", kind="person", lineage=lineage, role="member"
        )

    async def get(self, path: str, who: str = "owner", status: int = 200) -> Any:
        headers = [("authorization", f"Bearer {who}")]
        reply = await request(self.app, "GET", path, headers=headers)
        assert reply.status == status, reply.body
        return reply.json()


@pytest.fixture
async def house(sqlite_database: Database, tmp_path: Path):
    people = sqlite_database.write_now(move_in)
    with open_journal(tmp_path / "journal") as journal:
        for number in range(7):
            scope = people.member if number % 2 else people.owner
            opened = begin(journal, f"g{number}", scope, started_ns=AT_NS)
            end(journal, opened)
        refund(journal, opened, 400)  # pyright: ignore[reportPossiblyUnboundVariable] - of the last
        end(journal, begin(journal, "theirs", people.stranger, started_ns=AT_NS))
        made = House(sqlite_database, tmp_path / "journal", people, journal)
        await made.projector.catch_up()
        yield made


async def test_reports_are_for_their_roles(house: House):
    for word in ("spend", "cache", "units", "margin", "payback", "burn", "breakeven", "machines"):
        path = f"/admin/reports/{word}"
        await house.get(path)
        await house.get(path, "member", 200 if word in {"spend", "cache"} else 403)
        await house.get(path, "nobody", 401)
    assert (await house.get("/admin/reports/spend"))["totals"]["price_nano"] == 6_600
    assert (await house.get("/admin/reports/spend", "member"))["totals"]["price_nano"] == 3_000
    assert (await house.get("/admin/reports/spend", "stranger"))["totals"]["price_nano"] == 1_000


async def test_reports_are_narrowed_and_told_as_csv(house: House):
    narrow = "/admin/reports/spend?by=account&account_id=member"
    [row] = (await house.get(narrow))["rows"]
    assert (row["name"], row["price_nano"]) == ("Member", 3_000)
    headers = [("authorization", "Bearer owner")]
    reply = await request(house.app, "GET", f"{narrow}&format=csv", headers=headers)
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.headers["content-disposition"] == 'attachment; filename="spend.csv"'
    assert reply.body.decode().splitlines()[1].startswith("3,0,36,12,90,15,3000,")
    for wrong in ("by=people", "format=xml", "from_ns=x", "from_ns=-1", f"to_ns={10**19}"):
        await house.get(f"/admin/reports/spend?{wrong}", status=400)


async def test_receipts_come_in_pages(house: House):
    first = await house.get("/admin/receipts?limit=3")
    assert [one["id"] for one in first["receipts"]] == ["g6", "g5", "g4"]
    second = await house.get(f"/admin/receipts?limit=3&before={first['next']}")
    assert [one["id"] for one in second["receipts"]] == ["g3", "g2", "g1"]
    last = await house.get(f"/admin/receipts?limit=3&before={second['next']}")
    assert ([one["id"] for one in last["receipts"]], last["next"]) == (["g0"], None)
    mine = await house.get("/admin/receipts", "member")
    assert [one["id"] for one in mine["receipts"]] == ["g5", "g3", "g1"]
    none = await house.get("/admin/receipts?account_id=owner", "member")
    assert none["receipts"] == []
    row = (await house.get("/admin/reports/spend?by=account"))["rows"][0]
    led = await house.get(row["receipts"])
    assert {one["account_id"] for one in led["receipts"]} == {row["id"]}
    await house.get("/admin/receipts?limit=0", status=400)


async def test_a_receipt_shows_what_was_posted_about_it(house: House):
    found = await house.get("/admin/receipts/g6")
    assert found["receipt"]["price_nano"] == 1_000
    [posting] = found["postings"]
    assert posting["entries"] == [["revenue:tiny", 400], ["receivable:owner", -400]]
    assert posting["detail"]["account_id"] == "owner"
    await house.get("/admin/receipts/g6", "member", 404)
    await house.get("/admin/receipts/g6", "stranger", 404)


async def test_books_and_changes(house: House):
    found = (await house.get("/admin/balances"))["balances"]
    assert sum(one["amount_nano"] for one in found) == 0
    assert {"name": "receivable:member", "amount_nano": 3_000, "entries": 3} in found
    log = AuditLog(house.journal, house.clock)
    for number in range(3):
        house.clock.move(1_000_000)
        await log.note(house.people.owner, "budget.made", f"b{number}", limit_nano=number)
    await house.projector.catch_up()
    page = await house.get("/admin/audit?limit=2")
    assert [one["object_id"] for one in page["events"]] == ["b2", "b1"]
    assert page["events"][0]["detail"] == {"limit_nano": 2}
    rest = await house.get(f"/admin/audit?before={page['next']}")
    assert [one["object_id"] for one in rest["events"]] == ["b0"]
    assert (await house.get("/admin/audit", "stranger"))["events"] == []
    detail = {"node_id": "member", "team_id": None, "hard": True, "limit_nano": 5_000_000_000}
    await log.note(house.people.owner, "limit.set", "member", **detail)
    await log.note(house.people.owner, "price.set", "p1", target="tiny", effective_ns=0)
    await log.note(house.people.owner, "account.erased", "gone", warn_percent=[50, 80])
    await house.projector.catch_up()
    said = (await house.get("/admin/audit?limit=3"))["events"]
    assert [(one["actor"], one["did"], one["object"], one["told"]) for one in said] == [
        ("Owner", "erased the person", "erased", "warn percent: 50 80"),
        ("Owner", "set the price of", "tiny", "target: tiny, effective: 1970-01-01 00:00"),
        ("Owner", "set a limit of", "Member", "node: Member, team: none, hard: yes, limit: $5.00"),
    ]
    await house.get("/admin/audit", "member", 403)
    await house.get("/admin/balances", "member", 403)


async def test_outcomes_are_counted(house: House):
    async def tell(body: object, who: str = "member") -> int:
        headers = [("authorization", f"Bearer {who}"), ("content-type", "application/json")]
        encoded = json.dumps(body).encode()
        return (
            await request(house.app, "POST", "/v1/outcomes", headers=headers, body=encoded)
        ).status

    told = {"kind": "code_change_accepted", "model": "tiny", "count": 3}
    assert await tell(told) == 200
    assert await tell(told, "nobody") == 401
    for wrong in ({"kind": "x"}, {"count": 0}, {"count": 10**6}, {"model": ""}):
        assert await tell(told | wrong) == 400
    assert await tell(told | {"model": "ada@example.org"}) == 404  # the chain forgets nothing
    await house.projector.catch_up()
    found = await house.get("/admin/reports/units")
    assert found["all_changes"]["accepted"] == 3
    retried = told | {"id": "01900000-0000-7000-8000-0000000000aa", "count": 2}
    for _ in range(2):
        assert await tell(retried) == 200
        await house.projector.catch_up()
    assert await tell(told | {"id": "Ada"}) == 400
    await house.projector.catch_up()
    found = await house.get("/admin/reports/units")
    assert found["all_changes"]["accepted"] == 3 + 2
