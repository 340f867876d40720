from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from starlette.requests import Request

from headrace.edge.sign_in import client_of
from support.desk import NOBODY, PASSWORD, URL, Desk, Visitor, cookie_of, open_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with open_desk(tmp_path) as opened:
        yield opened


async def test_a_link_signs_in_once(desk: Desk):
    reply = await desk.ask(NOBODY, "GET", desk.house.link_path)
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"]
    for word in ("headrace_session_4747=", "HttpOnly", "Path=/", "SameSite=lax"):
        assert word in cookie
    assert "Secure" not in cookie
    used = await desk.ask(NOBODY, "GET", desk.house.link_path)
    assert used.status == 401
    assert b"headrace up" in used.body
    assert b"<script" not in used.body
    owner = Visitor(cookie=cookie_of(reply))
    assert (await desk.ask(owner, "GET", desk.house.link_path)).status == 303
    assert (await desk.ok(owner, "GET", "/admin/me"))["account"]["role"] == "owner"
    out = await desk.ask(owner, "POST", "/chat/sign-out")
    assert out.status == 204
    assert (await desk.ask(owner, "GET", "/admin/me")).status == 401


async def test_a_link_without_a_token_leads_to_the_front_page(desk: Desk):
    reply = await desk.ask(NOBODY, "GET", "/signin")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    assert "set-cookie" not in reply.headers


async def test_cookies_are_secure_where_the_browser_came_by_tls(desk: Desk):
    headers = [("x-forwarded-proto", "https"), ("origin", URL.replace("http:", "https:"))]
    reply = await desk.ask(NOBODY, "GET", desk.house.link_path, headers=headers)
    (cookie,) = reply.cookies
    for word in ("__Host-headrace_session_4747=", "Secure", "HttpOnly", "Path=/", "SameSite=lax"):
        assert word in cookie
    assert "domain" not in cookie.lower()
    named = cookie.partition(";")[0]
    came = [("cookie", named), *headers]
    assert (await desk.ask(NOBODY, "GET", "/admin/me", headers=came)).status == 200
    # One that somebody without TLS has set counts for nothing, nor does this one without TLS.
    planted = [("cookie", named.removeprefix("__Host-")), *headers]
    assert (await desk.ask(NOBODY, "GET", "/admin/me", headers=planted)).status == 401
    assert (await desk.ask(NOBODY, "GET", "/admin/me", headers=[("cookie", named)])).status == 401
    out = await desk.ask(NOBODY, "POST", "/chat/sign-out", headers=came)
    assert "Secure" in out.headers["set-cookie"]
    assert (await desk.ask(NOBODY, "GET", "/admin/me", headers=came)).status == 401


async def test_the_first_owner_chooses_address_and_password(desk: Desk):
    owner = await desk.follow(desk.house.link_path)
    me = await desk.ok(owner, "GET", "/admin/me")
    assert me["account"] | {"id": ""} == {
        "id": "",
        "name": "Owner",
        "email": None,
        "role": "owner",
        "team_id": None,
        "has_password": False,
        "has_oidc": False,
    }
    early = await desk.ask(owner, "PUT", "/admin/me/password", {"new": PASSWORD})
    assert (early.status, "email" in early.json()["error"]["hint"]) == (400, True)
    path = f"/admin/accounts/{me['account']['id']}"
    await desk.ok(owner, "PATCH", path, {"name": "Ada", "email": "Ada@Example.org"})
    await desk.ok(owner, "PUT", "/admin/me/password", {"new": PASSWORD})
    reply = await desk.sign_in(" ADA@example.ORG ")
    assert reply.status == 204
    again = Visitor(cookie=cookie_of(reply))
    found = (await desk.ok(again, "GET", "/admin/me"))["account"]
    assert (found["name"], found["email"], found["has_password"]) == (
        "Ada",
        "ada@example.org",
        True,
    )


async def test_wrong_unknown_and_closed_look_alike(desk: Desk):
    member = await desk.person("member", "bob@example.org")
    await desk.person("member", "eve@example.org")
    gone = await desk.ok(desk.operator, "GET", "/admin/accounts")
    eve = next(each["id"] for each in gone["accounts"] if each["email"] == "eve@example.org")
    await desk.ok(desk.operator, "DELETE", f"/admin/accounts/{eve}")
    replies = [
        await desk.sign_in("bob@example.org", "not the password at all"),
        await desk.sign_in("nobody@example.org"),
        await desk.sign_in("eve@example.org"),
        await desk.sign_in("no address"),
        await desk.sign_in("", ""),
    ]
    assert {reply.status for reply in replies} == {401}
    assert len({reply.body for reply in replies}) == 1
    assert (await desk.ask(member, "GET", "/admin/me")).status == 200


async def test_signing_in_takes_the_place_of_the_session_before(desk: Desk):
    first = await desk.person("member", "bob@example.org")
    given = {"email": "bob@example.org", "password": PASSWORD}
    reply = await desk.ask(first, "POST", "/signin/password", given)
    second = Visitor(cookie=cookie_of(reply))
    assert second.cookie != first.cookie
    assert (await desk.ask(first, "GET", "/admin/me")).status == 401
    assert (await desk.ask(second, "GET", "/admin/me")).status == 200


async def test_a_new_password_ends_all_other_sessions(desk: Desk):
    here = await desk.person("member", "bob@example.org")
    there = Visitor(cookie=cookie_of(await desk.sign_in("bob@example.org")))
    change = {"current": "wrong", "new": "nine clocks strike in the valley"}
    assert (await desk.ask(here, "PUT", "/admin/me/password", change)).status == 401
    assert (await desk.ask(there, "GET", "/admin/me")).status == 200
    change["current"] = PASSWORD
    assert (await desk.ask(here, "PUT", "/admin/me/password", change)).status == 204
    assert (await desk.ask(here, "GET", "/admin/me")).status == 200
    assert (await desk.ask(there, "GET", "/admin/me")).status == 401
    assert (await desk.sign_in("bob@example.org")).status == 401
    assert (await desk.sign_in("bob@example.org", change["new"])).status == 204


async def test_a_new_invitation_voids_the_password_and_all_sessions(desk: Desk):
    member = await desk.person("member", "bob@example.org")
    path = f"/admin/accounts/{member.account_id}/invite"
    first = (await desk.ok(desk.operator, "POST", path))["path"]
    second = (await desk.ok(desk.operator, "POST", path))["path"]
    assert (await desk.ask(member, "GET", "/admin/me")).status == 401
    assert (await desk.sign_in("bob@example.org")).status == 401
    assert (await desk.ask(NOBODY, "GET", first)).status == 401
    back = await desk.follow(second)
    assert (await desk.ok(back, "GET", "/admin/me"))["account"]["has_password"] is False


async def test_no_page_of_another_site_signs_anybody_in(desk: Desk):
    await desk.person("member", "bob@example.org")
    given = {"email": "bob@example.org", "password": PASSWORD}
    for headers in ([("origin", "https://evil.example")], [("origin", "")]):
        visitor = Visitor()
        reply = await desk.ask(visitor, "POST", "/signin/password", given, headers)
        assert reply.status == 403, headers
        assert "set-cookie" not in reply.headers


async def test_an_address_is_tried_ten_times_in_a_row_at_most(desk: Desk):
    await desk.person("member", "bob@example.org")
    statuses = [
        (await desk.sign_in("bob@example.org", f"wrong number {number}")).status
        for number in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    refused = await desk.sign_in("bob@example.org")
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert (await desk.sign_in("carol@example.org")).status == 401


async def test_what_is_no_sign_in_is_refused(desk: Desk):
    bodies: tuple[object, ...] = ({}, {"email": "a@b.example"}, {"email": 1}, [], "x" * 20_000)
    for body in bodies:
        reply = await desk.ask(NOBODY, "POST", "/signin/password", body)
        assert reply.status in {400, 413}, body


async def test_without_a_provider_there_is_none(desk: Desk):
    methods = await desk.ok(NOBODY, "GET", "/signin/methods")
    assert methods == {"password": True, "oidc": None}
    for path in ("/signin/oidc", "/signin/oidc/callback?state=x&code=y"):
        reply = await desk.ask(NOBODY, "GET", path)
        assert reply.status == 404
        assert b"no provider" in reply.body.lower()


async def test_no_request_says_where_to_go_on(desk: Desk):
    for key in ("next", "redirect", "return_to", "redirect_uri", "url"):
        path = f"{desk.house.link_path}&{key}=https://evil.example"
        reply = await desk.ask(NOBODY, "GET", path, headers=[("referer", "https://evil.example")])
        assert "evil" not in reply.headers.get("location", "") + reply.body.decode()
    assert URL.startswith("http://localhost")


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "forged, 198.51.100.1", "198.51.100.1"),
        ("::1", "198.51.100.1", "198.51.100.1"),
        ("unknown", "198.51.100.1", "unknown"),
    ],
)
def test_only_a_proxy_of_this_machine_tells_who_the_client_is(
    peer: str, told: str | None, client: str
):
    headers = [] if told is None else [(b"x-forwarded-for", told.encode())]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert client_of(Request(scope)) == client
