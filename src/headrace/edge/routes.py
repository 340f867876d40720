"""Routes and who may call them: each route declares a rule, one without cannot be made.

| rule | who |
|---|---|
| PUBLIC | anybody who reaches the port |
| KEY | holders of an API key; the endpoint checks it itself, to answer in its dialect |
| SESSION | everybody who is signed in |
| MEMBER | those who may call models and change what is their own: all but viewers |
| VIEWER | those who may see the organisation's figures: owners, admins, viewers |
| ADMIN | owners and admins |
| OWNER | owners |

From SESSION on, a request comes with the cookie of a session, and changes must come from our own
pages; or it comes with the run file's credential, which commands of the user who runs `headrace
up` hold, and which is the owner's.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from headrace.core.errors import Forbidden, HeadraceError, InvalidRequest, NotFound, Unauthenticated
from headrace.edge.bodies import ClientGone
from headrace.edge.guard import Guard, is_same_origin
from headrace.store.accounts import Role
from headrace.store.sessions import Visitor

_log = logging.getLogger(__name__)

STATUS = {
    "invalid_request": 400,
    "context_too_long": 400,
    "unsupported": 400,
    "previous_not_found": 400,
    "too_large": 413,
    "too_slow": 408,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "conflict": 409,
    "budget_spent": 429,
    "rate_limited": 429,
    "engine_failed": 502,
    "engine_unavailable": 503,
    "store": 503,
    "overloaded": 503,
    "timed_out": 504,
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Rule(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    KEY = "key"
    SESSION = "session"
    MEMBER = "member"
    VIEWER = "viewer"
    ADMIN = "admin"
    OWNER = "owner"


_ROLES: Mapping[Rule, frozenset[Role]] = {
    Rule.SESSION: frozenset(("owner", "admin", "member", "viewer")),
    Rule.MEMBER: frozenset(("owner", "admin", "member")),
    Rule.VIEWER: frozenset(("owner", "admin", "viewer")),
    Rule.ADMIN: frozenset(("owner", "admin")),
    Rule.OWNER: frozenset(("owner",)),
}


class Doorman(Protocol):
    """Tells who a visitor is; `up` gives one made of sessions and the run file."""

    async def session(self, cookie: str) -> Visitor | None:
        """The person behind a session cookie."""
        ...

    def operator(self, credential: str) -> Visitor | None:
        """The owner, when the credential is the run file's."""
        ...


class RuledRoute(Route):
    """A route that knows who may call it. Made by `route`."""

    rule: Rule


def route(
    path: str, endpoint: Endpoint | ASGIApp, *, methods: Sequence[str], rule: Rule
) -> RuledRoute:
    """A route under a rule. KEY routes take an ASGI app, the others a function of a request."""
    guarded = endpoint if rule is Rule.KEY else _Ruled(endpoint, rule)  # pyright: ignore[reportArgumentType] - by the contract above
    made = RuledRoute(path, guarded, methods=list(methods))
    made.rule = rule
    return made


class _Ruled:
    """An endpoint as an ASGI app that checks the rule first and renders errors as JSON."""

    def __init__(self, endpoint: Endpoint, rule: Rule) -> None:
        self._endpoint = endpoint
        self._rule = rule

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Check, call, answer."""
        request = Request(scope, receive, send)
        try:
            if b"%00" in scope.get("query_string", b""):  # which no database can look for
                raise InvalidRequest("the query holds the character NUL")
            await self._admit(request)
            response = await self._endpoint(request)
        except HeadraceError as error:
            response = error_response(error)
        except ClientGone:
            return
        await response(scope, receive, send)

    async def _admit(self, request: Request) -> None:
        roles = _ROLES.get(self._rule)
        if roles is None:
            return
        visitor = await _visitor(request)
        if visitor.role not in roles:
            wanted = " or ".join(sorted(roles))
            raise Forbidden(f"this takes the role {wanted}; yours is {visitor.role}")
        request.state.scope = visitor.scope
        request.state.role = visitor.role


async def _visitor(request: Request) -> Visitor:
    """Who sends this request; a credential that is given alone decides."""
    doorman: Doorman = request.app.state.doorman
    credential = bearer(request.headers.get("authorization", ""))
    if credential:
        operator = doorman.operator(credential)
        if operator is None:
            raise Unauthenticated(
                "this credential is not that of the running Headrace",
                hint="API keys open the model API; sign in to use this",
            )
        return operator
    cookie = request.cookies.get(session_cookie(request))
    visitor = await doorman.session(cookie) if cookie else None
    if visitor is None:
        raise Unauthenticated(
            "you are not signed in",
            hint="sign in, or open the link that `headrace up` prints",
        )
    if request.method not in {"GET", "HEAD"} and not is_same_origin(request.scope):
        raise Forbidden("changes must come from Headrace's own pages")
    return visitor


def session_cookie(request: Request) -> str:
    """The name of the session's cookie.

    Browsers keep cookies by host without its port, so the port is in the name: two Headraces
    on one host would sign each other out otherwise. By TLS, its prefix has browsers refuse one that
    a neighbouring host, or somebody on the way without TLS, has set.
    """
    prefix = "__Host-" if is_https(request) else ""
    port = request.url.port
    return f"{prefix}headrace_session" if port is None else f"{prefix}headrace_session_{port}"


def is_https(request: Request) -> bool:
    """Whether the browser came by TLS, here or at a proxy before us.

    The header may be forged, but only to have one's own cookie sent less often.
    """
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto")}


def bearer(authorization: str) -> str:
    """The credential in an Authorization header of type Bearer, else an empty string."""
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def error_response(error: HeadraceError) -> Response:
    """An error as the chat and the admin routes tell it."""
    body = {"kind": error.kind, "message": error.message, "hint": error.hint}
    headers: dict[str, str] = {}
    retry_after_s: float | None = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(retry_after_s)))
    return json_response({"error": body}, status=STATUS.get(error.kind, 500), headers=headers)


def json_response(
    content: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON reply; never cached, as all of it belongs to somebody."""
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def create_app(
    routes: Sequence[RuledRoute],
    *,
    doorman: Doorman,
    allowed_hosts: frozenset[str],
    not_found: Callable[[Request, HeadraceError], Response],
) -> ASGIApp:
    """All routes behind the guard.

    Args:
        routes: The routes of every surface, those called most often first.
        doorman: Tells who a visitor is.
        allowed_hosts: Host names to answer to besides `localhost` and IP addresses.
        not_found: Renders 404 and 405 for paths of the API in the client's dialect.
    """

    async def missing(request: Request, _: Exception) -> Response:
        return not_found(request, NotFound(f"there is no {request.method} {request.url.path}"))

    async def broken(request: Request, error: Exception) -> Response:
        _log.error("unexpected error on %s", request.url.path, exc_info=error)
        return error_response(HeadraceError("Headrace made a mistake; its log says more"))

    app = Starlette(
        routes=list(routes),
        exception_handlers={404: missing, 405: missing, Exception: broken},
    )
    app.router.redirect_slashes = False  # a path is there, or it is refused in its dialect
    app.state.doorman = doorman
    return Guard(_Shortcut(app, routes), allowed_hosts=allowed_hosts)


class _Shortcut:
    """The way of model calls: straight to their endpoint, past Starlette's routing.

    That costs more than the rest of our own work on a short call.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[RuledRoute]) -> None:
        self._app = app
        self._endpoints: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.app
            for route in routes
            if route.rule is Rule.KEY and not route.param_convertors
            for method in route.methods or ()
        }

    def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on."""
        place = (scope.get("method", ""), scope["path"])
        app = self._endpoints.get(place, self._app)
        return app(scope, receive, send)
