"""The admin routes of prices: who may, what is refused, and that changes hold at once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp

from headrace.core.clock import ManualClock
from headrace.edge.routes import create_app
from headrace.ledger.audit import AuditLog
from headrace.ledger.journal import Journal
from headrace.ledger.list_prices import ListPrices
from headrace.ledger.list_prices_child import Wanted
from headrace.ledger.price_book import PriceBook
from headrace.serving.admin.prices import price_routes
from headrace.serving.app import not_found
from headrace.store.database import Database
from support.admin import AsSaid, audited
from support.asgi import Reply, request
from support.people import move_in

OPENAI = {"openai/gpt-4o-mini": Wanted("https://api.openai.com/v1", "gpt-4o-mini")}


class Office(msgspec.Struct):
    app: ASGIApp
    book: PriceBook
    listed: ListPrices
    clock: ManualClock
    journal: Journal

    async def ask(
        self, method: str = "GET", body: object = None, who: str = "admin", path: str = ""
    ) -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {who}")]
        return await request(self.app, method, f"/admin/prices{path}", headers=headers, body=sent)


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    people = await database.write(move_in)
    clock = ManualClock(1_795_000_000_000_000_000)
    journal = Journal.open(tmp_path / "journal", "control", clock)
    book = PriceBook(database, clock, people.owner, {"mini": "openai/gpt-4o-mini"})
    listed = ListPrices(database, clock, people.owner, tmp_path, OPENAI)
    await book.reload()
    routes = price_routes(
        book,
        listed,
        AuditLog(journal, clock),
        clock,
        models=lambda: ("tiny", "mini"),
        changed=book.reload,
    )
    app = create_app(
        routes, doorman=AsSaid(people), allowed_hosts=frozenset(), not_found=not_found(clock)
    )
    yield Office(app, book, listed, clock, journal)
    journal.close()


def price(**changed: object) -> dict[str, Any]:
    return {
        "side": "price",
        "target": "tiny",
        "rates": {"input": "0.15", "output": "0.6"},
    } | changed


async def test_a_price_holds_from_now_on(office: Office) -> None:
    before = (await office.ask()).json()
    assert before == {"prices": [], "unpriced": ["tiny", "mini"]}
    made = await office.ask("POST", price())
    assert made.status == 201
    assert made.json()["current"] is True
    found = office.book.price("tiny", office.clock.now_ns())
    assert found is not None
    assert (found.rates.input, found.rates.output) == (150_000_000, 600_000_000)
    shown = (await office.ask()).json()
    assert shown["prices"] == [made.json()]
    assert shown["prices"][0]["rates"] == {"input": "0.15", "output": "0.6"}
    assert shown["unpriced"] == ["mini"]


async def test_a_later_price_waits_for_its_time(office: Office) -> None:
    at_ns = office.clock.now_ns() + 1_000
    await office.ask("POST", price())
    made = await office.ask("POST", price(effective_ns=at_ns, rates={"input": "1", "output": "2"}))
    assert made.json()["current"] is False
    office.clock.move(1_000)
    shown = (await office.ask()).json()["prices"]
    assert [one["current"] for one in shown] == [False, True]


async def test_a_list_price_is_shown_for_the_model_that_it_is_charged_for(office: Office) -> None:
    await office.listed.refresh()
    await office.book.reload()
    shown = (await office.ask()).json()
    assert shown["unpriced"] == ["tiny"]
    assert [(one["side"], one["target"], one["origin"]) for one in shown["prices"]] == [
        ("cost", "openai/gpt-4o-mini", "list"),
        ("price", "mini", "list"),
    ]
    assert len({one["id"] for one in shown["prices"]}) == 1
    assert shown["prices"][1]["rates"]["batch"]["input"] == "0.075"


async def test_what_cannot_be_is_refused(office: Office) -> None:
    for body, status, said in (
        (price(target="tinny"), 404, "served: tiny, mini"),
        (price(side="cost", target="openai"), 400, "a cost is that of an upstream's model"),
        (price(rates={"input": "0.15"}), 400, "do not say output"),
        (price(rates={"input": "much", "output": "1"}), 400, "not a number of dollars"),
        (price(rates={"input": "1", "output": "1", "inptu": "1"}), 400, "inptu"),
        (price(rates={"input": 1, "output": "1"}), 400, "not a price"),
        (price(side="margin"), 400, "not a price"),
        (price(effective_ns=1), 400, "in the past"),
    ):
        reply = await office.ask("POST", body)
        assert (reply.status, said in reply.json()["error"]["message"]) == (status, True), said
    assert (await office.ask()).json()["prices"] == []


async def test_admins_change_viewers_see_members_neither(office: Office) -> None:
    for who, may_see, may_change in (
        ("owner", 200, 201),
        ("admin", 200, 201),
        ("viewer", 200, 403),
        ("member", 403, 403),
    ):
        assert (await office.ask(who=who)).status == may_see
        assert (await office.ask("POST", price(), who)).status == may_change
    assert (await office.ask("POST", who="viewer", path="/update")).status == 403


async def test_each_change_is_in_the_audit_log(office: Office) -> None:
    made = (await office.ask("POST", price())).json()
    (change,) = audited(office.journal)
    assert (change.action, change.object_id, change.actor_id) == ("price.set", made["id"], "admin")
    assert change.detail["rates"] == {"input": "0.15", "output": "0.6"}
