"""Accounts, teams and keys over HTTP: what is told, what is written down, what a key may do."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from headrace.ledger import reader
from headrace.ledger.records import Audited, decode
from support.asgi import request
from support.desk import Desk, Visitor, open_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with open_desk(tmp_path) as opened:
        yield opened


async def _chat(desk: Desk, visitor: Visitor, **headers: str) -> tuple[int, Any]:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hello"}]}
    sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
    reply = await desk.ask(visitor, "POST", "/v1/chat/completions", body, sent)
    return reply.status, reply.json()


async def _key(desk: Desk, account_id: str | None = None, **scopes: list[str]) -> Visitor:
    wanted = {
        "name": "key",
        "purpose": scopes.get("purposes", ["api"])[0],
        "account_id": account_id,
        "scopes": scopes or None,
    }
    made = await desk.ok(desk.operator, "POST", "/admin/keys", wanted)
    return Visitor(key=made["secret"])


async def test_a_key_s_scopes_hold_on_the_road_of_a_call(desk: Desk):
    free, tight = await _key(desk), await _key(desk, models=["scr*"], routes=["chat", "models"])
    for key in (free, tight):
        assert (await _chat(desk, key))[0] == 200
        listed = await desk.ok(key, "GET", "/v1/models")
        assert [each["id"] for each in listed["data"]] == ["scripted"]
    other = await _key(desk, models=["qwen*"])
    status, refused = await _chat(desk, other)
    assert (status, "'models' allows qwen*" in refused["error"]["message"]) == (403, True)
    assert (await desk.ok(other, "GET", "/v1/models"))["data"] == []
    assert (await desk.ask(other, "GET", "/v1/models/scripted")).status == 404
    elsewhere = await _key(desk, routes=["embeddings"])
    assert (await _chat(desk, elsewhere))[0] == 403
    for path in ("/v1/models", "/v1/files", "/v1/batches"):
        assert (await desk.ask(elsewhere, "GET", path)).status == 403, path


async def test_a_call_chooses_its_purpose(desk: Desk):
    key = await _key(desk, purposes=["ci", "eval"])
    assert (await _chat(desk, key))[0] == 200
    assert (await _chat(desk, key, headrace_purpose="eval"))[0] == 200
    assert (await _chat(desk, key, headrace_purpose="other"))[0] == 403
    assert (await _chat(desk, key, headrace_purpose="chat"))[0] == 400


async def test_a_demotion_counts_for_keys_at_once(desk: Desk):
    member = await desk.person("member", "bob@example.org")
    key = await _key(desk, member.account_id)
    assert (await _chat(desk, key))[0] == 200
    path = f"/admin/accounts/{member.account_id}"
    await desk.ok(desk.operator, "PATCH", path, {"role": "viewer"})
    assert (await _chat(desk, key))[0] == 403
    assert (await desk.ask(member, "POST", "/admin/keys", {"name": "more"})).status == 403
    await desk.ok(desk.operator, "DELETE", path)
    assert (await _chat(desk, key))[0] == 401


async def test_viewers_see_names_but_no_addresses(desk: Desk):
    viewer = await desk.person("viewer", "eve@example.org")
    admin = await desk.person("admin", "ada@example.org")
    for visitor, shown in ((viewer, {None}), (admin, {None, "eve@example.org", "ada@example.org"})):
        found = (await desk.ok(visitor, "GET", "/admin/accounts"))["accounts"]
        assert {each["email"] for each in found} == shown
        assert "Admin" in {each["name"] for each in found}


async def test_members_see_and_change_their_own_keys(desk: Desk):
    one, two = [await desk.person("member", f"{n}@example.org") for n in ("one", "two")]
    mine = await desk.ok(one, "POST", "/admin/keys", {"name": "mine", "expires_days": 1})
    keys = (await desk.ok(one, "GET", "/admin/keys"))["keys"]
    assert [(key["id"], key["account_id"]) for key in keys] == [(mine["id"], one.account_id)]
    assert (await desk.ok(two, "GET", "/admin/keys"))["keys"] == []
    for method, path in (("POST", f"{mine['id']}/rotate"), ("DELETE", mine["id"])):
        reply = await desk.ask(two, method, f"/admin/keys/{path}", {})
        assert reply.status == 404
    theirs = {"name": "x", "account_id": one.account_id}
    assert (await desk.ask(two, "POST", "/admin/keys", theirs)).status == 404
    rotated = await desk.ok(one, "POST", f"/admin/keys/{mine['id']}/rotate", {"grace_s": 5})
    assert rotated["id"] == mine["id"]
    await desk.ok(one, "DELETE", f"/admin/keys/{mine['id']}")


async def test_an_admin_gets_no_key_of_an_owner(desk: Desk):
    admin = await desk.person("admin", "ada@example.org")
    owner = await desk.follow(desk.house.link_path)
    made = await desk.ok(owner, "POST", "/admin/keys", {"name": "mine"})
    reply = await desk.ask(admin, "POST", f"/admin/keys/{made['id']}/rotate", {})
    assert reply.status == 403
    # But may stop one that leaked.
    await desk.ok(admin, "DELETE", f"/admin/keys/{made['id']}")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/keys", {"name": "x", "scopes": {"routes": ["everything"]}}),
        ("/admin/keys", {"name": "x", "scopes": {"tokens": 1}}),
        ("/admin/keys", {"name": "x", "expires_days": 0}),
        ("/admin/keys", {"name": "x", "expires_days": 10**9}),
        ("/admin/keys", {"name": "x", "purpose": "chat"}),
        ("/admin/accounts", {"kind": "robot", "name": "x"}),
        ("/admin/accounts", {"kind": "person", "name": "x", "role": "king"}),
        ("/admin/accounts", {"kind": "person"}),
        ("/admin/teams", {"name": ""}),
        ("/admin/teams", {"name": "x", "more": 1}),
        ("/admin/teams", []),
    ],
)
async def test_what_cannot_be_meant_is_refused(desk: Desk, path: str, body: object):
    reply = await desk.ask(desk.operator, "POST", path, body)
    assert (reply.status, reply.json()["error"]["kind"]) == (400, "invalid_request")


async def test_nothing_is_left_of_who_was_erased(desk: Desk, tmp_path: Path):
    ada = await desk.person("member", "countess@example.org")
    path = f"/admin/accounts/{ada.account_id}"
    await desk.ok(desk.operator, "PATCH", path, {"name": "Lovelace", "email": "lady@example.org"})
    await desk.ok(ada, "POST", "/admin/keys", {"name": "analytical"})

    def found() -> set[bytes]:
        written = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
        return {
            word for word in (b"countess", b"Lovelace", b"lady@", b"analytical") if word in written
        }

    assert len(found()) == 4
    await desk.ok(desk.operator, "POST", f"{path}/erase")
    assert found() == set()


@pytest.mark.parametrize("path", ["accounts", "teams", "keys"])
async def test_bytes_that_are_no_text_are_refused(desk: Desk, path: str):
    headers = desk.operator.headers()
    body = b'{"name":"\xff"}'
    app = desk.house.app
    reply = await request(app, "POST", f"/admin/{path}", headers=headers, body=body)
    assert reply.status == 400


@pytest.mark.parametrize("path", ["receipts?from_ns=", "receipts?limit=", "reports/spend?to_ns="])
async def test_numbers_that_are_none_are_refused(desk: Desk, path: str):
    for number in ("9223372036854775808", "9" * 19, "9" * 30, "-1", "1e3", "x", "٣"):
        sent = f"/admin/{path}{quote(number)}"
        assert (await desk.ask(desk.operator, "GET", sent)).status == 400, number


async def test_changes_are_written_down_without_names(tmp_path: Path):
    async with open_desk(tmp_path) as desk:
        team = (await desk.ok(desk.operator, "POST", "/admin/teams", {"name": "Lovelaces"}))["id"]
        ada = await desk.person("member", "countess@example.org")
        path = f"/admin/accounts/{ada.account_id}"
        change = {"name": "Augusta", "email": "lady@example.org", "team_id": team, "role": "admin"}
        await desk.ok(desk.operator, "PATCH", path, change)
        wanted = {"name": "analytical", "scopes": {"models": ["babbage*"], "routes": ["chat"]}}
        key = (await desk.ok(ada, "POST", "/admin/keys", wanted))["id"]
        await desk.ok(ada, "POST", f"/admin/keys/{key}/rotate", {})
        await desk.ok(desk.operator, "PATCH", f"/admin/teams/{team}", {"name": "Byrons"})
        await desk.ok(desk.operator, "DELETE", f"/admin/keys/{key}")
        await desk.ok(desk.operator, "DELETE", f"/admin/teams/{team}")
        await desk.ok(desk.operator, "POST", f"{path}/erase")
    folder = tmp_path / "data" / "journal"
    events = [
        record
        for record in (decode(each) for each in reader.read(folder, "control"))
        if isinstance(record, Audited)
    ]
    assert [(event.action, event.object_id) for event in events] == [
        ("team.made", team),
        ("account.made", ada.account_id),
        ("account.invited", ada.account_id),
        ("password.set", ada.account_id),
        ("account.changed", ada.account_id),
        ("key.made", key),
        ("key.rotated", key),
        ("team.renamed", team),
        ("key.revoked", key),
        ("team.closed", team),
        ("account.erased", ada.account_id),
    ]
    changed = events[4].detail
    assert changed == {"role": "admin", "team_id": team, "also": ["name", "email"]}
    assert events[5].detail["scopes"] == {"models": 1, "routes": ["chat"], "purposes": []}
    written = b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())
    words = (
        b"Lovelaces",
        b"countess",
        b"lady@",
        b"Augusta",
        b"analytical",
        b"Byrons",
        b"Member",
        b"babbage",
    )
    for word in words:
        assert word not in written, word
