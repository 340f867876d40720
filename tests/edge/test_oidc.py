"""Signing in with a real provider on this machine, over real HTTP."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.core.errors import ConfigError
from headrace.identity import oidc_provider
from support.asgi import Reply, request
from support.desk import NOBODY, PASSWORD, URL, Desk, Visitor, cookie_of, open_desk
from support.oidc_provider import (
    ADA,
    CLIENT_ID,
    CLIENT_SECRET,
    Key,
    Provider,
    ec_key,
    provider,
    rsa_key,
)

FLOW = "headrace_oidc_4747"
FIRST, OTHER, CURVE = rsa_key("first"), rsa_key("other"), ec_key("curve")


@pytest.fixture(params=[FIRST, CURVE], ids=["RS256", "ES256"])
def key(request: pytest.FixtureRequest) -> Key:
    return request.param


@pytest.fixture
async def there() -> AsyncGenerator[Provider]:
    async with provider(FIRST) as made:
        yield made


async def _open(folder: Path, there: Provider, **flags: object) -> AsyncGenerator[Desk]:
    secret = folder / "client-secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    settings = {
        "oidc_issuer": there.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret_file": str(secret),
        "oidc_name": "Example Works",
        **flags,
    }
    async with open_desk(folder, **settings) as desk:
        yield desk


@pytest.fixture
async def desk(tmp_path: Path, there: Provider) -> AsyncGenerator[Desk]:
    async for opened in _open(tmp_path, there):
        yield opened


@pytest.fixture
async def open_house(tmp_path: Path, there: Provider) -> AsyncGenerator[Desk]:
    """One that lets newcomers in."""
    async for opened in _open(tmp_path, there, oidc_newcomers="true"):
        yield opened


async def _depart(desk: Desk) -> tuple[str, str]:
    """Where the browser is sent, and the cookie that it keeps."""
    reply = await desk.ask(NOBODY, "GET", "/signin/oidc")
    assert reply.status == 303, reply.body
    (cookie,) = reply.cookies
    for word in (f"{FLOW}=", "HttpOnly", "SameSite=lax", "Path=/"):
        assert word in cookie
    return reply.headers["location"], cookie.partition(";")[0]


async def _arrive(desk: Desk, back: str, cookie: str) -> Reply:
    """The provider sends the browser back."""
    place = urlsplit(back)
    assert f"{place.scheme}://{place.netloc}" == URL
    headers = [("cookie", cookie), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    reply = await request(desk.house.app, "GET", f"{place.path}?{place.query}", headers=headers)
    assert any(each.startswith(f'{FLOW}=""') for each in reply.cookies)
    return reply


async def _sign_in(desk: Desk, there: Provider) -> Reply:
    """The whole way of a browser."""
    away, cookie = await _depart(desk)
    return await _arrive(desk, there.sign_in(away), cookie)


async def _visitor(desk: Desk, there: Provider) -> Visitor:
    reply = await _sign_in(desk, there)
    assert (reply.status, reply.headers.get("location")) == (303, "/"), reply.body
    return Visitor(cookie=cookie_of(reply))


async def _invite(desk: Desk, email: str = "ada@example.org") -> str:
    wanted = {"kind": "person", "name": "Ada", "email": email}
    made = await desk.ok(desk.operator, "POST", "/admin/accounts", wanted)
    return made["account"]["id"]


async def test_the_page_is_told_of_the_provider(desk: Desk):
    methods = await desk.ok(NOBODY, "GET", "/signin/methods")
    assert methods == {"password": True, "oidc": {"name": "Example Works"}}


async def test_somebody_invited_is_linked_and_known_again(desk: Desk, there: Provider, key: Key):
    there.key, there.keys = key, [FIRST, CURVE]
    account = await _invite(desk)
    first = await _visitor(desk, there)
    me = (await desk.ok(first, "GET", "/admin/me"))["account"]
    assert (me["id"], me["has_oidc"], me["role"]) == (account, True, "member")
    # By issuer and subject from now on, whatever the address is then.
    there.person["email"] = "countess@example.org"
    again = await _visitor(desk, there)
    assert (await desk.ok(again, "GET", "/admin/me"))["account"]["id"] == account


async def test_whoever_is_not_invited_stays_outside(desk: Desk, there: Provider):
    reply = await _sign_in(desk, there)
    assert reply.status == 403
    assert b"invited" in reply.body
    assert not any(each.startswith("headrace_session") for each in reply.cookies)
    assert len((await desk.ok(desk.operator, "GET", "/admin/accounts"))["accounts"]) == 2


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_nobody_checked_links_nothing(
    desk: Desk, there: Provider, verified: object
):
    await _invite(desk)
    there.person["email_verified"] = verified
    assert (await _sign_in(desk, there)).status == 403


async def test_an_account_that_is_linked_is_nobody_elses(desk: Desk, there: Provider):
    await _invite(desk)
    await _visitor(desk, there)
    there.person["sub"] = "somebody-else-who-got-her-address"
    assert (await _sign_in(desk, there)).status == 403


async def test_newcomers_come_in_where_that_is_set(open_house: Desk, there: Provider):
    one = await _visitor(open_house, there)
    me = (await open_house.ok(one, "GET", "/admin/me"))["account"]
    assert (me["name"], me["role"], me["email"]) == ("Ada", "member", "ada@example.org")
    two = await _visitor(open_house, there)
    assert (await open_house.ok(two, "GET", "/admin/me"))["account"]["id"] == me["id"]
    there.person = {"sub": "nobody-checked", "email": "x@example.org"}
    assert (await _sign_in(open_house, there)).status == 403
    there.person = {**ADA, "sub": "odd", "email": "odd@example.org", "name": "\x1b[31m\n "}
    odd = await _visitor(open_house, there)
    assert (await open_house.ok(odd, "GET", "/admin/me"))["account"]["name"] == "[31m"


@pytest.mark.parametrize("way", ["close", "erase"])
async def test_whoever_was_sent_away_is_no_newcomer(open_house: Desk, there: Provider, way: str):
    one = await _visitor(open_house, there)
    account = (await open_house.ok(one, "GET", "/admin/me"))["account"]["id"]
    path = f"/admin/accounts/{account}"
    if way == "close":
        await open_house.ok(open_house.operator, "DELETE", path)
        assert (await _sign_in(open_house, there)).status == 403
        there.person["email"] = "new@example.org"
        assert (await _sign_in(open_house, there)).status == 403
        there.person = {**ADA, "sub": "another-subject"}
        assert (await _sign_in(open_house, there)).status == 403
        # Invited anew, the same person gets the new account.
        there.person = dict(ADA)
        again = await _invite(open_house)
        back = await _visitor(open_house, there)
        assert (await open_house.ok(back, "GET", "/admin/me"))["account"]["id"] == again
    else:
        await open_house.ok(open_house.operator, "POST", f"{path}/erase")
        assert (await open_house.ask(one, "GET", "/admin/me")).status == 401
        # Nobody is known any more who could be refused.
        back = await _visitor(open_house, there)
        assert (await open_house.ok(back, "GET", "/admin/me"))["account"]["id"] != account


async def test_only_addresses_of_our_domains_come_in(tmp_path: Path, there: Provider):
    settings = {"oidc_newcomers": "true", "oidc_domains": "example.org"}
    async for desk in _open(tmp_path, there, **settings):
        await _visitor(desk, there)
        for email in ("a@evil.example", "a@example.org.evil.example", "a@sub.example.org", None):
            there.person = {**ADA, "sub": f"other-{email}", "email": email}
            assert (await _sign_in(desk, there)).status == 403, email


def _unsigned(there: Provider) -> str:
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'kid': 'first'})}.{part(_claims(there))}."


def _claims(there: Provider) -> dict[str, Any]:
    now_s = int(time.time())
    whole = {"iss": there.issuer, "aud": CLIENT_ID, "iat": now_s, "exp": now_s + 300}
    return {**whole, **ADA, "nonce": "n"}


def _shared(there: Provider) -> str:
    """Signed with the public key as if it were a shared secret."""
    public = FIRST.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(_claims(there)).encode()).rstrip(b"=")
    signature = hmac.digest(public, header + b"." + body, "sha256")
    return b".".join((header, body, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def _several(there: Provider) -> str:
    header, claims, signature = _unsigned(there).split(".")
    told = json.dumps({"alg": ["RS256", "none"], "kid": "first"}).encode()
    header = base64.urlsafe_b64encode(told).rstrip(b"=").decode()
    return f"{header}.{claims}.{signature}"


def _nothing(_: Provider) -> str:
    return "x.y.z"


_NOW_S = int(time.time())
LIES: dict[str, dict[str, Any]] = {
    "another nonce": {"twist": {"nonce": "x" * 43}},
    "no nonce": {"twist": {"nonce": None}},
    "another audience": {"twist": {"aud": "somebody-else"}},
    "two audiences": {"twist": {"aud": [CLIENT_ID, "somebody-else"]}},
    "another party": {"twist": {"azp": "somebody-else"}},
    "no audience": {"twist": {"aud": None}},
    "another issuer": {"twist": {"iss": "https://evil.example"}},
    "no issuer": {"twist": {"iss": None}},
    "expired": {"twist": {"exp": _NOW_S - 3600}},
    "no end": {"twist": {"exp": None}},
    "an end that is none": {"twist": {"exp": "tomorrow"}},
    "of the future": {"twist": {"iat": _NOW_S + 3600}},
    "not good yet": {"twist": {"nbf": _NOW_S + 3600}},
    "nobody": {"twist": {"sub": ""}},
    "no subject": {"twist": {"sub": None}},
    "a very long subject": {"twist": {"sub": "x" * 256}},
    "unsigned": {"token": _unsigned},
    "signed in several ways": {"token": _several},
    "signed with the public key": {"token": _shared},
    "swapped key": {"key": OTHER, "header": {"kid": "first"}},
    "unknown key": {"key": OTHER},
    "a key of another kind": {"key": CURVE, "header": {"kid": "first"}},
    "no token": {"token": _nothing},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_provider_s_word_is_checked(open_house: Desk, there: Provider, lie: str):
    told = LIES[lie]
    there.twist, there.header = told.get("twist", {}), told.get("header", {})
    there.key = told.get("key", FIRST)
    if "token" in told:
        there.token = told["token"](there)
    reply = await _sign_in(open_house, there)
    assert reply.status == 401, reply.body
    assert b"You are not signed in" in reply.body
    assert not any(each.startswith("headrace_session") for each in reply.cookies)
    # And the same person comes in when nothing is wrong.
    there.twist, there.header, there.key, there.token = {}, {}, FIRST, None
    await _visitor(open_house, there)


async def test_the_way_back_belongs_to_the_browser_that_left(open_house: Desk, there: Provider):
    away, cookie = await _depart(open_house)
    other_away, other_cookie = await _depart(open_house)
    back = there.sign_in(away)
    for wrong in (other_cookie, f"{FLOW}=x.y", f"{FLOW}=", cookie[:-2], cookie.replace(".", "x.")):
        assert (await _arrive(open_house, back, wrong)).status == 401
    assert (await _arrive(open_house, back.replace("state=", "state=x"), cookie)).status == 401
    assert (await _arrive(open_house, other_away and back, cookie)).status == 303
    # A code is worth something once.
    assert (await _arrive(open_house, back, cookie)).status == 401


async def test_nobody_makes_us_bother_the_provider(open_house: Desk, there: Provider):
    away, cookie = await _depart(open_house)
    back = there.sign_in(away)
    wrong = back.replace("code=", "code=x")
    statuses = [(await _arrive(open_house, wrong, cookie)).status for _ in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    assert there.asked.count("POST /token") == 20


async def test_a_slow_provider_is_asked_by_a_few_at_once(open_house: Desk, there: Provider):
    away, cookie = await _depart(open_house)
    wrong = there.sign_in(away).replace("code=", "code=x")
    there.slow_s = 0.2

    async def arrive(number: int) -> int:
        headers = [("cookie", cookie), ("x-forwarded-for", f"10.0.0.{number}")]
        place = urlsplit(wrong)
        path = f"{place.path}?{place.query}"
        return (await request(open_house.house.app, "GET", path, headers=headers)).status

    statuses = await asyncio.gather(*map(arrive, range(40)))
    assert (statuses.count(401), statuses.count(503)) == (32, 8)


async def test_keys_may_change_at_any_time(
    open_house: Desk, there: Provider, monkeypatch: pytest.MonkeyPatch
):
    await _visitor(open_house, there)
    asked = there.asked.count("GET /keys")
    await _visitor(open_house, there)
    assert there.asked.count("GET /keys") == asked == 1
    monkeypatch.setattr(oidc_provider, "_AGAIN_NS", -1)
    there.key, there.keys = OTHER, [OTHER]
    await _visitor(open_house, there)
    there.key = FIRST  # which was withdrawn
    assert (await _sign_in(open_house, there)).status == 401
    assert there.asked.count("GET /.well-known/openid-configuration") == 1


async def test_odd_keys_beside_the_good_one_do_no_harm(open_house: Desk, there: Provider):
    def odd(**more: object) -> Key:
        return Key("odd", "RS256", None, {**FIRST.public, "kid": "odd", **more})

    there.keys = [odd(alg=["RS256"]), odd(kid=["odd"]), odd(n=5), odd(kty=["RSA"]), FIRST]
    await _visitor(open_house, there)


async def test_an_address_that_looks_like_another_links_nothing(desk: Desk, there: Provider):
    await _invite(desk, "back@example.org")
    there.person = {**ADA, "email": "bac\u212a@example.org"}  # the sign for kelvin
    assert (await _sign_in(desk, there)).status == 400
    there.person = {**ADA, "email": "Back@Example.org"}
    await _visitor(desk, there)


async def test_unknown_keys_do_not_make_us_ask_for_ever(open_house: Desk, there: Provider):
    await _visitor(open_house, there)
    there.key = OTHER
    for _ in range(3):
        assert (await _sign_in(open_house, there)).status == 401
    assert there.asked.count("GET /keys") == 1


async def test_the_address_may_stand_on_the_provider_s_page(open_house: Desk, there: Provider):
    there.user_info = dict(ADA)
    there.person = {"sub": "ada-1"}
    visitor = await _visitor(open_house, there)
    me = (await open_house.ok(visitor, "GET", "/admin/me"))["account"]
    assert me["email"] == "ada@example.org"
    there.person = {"sub": "somebody-else"}
    assert (await _sign_in(open_house, there)).status == 403


async def test_the_secret_may_go_with_the_form(open_house: Desk, there: Provider):
    there.description["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    await _visitor(open_house, there)


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "https://exämple.org/token"},
        {"token_endpoint": "https://example.org/to ken"},
    ],
)
async def test_a_provider_that_is_not_what_is_set_is_refused(
    desk: Desk, there: Provider, description: dict[str, Any]
):
    there.description = description
    reply = await desk.ask(NOBODY, "GET", "/signin/oidc")
    assert reply.status == 502
    assert "location" not in reply.headers


async def test_what_the_provider_says_is_never_shown_as_html(desk: Desk):
    path = "/signin/oidc/callback?error=<script>alert(1)</script>&error_description=<b>"
    reply = await desk.ask(NOBODY, "GET", path)
    assert reply.status == 401
    assert b"<script" not in reply.body
    assert b"<b>" not in reply.body


async def test_a_provider_that_is_gone_is_said_to_be(tmp_path: Path, there: Provider):
    there.issuer = "http://127.0.0.1:9"
    async for desk in _open(tmp_path, there):
        reply = await desk.ask(NOBODY, "GET", "/signin/oidc")
        assert reply.status == 503
        assert b"cannot be reached" in reply.body


async def test_a_password_and_a_provider_may_stand_side_by_side(desk: Desk, there: Provider):
    member = await desk.person("member", "ada@example.org")
    linked = await _visitor(desk, there)
    me = (await desk.ok(linked, "GET", "/admin/me"))["account"]
    assert (me["id"], me["has_password"], me["has_oidc"]) == (member.account_id, True, True)
    assert (await desk.sign_in("ada@example.org", PASSWORD)).status == 204


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"oidc_client_id": None}, "oidc_client_id"),
        ({"oidc_issuer": "http://provider.example"}, "https"),
        ({"oidc_client_secret_file": "/nowhere"}, "client secret"),
        ({"oidc_client_secret_env": "SOME_VARIABLE"}, "both"),
        ({"oidc_client_secret_file": None, "oidc_client_secret_env": "NOT_SET"}, "NOT_SET"),
    ],
)
async def test_half_a_provider_is_an_error_at_the_start(
    tmp_path: Path, there: Provider, settings: dict[str, Any], word: str
):
    opening = _open(tmp_path, there, **settings)
    with pytest.raises(ConfigError, match=word):
        await anext(opening)
