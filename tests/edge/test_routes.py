import hmac
from typing import get_args

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from headrace.core.errors import Conflict, HeadraceError, Overloaded
from headrace.core.scope import Scope
from headrace.edge.bodies import read_body
from headrace.edge.routes import Rule, create_app, error_response, json_response, route
from headrace.store.accounts import Role
from headrace.store.sessions import Visitor
from support.asgi import Header, request

OWNER = Scope("organisation", "owner")
RULED = {
    Rule.SESSION: {"owner", "admin", "member", "viewer"},
    Rule.MEMBER: {"owner", "admin", "member"},
    Rule.VIEWER: {"owner", "admin", "viewer"},
    Rule.ADMIN: {"owner", "admin"},
    Rule.OWNER: {"owner"},
}


class _Doorman:
    async def session(self, cookie: str) -> Visitor | None:
        if cookie == "good":
            return Visitor(OWNER, "owner")
        return Visitor(OWNER, cookie) if cookie in get_args(Role) else None  # pyright: ignore[reportArgumentType] - as checked

    def operator(self, credential: str) -> Visitor | None:
        known = hmac.compare_digest(credential, "run-file")
        return Visitor(OWNER, "owner") if known else None


async def _whoami(request: Request) -> Response:
    scope: Scope = request.state.scope
    return json_response(scope)


async def _fail(_: Request) -> Response:
    raise Overloaded("too much", retry_after_s=3)


async def _break(_: Request) -> Response:
    raise ZeroDivisionError("secret detail")


async def _length(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, bytes_max=100)
    return json_response(len(body))


@pytest.fixture
def app() -> ASGIApp:
    routes = [
        route("/open", _fail, methods=["GET"], rule=Rule.PUBLIC),
        route("/broken", _break, methods=["GET"], rule=Rule.PUBLIC),
        route("/length", _length, methods=["POST"], rule=Rule.PUBLIC),
        route("/mine", _whoami, methods=["GET", "POST"], rule=Rule.SESSION),
        route("/operate", _whoami, methods=["POST"], rule=Rule.OWNER),
        *(route(f"/{rule.value}-only", _whoami, methods=["GET"], rule=rule) for rule in RULED),
    ]

    def not_found(_: Request, error: HeadraceError) -> Response:
        return error_response(error)

    return create_app(
        routes, doorman=_Doorman(), allowed_hosts=frozenset({"chat.example"}), not_found=not_found
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:1", "CHAT.example:80"])
async def test_own_hosts_are_served(app: ASGIApp, host: str):
    assert (await request(app, "GET", "/mine", headers=[("host", host)])).status == 401


@pytest.mark.parametrize("host", ["evil.example", "", "localhost.evil.example", "[::1", "a b"])
async def test_foreign_hosts_are_refused(app: ASGIApp, host: str):
    reply = await request(app, "GET", "/open", headers=[("host", host)])
    assert reply.status == 403
    assert "allowed_hosts" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:9999")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")],
    ],
)
async def test_requests_of_other_sites_are_refused(app: ASGIApp, headers: list[Header]):
    headers = [("cookie", "headrace_session_4747=good"), *headers]
    assert (await request(app, "GET", "/mine", headers=headers)).status == 403


async def test_a_link_from_elsewhere_may_open_a_page(app: ASGIApp):
    headers = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    headers.append(("cookie", "headrace_session_4747=good"))
    assert (await request(app, "GET", "/mine", headers=headers)).status == 200
    assert (await request(app, "POST", "/mine", headers=headers)).status == 403


async def test_a_session_route_needs_a_session_and_changes_an_origin(app: ASGIApp):
    cookie = ("cookie", "headrace_session_4747=good")
    assert (await request(app, "GET", "/mine")).status == 401
    bad = [("cookie", "headrace_session_4747=bad")]
    assert (await request(app, "GET", "/mine", headers=bad)).status == 401
    mine = await request(app, "GET", "/mine", headers=[cookie])
    assert mine.json() == {"organisation_id": "organisation", "account_id": "owner"}
    assert (await request(app, "POST", "/mine", headers=[cookie])).status == 403
    own = [cookie, ("origin", "http://localhost:4747")]
    assert (await request(app, "POST", "/mine", headers=own)).status == 200


@pytest.mark.parametrize("rule", RULED)
@pytest.mark.parametrize("role", get_args(Role))
async def test_a_rule_lets_its_roles_in_and_nobody_else(app: ASGIApp, rule: Rule, role: Role):
    cookie = ("cookie", f"headrace_session_4747={role}")
    reply = await request(app, "GET", f"/{rule.value}-only", headers=[cookie])
    assert reply.status == (200 if role in RULED[rule] else 403)


async def test_a_credential_alone_decides(app: ASGIApp):
    both = [("cookie", "headrace_session_4747=good"), ("authorization", "Bearer wrong")]
    assert (await request(app, "GET", "/mine", headers=both)).status == 401


async def test_the_run_files_credential_opens_what_owners_may(app: ASGIApp):
    for credential in ("", "Bearer", "Bearer wrong", "Basic run-file"):
        reply = await request(app, "POST", "/operate", headers=[("authorization", credential)])
        assert reply.status == 401
    good = [("authorization", "Bearer run-file")]
    assert (await request(app, "POST", "/operate", headers=good)).status == 200


async def test_errors_are_told_without_internals(app: ASGIApp):
    known = await request(app, "GET", "/open")
    assert known.status == 503
    assert known.headers["retry-after"] == "3"
    assert known.json()["error"] == {"kind": "overloaded", "message": "too much", "hint": None}


async def test_an_unexpected_error_is_a_500_that_keeps_its_detail_in_the_log(app: ASGIApp):
    with pytest.raises(ZeroDivisionError):
        await request(app, "GET", "/broken")


async def test_unknown_paths_and_methods_are_not_found(app: ASGIApp):
    assert (await request(app, "GET", "/nowhere")).status == 404
    assert (await request(app, "DELETE", "/mine")).status == 404


async def test_bodies_over_the_limit_are_refused_before_they_are_held(app: ASGIApp):
    assert (await request(app, "POST", "/length", body=b"x" * 100)).json() == 100
    declared = [("content-length", "101")]
    assert (await request(app, "POST", "/length", headers=declared)).status == 413
    assert (await request(app, "POST", "/length", body=b"x" * 101, chunk_bytes=7)).status == 413
    odd = [("content-length", "ten")]
    assert (await request(app, "POST", "/length", headers=odd)).status == 400


async def test_every_reply_carries_the_safety_headers(app: ASGIApp):
    for reply in (
        await request(app, "GET", "/open"),
        await request(app, "GET", "/open", headers=[("host", "evil.example")]),
    ):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["referrer-policy"] == "no-referrer"


def test_an_error_of_the_tree_may_be_raised_with_a_hint():
    error = Conflict("busy", hint="wait")
    assert error_response(error).status_code == 409
