"""The admin routes of budgets and refunds: who may, what is refused, that changes bind at once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp

from headrace.core.clock import ManualClock
from headrace.core.errors import BudgetSpent
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.edge.routes import create_app
from headrace.ledger.audit import AuditLog
from headrace.ledger.budgets import Budgets
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.reader import read
from headrace.ledger.records import (
    AUDITED,
    CLOSED,
    OPENED,
    Audited,
    GenerationClosed,
    GenerationOpened,
)
from headrace.ledger.refunds import Refunds
from headrace.ledger.reservations import Reservations
from headrace.serving.admin.budgets import budget_routes
from headrace.serving.app import not_found
from headrace.serving.dialects import AnthropicMessages, OpenAIChat, retry_headers
from headrace.store.accounts import Role
from headrace.store.database import Database
from headrace.store.sessions import Visitor
from support.asgi import Reply, request
from support.budgets import ADA, OWNER, settle_in

_ROLES: dict[str, Role] = {
    "owner": "owner",
    "admin": "admin",
    "member": "member",
    "viewer": "viewer",
}


class _Doorman:
    """Lets everybody in in the role that they name."""

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        if credential == "stranger":
            return Visitor(Scope("other", "stranger"), "owner")
        return Visitor(OWNER, _ROLES[credential])


class Office(msgspec.Struct):
    app: ASGIApp
    database: Database
    journal: Journal
    reservations: Reservations
    clock: ManualClock

    async def ask(self, method: str, path: str, body: object = None, who: str = "admin") -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {who}")]
        return await request(self.app, method, path, headers=headers, body=sent)

    async def call(self, price_nano: int) -> str:
        """A call of ada's that was charged so much."""
        now_ns = self.clock.now_ns()
        hold = await self.reservations.hold(ADA, now_ns, price_nano, price_nano)
        identifier = new_id(self.clock)
        self.journal.append(
            OPENED,
            GenerationOpened(
                id=identifier,
                organisation_id="acme",
                team_id="team",
                account_id="ada",
                key_id="key-ada",
                purpose="api",
                model_id="tiny",
                release_digest="sha256:0",
                engine="scripted",
                dialect="openai",
                started_ns=now_ns,
                held_nano=price_nano,
            ),
        )
        closed = GenerationClosed(id=identifier, stop="end", price_nano=price_nano)
        self.journal.append(CLOSED, closed)
        self.reservations.settle(hold, price_nano)
        return identifier

    async def project(self) -> None:
        await Projector(self.database, self.journal).catch_up()

    def changes(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        told = [
            msgspec.json.decode(one.data, type=Audited)
            for one in read(self.journal.directory, "control")
            if one.kind == AUDITED
        ]
        return [(one.actor_id, one.action, one.object_id, one.detail) for one in told]


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    await database.write(settle_in)
    clock = ManualClock()
    journal = Journal.open(tmp_path / "journal", "control", clock)
    reservations = Reservations(database, journal, clock, alone=True, wait_s=0.05)
    await reservations.reload()
    audit = AuditLog(journal, clock)
    budgets = Budgets(database, journal.directory, clock, audit, reservations.reload)
    refunds = Refunds(database, journal, clock, audit, reservations)
    app = create_app(
        budget_routes(budgets, refunds),
        doorman=_Doorman(),
        allowed_hosts=frozenset(),
        not_found=not_found(clock),
    )
    yield Office(app, database, journal, reservations, clock)
    journal.close()


def terms(**changed: object) -> dict[str, Any]:
    body = {"node_kind": "account", "node_id": "ada", "period": "day", "limit_nano": 1_000}
    return body | changed


async def test_a_budget_binds_from_its_making_to_its_end(office: Office):
    await office.call(100)
    reply = await office.ask("POST", "/admin/budgets", terms())
    assert reply.status == 201
    made = reply.json()
    start_ns = made["window_start_ns"]
    assert made == terms(
        id=made["id"],
        hard=True,
        warn_percent=[50, 80, 100],
        webhook_url=None,
        created_ns=office.clock.now_ns(),
        window_start_ns=start_ns,
        window_end_ns=start_ns + 86_400_000_000_000,
        spent_nano=100,
        held_nano=0,
    )
    with pytest.raises(BudgetSpent):
        await office.call(901)
    await office.call(900)
    path = f"/admin/budgets/{made['id']}"
    changed = (await office.ask("PATCH", path, {"limit_nano": 2_000, "hard": False})).json()
    assert changed == made | {"limit_nano": 2_000, "hard": False, "spent_nano": 1_000}
    await office.call(5_000)
    assert (await office.ask("GET", "/admin/budgets", who="viewer")).json() == {
        "budgets": [changed | {"spent_nano": 6_000}]
    }
    await office.ask("PATCH", path, {"hard": True})
    with pytest.raises(BudgetSpent):
        await office.call(1)
    assert (await office.ask("DELETE", path)).status == 204
    await office.call(5_000)
    assert (await office.ask("GET", "/admin/budgets")).json() == {"budgets": []}
    assert (await office.ask("DELETE", path)).status == 404


async def test_viewers_see_no_webhooks(office: Office):
    url = "https://hooks.example.com/services/secret"
    await office.ask("POST", "/admin/budgets", terms(webhook_url=url))
    for who, shown in (("admin", url), ("viewer", None)):
        (found,) = (await office.ask("GET", "/admin/budgets", who=who)).json()["budgets"]
        assert found["webhook_url"] == shown


async def test_a_budget_for_once_counts_from_its_making(office: Office):
    await office.call(700)
    made = (await office.ask("POST", "/admin/budgets", terms(period="once"))).json()
    assert (made["spent_nano"], made["window_end_ns"]) == (0, None)
    assert made["window_start_ns"] == made["created_ns"]
    await office.call(1_000)
    office.clock.jump(1)  # a clock set back opens nothing
    with pytest.raises(BudgetSpent):
        await office.call(1)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"node_id": "nobody"}, 404),
        ({"node_kind": "team"}, 404),
        ({"limit_nano": -1}, 400),
        ({"limit_nano": 10**19}, 400),
        ({"limit_nano": 1.5}, 400),
        ({"period": "week"}, 400),
        ({"warn_percent": [80, 50]}, 400),
        ({"warn_percent": [0]}, 400),
        ({"webhook_url": "ftp://example.com"}, 400),
        ({"webhook_url": "https://user:word@example.com/"}, 400),
        ({"webhook_url": "https://example.com/\r\nx: y"}, 400),
        ({"webhook_url": "https://example.com:99999/"}, 400),
        ({"spent_nano": 0}, 400),
    ],
)
async def test_what_cannot_be_meant_is_refused(office: Office, wrong: dict[str, Any], status: int):
    reply = await office.ask("POST", "/admin/budgets", terms(**wrong))
    assert reply.status == status
    assert reply.json()["error"]["message"]
    assert office.changes() == []


async def test_only_admins_change_and_strangers_see_nothing(office: Office):
    made = (await office.ask("POST", "/admin/budgets", terms())).json()
    path = f"/admin/budgets/{made['id']}"
    for who in ("member", "viewer"):
        assert (await office.ask("POST", "/admin/budgets", terms(), who)).status == 403
        assert (await office.ask("PATCH", path, {"hard": False}, who)).status == 403
        assert (await office.ask("DELETE", path, who=who)).status == 403
        assert (await office.ask("POST", "/admin/refunds", {}, who)).status == 403
    assert (await office.ask("GET", "/admin/budgets", who="member")).status == 403
    assert (await office.ask("GET", "/admin/budgets", who="stranger")).json() == {"budgets": []}
    assert (await office.ask("PATCH", path, {"hard": False}, "stranger")).status == 404
    assert (await office.ask("DELETE", path, who="stranger")).status == 404
    assert (await office.ask("POST", "/admin/budgets", terms(), "stranger")).status == 404


async def test_changes_are_written_down_without_addresses(office: Office):
    body = terms(webhook_url="https://ada@example.com/".replace("ada@", ""))
    made = (await office.ask("POST", "/admin/budgets", body)).json()
    await office.ask("PATCH", f"/admin/budgets/{made['id']}", {"webhook_url": None})
    await office.ask("DELETE", f"/admin/budgets/{made['id']}", who="owner")
    assert [(who, action, what) for who, action, what, _ in office.changes()] == [
        ("owner", "budget.made", made["id"]),
        ("owner", "budget.changed", made["id"]),
        ("owner", "budget.ended", made["id"]),
    ]
    told = [detail for *_, detail in office.changes()]
    assert told[0]["webhook"] is True
    assert told[1] == {"webhook": False}
    assert "example.com" not in json.dumps(told)


async def test_a_reason_that_nobody_knows_is_told_the_known_ones(office: Office):
    body = {"generation_id": "x", "reason": "whim"}
    refused = await office.ask("POST", "/admin/refunds", body)
    assert (refused.status, refused.json()["error"]["kind"]) == (400, "invalid_request")
    message = refused.json()["error"]["message"]
    assert "$.reason" in message
    assert "one of: duplicate, failed, goodwill, other, test, wrong" in message


async def test_a_refund_gives_back_what_was_charged_once(office: Office):
    await office.ask("POST", "/admin/budgets", terms())
    call = await office.call(1_000)
    await office.project()
    body = {"generation_id": call, "reason": "failed", "id": new_id(office.clock)}
    first = await office.ask("POST", "/admin/refunds", body | {"amount_nano": 300})
    assert first.status == 201
    assert first.json()["amount_nano"] == 300
    assert (await office.ask("POST", "/admin/refunds", body)).json() == first.json()
    await office.call(300)
    with pytest.raises(BudgetSpent):
        await office.call(1)
    del body["id"]
    too_much = await office.ask("POST", "/admin/refunds", body | {"amount_nano": 701})
    assert (too_much.status, too_much.json()["error"]["kind"]) == (400, "invalid_request")
    rest = await office.ask("POST", "/admin/refunds", body)
    assert rest.json()["amount_nano"] == 700
    assert (await office.ask("POST", "/admin/refunds", body)).status == 409
    await office.project()
    assert (await office.ask("POST", "/admin/refunds", body)).status == 409
    (state,) = (await office.ask("GET", "/admin/budgets")).json()["budgets"]
    assert state["spent_nano"] == 300
    given = [detail for _, action, _, detail in office.changes() if action == "refund.given"]
    assert given == [
        {"amount_nano": 300, "reason": "failed"},
        {"amount_nano": 700, "reason": "failed"},
    ]


async def test_a_refund_of_an_older_call_is_not_a_later_budgets(office: Office):
    old = await office.call(500)
    office.clock.move(1)
    await office.ask("POST", "/admin/budgets", terms(period="once"))
    await office.call(1_000)
    await office.project()
    body = {"generation_id": old, "reason": "goodwill"}
    assert (await office.ask("POST", "/admin/refunds", body)).status == 201
    with pytest.raises(BudgetSpent):
        await office.call(1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"generation_id": "nothing", "reason": "failed"}, 404),
        ({"generation_id": "nothing", "reason": "because Ada said so"}, 400),
        ({"generation_id": "nothing", "reason": "failed", "id": "mine"}, 400),
        ({"reason": "failed"}, 400),
    ],
)
async def test_refunds_of_nothing(office: Office, body: dict[str, Any], status: int):
    assert (await office.ask("POST", "/admin/refunds", body)).status == status


async def test_strangers_give_nothing_back(office: Office):
    call = await office.call(10)
    await office.project()
    body = {"generation_id": call, "reason": "failed"}
    assert (await office.ask("POST", "/admin/refunds", body, "stranger")).status == 404


def test_clients_are_told_not_to_ask_again():
    error = BudgetSpent("spent")
    assert retry_headers(error) == [(b"x-should-retry", b"false")]
    openai, anthropic = OpenAIChat(), AnthropicMessages()
    assert (openai.status(error.kind), anthropic.status(error.kind)) == (429, 402)
    told = json.loads(openai.error(error.kind, error.message, None, "r"))["error"]
    assert (told["type"], told["code"]) == ("insufficient_quota", "insufficient_quota")
    told = json.loads(anthropic.error(error.kind, error.message, None, "r"))["error"]
    assert told["type"] == "billing_error"
