"""The admin routes of limits: who may, what is refused, and that changes bind at once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp

from headrace.core.clock import ManualClock
from headrace.core.errors import RateLimited
from headrace.core.scope import Lineage, Scope
from headrace.edge.routes import create_app
from headrace.ledger.audit import AuditLog
from headrace.ledger.journal import Journal
from headrace.ledger.limits import Limits
from headrace.ledger.reader import read
from headrace.ledger.records import AUDITED, Audited
from headrace.serving.admin.limits import limit_routes
from headrace.serving.app import not_found
from headrace.store.accounts import Role
from headrace.store.database import Database
from headrace.store.sessions import Visitor
from support.asgi import Reply, request
from support.people import People, move_in

ADA = Lineage("acme", None, "member", "key-1")


class _Doorman:
    """Lets everybody in as who they say they are."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        scope: Scope = getattr(self._people, credential)
        role: Role = "owner" if credential in {"owner", "stranger"} else "member"
        return Visitor(scope, "admin" if credential == "admin" else role)


class Office(msgspec.Struct):
    app: ASGIApp
    limits: Limits
    journal: Journal

    async def ask(
        self, method: str, path: str = "/admin/limits", body: object = None, who: str = "admin"
    ) -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [("authorization", f"Bearer {who}")]
        return await request(self.app, method, path, headers=headers, body=sent)

    def changes(self) -> list[Audited]:
        return [
            msgspec.json.decode(one.data, type=Audited)
            for one in read(self.journal.directory, "control")
            if one.kind == AUDITED
        ]


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    people = await database.write(move_in)
    clock = ManualClock()
    journal = Journal.open(tmp_path / "journal", "control", clock)
    limits = Limits(database, tmp_path / "limits.page", clock)
    await limits.reload()
    audit = AuditLog(journal, clock)
    routes = limit_routes(database, limits, audit, clock, changed=limits.reload)
    app = create_app(
        routes,
        doorman=_Doorman(people),
        allowed_hosts=frozenset(),
        not_found=not_found(clock),
    )
    yield Office(app, limits, journal)
    limits.close()
    journal.close()


def limit(**changed: object) -> dict[str, Any]:
    body = {
        "node_kind": "account",
        "node_id": "member",
        "kind": "requests",
        "period": "minute",
        "maximum": 2,
    }
    return body | changed


async def test_a_limit_binds_from_its_setting_to_its_removal(office: Office):
    assert (await office.ask("GET")).json() == {"limits": []}
    reply = await office.ask("PUT", body=limit())
    assert (reply.status, reply.json()) == (200, limit(used=0))
    office.limits.take(ADA, input_tokens=1, output_tokens=1)
    office.limits.take(ADA, input_tokens=1, output_tokens=1)
    with pytest.raises(RateLimited):
        office.limits.take(ADA, input_tokens=1, output_tokens=1)
    assert (await office.ask("GET")).json() == {"limits": [limit(used=2)]}
    assert (await office.ask("PUT", body=limit(maximum=4))).json()["maximum"] == 4
    assert (await office.ask("DELETE", "/admin/limits/member/requests/minute")).status == 204
    assert office.limits.take(ADA, input_tokens=1, output_tokens=1) is None
    assert (await office.ask("GET")).json() == {"limits": []}


async def test_changes_are_written_down_with_who_made_them(office: Office):
    await office.ask("PUT", body=limit())
    await office.ask("DELETE", "/admin/limits/member/requests/minute", who="owner")
    told = [(one.actor_id, one.action, one.object_id, one.detail) for one in office.changes()]
    what = {"kind": "requests", "period": "minute"}
    assert told == [
        ("admin", "limit.set", "member", what | {"maximum": 2}),
        ("owner", "limit.removed", "member", what),
    ]


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"kind": "concurrent"}, 400, "has the period now"),
        ({"period": "now"}, 400, "has the period now"),
        ({"maximum": 0}, 400, "maximum"),
        ({"maximum": 10**9 + 1}, 400, "take it away instead"),
        ({"maximum": 10**12 + 1, "period": "day"}, 400, "take it away instead"),
        ({"kind": "tokens"}, 400, "kind"),
        ({"node_kind": "planet"}, 400, "node_kind"),
        ({"node_id": "stranger"}, 404, "no account stranger"),
        ({"node_kind": "organisation", "node_id": "other"}, 404, "no organisation other"),
        ({"extra": 1}, 400, "extra"),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    office: Office, changed: dict[str, object], status: int, words: str
):
    reply = await office.ask("PUT", body=limit(**changed))
    assert reply.status == status
    assert words in reply.json()["error"]["message"]
    assert (await office.ask("GET")).json() == {"limits": []}
    assert office.changes() == []


@pytest.mark.parametrize("path", ["member/requests/minute", "member/tokens/minute", "x/y/z"])
async def test_what_is_not_there_cannot_be_removed(office: Office, path: str):
    assert (await office.ask("DELETE", f"/admin/limits/{path}")).status == 404


async def test_members_and_other_organisations_are_kept_out(office: Office):
    await office.ask("PUT", body=limit())
    for method in ("GET", "PUT"):
        assert (await office.ask(method, body=limit(), who="member")).status == 403
    path = "/admin/limits/member/requests/minute"
    assert (await office.ask("DELETE", path, who="member")).status == 403
    assert (await office.ask("DELETE", path, who="stranger")).status == 404
    assert (await office.ask("GET", who="stranger")).json() == {"limits": []}
