"""Every route of the whole Headrace, asked by everybody who may come.

A route that has no line in `RULES` fails, and so does a line whose route is gone: whoever adds a
route says here, too, who may call it. Whoever adds one that names an object says in `OBJECTS`
how a stranger would ask for it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.chat.pages import STATIC
from headrace.config.secrets import load_or_create
from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.edge.routes import RuledRoute
from headrace.identity.keys import KeyRing
from headrace.identity.sessions import Sessions
from headrace.store import accounts
from headrace.store.database import Database
from headrace.store.home import bootstrap
from support.desk import NOBODY, Desk, Visitor, open_desk

CLOCK = SystemClock()
SOME_ID = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"

RULES = """
key     POST   /v1/chat/completions
key     POST   /v1/responses
key     POST   /v1/responses/input_tokens
key     GET    /v1/responses/{response_id}
key     DELETE /v1/responses/{response_id}
key     POST   /v1/responses/{response_id}/cancel
key     GET    /v1/responses/{response_id}/input_items
key     POST   /v1/outcomes
key     POST   /v1/embeddings
key     POST   /v1/moderations
key     POST   /v1/messages
key     POST   /v1/messages/count_tokens
look    GET    /v1/models
look    GET    /v1/models/{model:path}
key     POST   /v1/files
key     GET    /v1/files
key     GET    /v1/files/{file_id}
key     GET    /v1/files/{file_id}/content
key     DELETE /v1/files/{file_id}
key     POST   /v1/batches
key     GET    /v1/batches
key     GET    /v1/batches/{batch_id}
key     POST   /v1/batches/{batch_id}/cancel
key     POST   /v1/messages/batches
key     GET    /v1/messages/batches
key     GET    /v1/messages/batches/{batch_id}
key     DELETE /v1/messages/batches/{batch_id}
key     POST   /v1/messages/batches/{batch_id}/cancel
key     GET    /v1/messages/batches/{batch_id}/results
public  GET    /healthz
public  GET    /readyz
public  GET    /metrics
public  GET    /signin
public  GET    /signin/methods
public  POST   /signin/password
public  GET    /signin/oidc
public  GET    /signin/oidc/callback
public  GET    /openapi.json
public  GET    /
public  GET    /c/{conversation}
public  GET    /manage
public  GET    /manage/{page:path}
public  GET    /sign-in
public  GET    /assets/{name:path}
session GET    /admin/me
session PUT    /admin/me/password
owner   POST   /admin/sign-in-links
member  POST   /admin/keys
session GET    /admin/keys
member  POST   /admin/keys/{id}/rotate
member  DELETE /admin/keys/{id}
viewer  GET    /admin/accounts
admin   POST   /admin/accounts
admin   PATCH  /admin/accounts/{id}
admin   DELETE /admin/accounts/{id}
admin   POST   /admin/accounts/{id}/invite
admin   POST   /admin/accounts/{id}/erase
viewer  GET    /admin/teams
admin   POST   /admin/teams
admin   PATCH  /admin/teams/{id}
admin   DELETE /admin/teams/{id}
viewer  GET    /admin/budgets
admin   POST   /admin/budgets
admin   PATCH  /admin/budgets/{id}
admin   DELETE /admin/budgets/{id}
admin   POST   /admin/refunds
viewer  GET    /admin/limits
admin   PUT    /admin/limits
admin   DELETE /admin/limits/{node_id}/{kind}/{period}
viewer  GET    /admin/prices
admin   POST   /admin/prices
admin   POST   /admin/prices/update
viewer  GET    /admin/machines
admin   POST   /admin/machines
viewer  GET    /admin/assets
admin   POST   /admin/assets
session GET    /admin/reports/spend
viewer  GET    /admin/reports/units
viewer  GET    /admin/reports/margin
viewer  GET    /admin/reports/payback
viewer  GET    /admin/reports/burn
viewer  GET    /admin/reports/breakeven
session GET    /admin/reports/cache
viewer  GET    /admin/reports/machines
session GET    /admin/receipts
session GET    /admin/receipts/{id}
viewer  GET    /admin/audit
viewer  GET    /admin/balances
viewer  GET    /admin/traffic
viewer  GET    /admin/models
member  POST   /chat/conversations/{conversation}/messages
session GET    /chat/conversations/{conversation}/messages/{message}/stream
session POST   /chat/conversations/{conversation}/messages/{message}/stop
member  POST   /chat/conversations/{conversation}/messages/{message}/regenerate
member  POST   /chat/conversations/{conversation}/messages/{message}/continue
session GET    /chat/conversations
member  POST   /chat/conversations
session GET    /chat/conversations/{conversation}
session PATCH  /chat/conversations/{conversation}
session DELETE /chat/conversations/{conversation}
session PUT    /chat/conversations/{conversation}/head
session GET    /chat/session
session POST   /chat/sign-out
"""
"""Who may call a route; `look` is what viewers' keys may, too. The last one ends a session."""

ROLES = {
    "session": {"owner", "admin", "member", "viewer"},
    "member": {"owner", "admin", "member"},
    "viewer": {"owner", "admin", "viewer"},
    "admin": {"owner", "admin"},
    "owner": {"owner"},
}
NOTHING: dict[str, object] = {}
# Asks another server for prices; who may do that is seen in who may not.
REACHES_OUT = "/admin/prices/update"


class Line(msgspec.Struct, frozen=True):
    rule: str
    method: str
    path: str

    @property
    def filled(self) -> str:
        return re.sub(r"{[^}]+}", SOME_ID, self.path)


LINES = [Line(*line.split()) for line in RULES.strip().splitlines()]


class Guest(msgspec.Struct, frozen=True):
    """Somebody at the door: by which way, in which role; None: nobody whom we know."""

    visitor: Visitor
    role: str | None
    has_key: bool = False


class Town(msgspec.Struct, frozen=True):
    """The house, and everybody who may come."""

    desk: Desk
    guests: dict[str, Guest]
    objects: dict[str, str]


@asynccontextmanager
async def _town(folder: Path) -> AsyncGenerator[Town]:
    stranger, stranger_key, expired = await _before(folder / "data")
    async with open_desk(folder) as desk:
        owner = await desk.follow(desk.house.link_path)
        people = {
            role: await desk.person(role, f"{role}@example.org")
            for role in ("admin", "member", "viewer")
        }
        gone = await desk.person("member", "gone@example.org")
        guests = {
            "nobody": Guest(NOBODY, None),
            "a cookie of nobody's": Guest(Visitor(cookie="x" * 43), None),
            "a key of nobody's": Guest(Visitor(key="hr-" + "x" * 43), None),
            "the owner": Guest(owner, "owner"),
            "the owner's command": Guest(desk.operator, "owner", has_key=True),
            "a stranger": Guest(stranger, "owner"),
            "a stranger's key": Guest(stranger_key, None, has_key=True),
            "an expired key": Guest(expired, None),
        }
        made: dict[str, str] = {}
        for role, visitor in people.items():
            guests[f"{role} by cookie"] = Guest(visitor, role)
            key = await _key(desk, visitor.account_id)
            guests[f"{role} by key"] = Guest(Visitor(key=key["secret"]), None, has_key=True)
            made["key"] = key["id"]
        revoked = await _key(desk, people["member"].account_id)
        await desk.ok(desk.operator, "DELETE", f"/admin/keys/{revoked['id']}")
        guests["a revoked key"] = Guest(Visitor(key=revoked["secret"]), None)
        gone_key = await _key(desk, gone.account_id)
        await desk.ok(desk.operator, "DELETE", f"/admin/accounts/{gone.account_id}")
        guests["a closed account's cookie"] = Guest(gone, None)
        guests["a closed account's key"] = Guest(Visitor(key=gone_key["secret"]), None)
        team = await desk.ok(desk.operator, "POST", "/admin/teams", {"name": "Research"})
        objects = {"account": people["member"].account_id, "team": team["id"], **made}
        yield Town(desk, guests, objects)


async def _before(data: Path) -> tuple[Visitor, Visitor, Visitor]:
    """Another organisation, and a key that has expired when the house opens."""
    database = Database.at(data, None)
    try:
        database.migrate(CLOCK)
        home = await database.write(lambda connection: bootstrap(connection, CLOCK))
        pepper = load_or_create(data, "pepper")
        ring, sessions = KeyRing(database, pepper, CLOCK), Sessions(database, pepper, CLOCK)
        stranger = Scope(new_id(CLOCK), new_id(CLOCK))

        def add(connection: Connection) -> None:
            accounts.add_organisation(
                connection, stranger.organisation_id, name="Other", created_ns=CLOCK.now_ns()
            )
            accounts.add_person(
                connection, stranger, role="owner", name="Eve", created_ns=CLOCK.now_ns()
            )

        await database.write(add)
        cookie = await sessions.redeem(await sessions.make_link(stranger))
        key = await ring.create(stranger, "theirs")
        expires_ns = CLOCK.now_ns() + 20_000_000
        brief = await ring.create(home.owner, "brief", expires_ns=expires_ns)
        while CLOCK.now_ns() <= expires_ns:
            await asyncio.sleep(0.005)
        return Visitor(cookie=cookie), Visitor(key=key.secret), Visitor(key=brief.secret)
    finally:
        database.close()


async def _key(desk: Desk, account_id: str) -> dict[str, Any]:
    wanted = {"name": "key", "account_id": account_id}
    return await desk.ok(desk.operator, "POST", "/admin/keys", wanted)


def _is_file(route: RuledRoute) -> bool:
    return (STATIC / route.path.removeprefix("/")).is_file()


def _expected(line: Line, name: str, guest: Guest) -> set[int]:
    """The statuses that a guest may be refused with; empty: is let in."""
    if line.rule == "public":
        return set()
    if line.rule in {"key", "look"}:
        if not guest.has_key:
            return {401}
        return {403} if name == "viewer by key" and line.rule == "key" else set()
    if guest.role is None:
        return {401}
    return set() if guest.role in ROLES[line.rule] else {403}


async def test_everybody_gets_as_far_as_the_table_says(tmp_path: Path):
    async with _town(tmp_path) as town:
        served = {
            (method, route.path)
            for route in town.desk.house.routes
            if not _is_file(route)
            for method in (route.methods or set()) - {"HEAD"}
        }
        assert served == {(line.method, line.path) for line in LINES}, "add a line to RULES"
        wrong: list[str] = []
        for name, guest in town.guests.items():
            for line in LINES:
                expected = _expected(line, name, guest)
                if line.path == REACHES_OUT and not expected:
                    continue
                body = None if line.method == "GET" else NOTHING
                try:
                    reply = await town.desk.ask(guest.visitor, line.method, line.filled, body)
                except Exception as error:  # noqa: BLE001 - all of them are told together
                    wrong.append(f"{name}: {line.method} {line.path} raises {error!r}")
                    continue
                refused = {reply.status} & {401, 403}
                if refused != expected or reply.status in {500, 502, 504}:
                    wrong.append(f"{name}: {line.method} {line.path} is {reply.status}")
        assert not wrong, "\n".join(wrong)


async def test_changes_with_a_cookie_come_from_our_own_pages(tmp_path: Path):
    async with open_desk(tmp_path) as desk:
        owner = await desk.follow(desk.house.link_path)
        for line in LINES:
            if line.method == "GET" or line.rule not in ROLES:
                continue
            for origin in ("https://evil.example", "null", ""):
                reply = await desk.ask(
                    owner, line.method, line.filled, {}, headers=[("origin", origin)]
                )
                assert reply.status == 403, (line, origin)
        assert (await desk.ask(owner, "GET", "/admin/me")).status == 200


OBJECTS: dict[str, tuple[str, object]] = {
    "POST /admin/keys/{id}/rotate": ("key", {"grace_s": 0}),
    "DELETE /admin/keys/{id}": ("key", None),
    "PATCH /admin/accounts/{id}": ("account", {"role": "viewer"}),
    "DELETE /admin/accounts/{id}": ("account", None),
    "POST /admin/accounts/{id}/invite": ("account", None),
    "POST /admin/accounts/{id}/erase": ("account", None),
    "PATCH /admin/teams/{id}": ("team", {"name": "Ours"}),
    "DELETE /admin/teams/{id}": ("team", None),
    "PATCH /admin/budgets/{id}": ("budget", {"limit_nano": 1}),
    "DELETE /admin/budgets/{id}": ("budget", None),
    "DELETE /admin/limits/{node_id}/{kind}/{period}": ("limit", None),
    "GET /admin/receipts/{id}": ("receipt", None),
}
"""Routes that name an object of the organisation; some have tests of their own besides."""
ELSEWHERE = {"budget", "limit", "receipt"}


async def test_no_stranger_reaches_what_is_ours(tmp_path: Path):
    named = {
        f"{line.method} {line.path}"
        for line in LINES
        if "{" in line.path and line.path.startswith("/admin")
    }
    assert named == set(OBJECTS), "add a line to OBJECTS"
    async with _town(tmp_path) as town:
        stranger = town.guests["a stranger"].visitor
        before = [await _shown(town.desk, path) for path in ("keys", "accounts", "teams")]
        for route, (kind, body) in OBJECTS.items():
            if kind in ELSEWHERE:
                continue
            method, path = route.split()
            filled = re.sub(r"{[^}]+}", town.objects[kind], path)
            reply = await town.desk.ask(stranger, method, filled, body)
            assert reply.status == 404, (route, reply.body)
        wanted: list[dict[str, object]] = [
            {"name": "x", "account_id": town.objects["account"]},
        ]
        for each in wanted:
            assert (await town.desk.ask(stranger, "POST", "/admin/keys", each)).status == 404
        joined = {"kind": "person", "name": "Mallory", "team_id": town.objects["team"]}
        assert (await town.desk.ask(stranger, "POST", "/admin/accounts", joined)).status == 400
        assert before == [await _shown(town.desk, path) for path in ("keys", "accounts", "teams")]
        for path in ("keys", "accounts", "teams"):
            theirs = await town.desk.ok(stranger, "GET", f"/admin/{path}")
            ours = {each["id"] for each in before[("keys", "accounts", "teams").index(path)]}
            assert not ours & {each["id"] for each in theirs[path]}


async def _shown(desk: Desk, path: str) -> list[dict[str, Any]]:
    found = (await desk.ok(desk.operator, "GET", f"/admin/{path}"))[path]
    return [{**each, "last_used_ns": None} for each in found]


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
async def test_nobody_makes_owners_but_owners(tmp_path: Path, role: str):
    async with open_desk(tmp_path) as desk:
        visitor = await desk.person(role, f"{role}@example.org")
        owner = (await desk.ok(desk.operator, "GET", "/admin/me"))["account"]["id"]
        own = f"/admin/accounts/{visitor.account_id}"
        theirs = f"/admin/accounts/{owner}"
        new = {"kind": "person", "name": "Mallory", "role": "owner"}
        attempts: list[tuple[str, str, object]] = [
            ("POST", "/admin/accounts", new),
            ("PATCH", own, {"role": "owner"}),
            ("PATCH", theirs, {"role": "member"}),
            ("PATCH", theirs, {"email": "mallory@example.org"}),
            ("POST", f"{theirs}/invite", None),
            ("POST", f"{theirs}/erase", None),
            ("DELETE", theirs, None),
            ("POST", "/admin/keys", {"name": "x", "account_id": owner}),
            ("POST", "/admin/sign-in-links", None),
        ]
        for method, path, body in attempts:
            reply = await desk.ask(visitor, method, path, body)
            assert reply.status in {403, 404}, (method, path, reply.body)
        found = (await desk.ok(desk.operator, "GET", "/admin/accounts"))["accounts"]
        assert [each["id"] for each in found if each["role"] == "owner"] == [owner]
