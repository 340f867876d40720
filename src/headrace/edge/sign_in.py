"""Signing in over HTTP: by link, by password, and by a provider of OpenID Connect.

Whichever way, a browser gets a fresh session and goes to the front page or the welcome: no
address that a request names is ever redirected to.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from html import escape

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headrace.core.errors import Forbidden, HeadraceError, InvalidRequest, NotFound, Unauthenticated
from headrace.core.scope import Scope
from headrace.edge.bodies import read_body
from headrace.edge.guard import is_same_origin
from headrace.edge.pages import page
from headrace.edge.routes import (
    STATUS,
    Rule,
    RuledRoute,
    is_https,
    json_response,
    route,
    session_cookie,
)
from headrace.identity.admission import Admission
from headrace.identity.oidc import FLOW_S, Oidc
from headrace.identity.sessions import SESSION_LIFE, Sessions
from headrace.identity.sign_in import SignIn

_BODY_BYTES_MAX = 16 * 1024
_CALLBACK = "/signin/oidc/callback"
Newcomer = Callable[[Scope], Awaitable[None]]


class PasswordBody(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody signs in with."""

    email: str
    password: str


class SignInEndpoints:
    """All ways in.

    Args:
        sessions: Links and cookies.
        sign_in: Addresses and passwords.
        oidc: The provider, where one is set.
        admission: Whose account it is whom the provider vouches for.
        newcomer: Is told of accounts that were made so.
    """

    def __init__(
        self,
        sessions: Sessions,
        sign_in: SignIn,
        oidc: Oidc | None,
        admission: Admission,
        newcomer: Newcomer,
    ) -> None:
        self._sessions = sessions
        self._sign_in = sign_in
        self._oidc = oidc
        self._admission = admission
        self._newcomer = newcomer

    def routes(self) -> list[RuledRoute]:
        """Their routes."""
        rule = Rule.PUBLIC
        return [
            route("/signin", self.by_link, methods=["GET"], rule=rule),
            route("/signin/methods", self.show, methods=["GET"], rule=rule),
            route("/signin/password", self.by_password, methods=["POST"], rule=rule),
            route("/signin/oidc", self.depart, methods=["GET"], rule=rule),
            route(_CALLBACK, self.arrive, methods=["GET"], rule=rule),
        ]

    async def show(self, _: Request) -> Response:
        """Which ways there are."""
        oidc = None if self._oidc is None else {"name": self._oidc.name}
        return json_response({"password": True, "oidc": oidc})

    async def by_link(self, request: Request) -> Response:
        """Use a link up for a cookie; whoever has one already may open a used link again."""
        if request.method == "HEAD":  # a program that looks whether the link works
            return Response()
        token = request.query_params.get("token", "")
        if not token:
            return _to_front()
        former = request.cookies.get(session_cookie(request))
        try:
            secret = await self._sessions.redeem(token, former)
        except Unauthenticated:
            if former is None or await self._sessions.find(former) is None:
                return link_used_page()
            return _to_front()
        # Whoever was invited is asked for a password first.
        arrival = "/sign-in?welcome" if "welcome" in request.query_params else "/"
        return _signed_in(_to(arrival), request, secret)

    async def by_password(self, request: Request) -> Response:
        """Address and password for a cookie."""
        # Nobody may be signed in to somebody else's account by a page of another site.
        if not is_same_origin(request.scope):
            raise Forbidden("signing in must come from Headrace's own pages")
        body = await read_body(request.scope, request.receive, bytes_max=_BODY_BYTES_MAX)
        try:
            given = msgspec.json.decode(body, type=PasswordBody)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise InvalidRequest("the body is not an address and a password") from None
        secret = await self._sign_in.open(
            given.email,
            given.password,
            client_of(request),
            request.cookies.get(session_cookie(request)),
        )
        return _signed_in(Response(status_code=204), request, secret)

    async def depart(self, request: Request) -> Response:
        """Send the browser to the provider."""
        if request.method == "HEAD":
            return Response()
        try:
            departure = await self._provider().begin(_callback_url(request))
        except HeadraceError as error:
            return _failed_page(error)
        response = RedirectResponse(departure.url, 303, headers={"cache-control": "no-store"})
        response.set_cookie(
            _flow_cookie(request),
            departure.cookie,
            max_age=FLOW_S,
            path="/",  # which the prefix of its name demands
            secure=is_https(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def arrive(self, request: Request) -> Response:
        """The browser comes back from the provider."""
        if request.method == "HEAD":
            return Response()
        try:
            response = await self._arrive(request)
        except HeadraceError as error:
            response = _failed_page(error)
        response.delete_cookie(
            _flow_cookie(request),
            path="/",
            secure=is_https(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def _arrive(self, request: Request) -> Response:
        provider, query = self._provider(), request.query_params
        if "error" in query:
            raise Unauthenticated("the provider did not sign you in")
        cookie = request.cookies.get(_flow_cookie(request))
        if cookie is None:
            raise Unauthenticated("this sign-in did not begin in this browser")
        known = await provider.finish(
            cookie, query.get("state", ""), query.get("code", ""), client_of(request)
        )
        former = request.cookies.get(session_cookie(request))
        secret, newcomer = await self._admission.open(known, former)
        if newcomer is not None:
            await self._newcomer(newcomer)
        return _signed_in(_to_front(), request, secret)

    def _provider(self) -> Oidc:
        if self._oidc is None:
            raise NotFound("no provider to sign in with is set here")
        return self._oidc


def client_of(request: Request) -> str:
    """The network address that a request comes from, for counting tries.

    A proxy on this machine puts the client's own behind what the client may have written
    itself, so the last one counts; nobody else is believed.
    """
    peer = request.client.host if request.client is not None else ""
    try:
        is_near = ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return peer
    told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return told[:64] if is_near and told else peer


def link_used_page() -> Response:
    """What to do when a sign-in link no longer works."""
    return page(
        "This link does not work any more",
        "Each sign-in link works once, for 24 hours. Run <code>headrace up</code> again on the"
        " machine that serves this page: it prints a fresh one, also while Headrace runs. If"
        " somebody invited you, ask them for a new link.",
        status=401,
    )


def _failed_page(error: HeadraceError) -> Response:
    hint = "" if error.hint is None else f" {_sentence(error.hint)}"
    return page(
        "You are not signed in",
        f"{_sentence(error.message)}{hint} <a href='/'>Back to the front page</a>",
        status=STATUS.get(error.kind, 500),
    )


def _sentence(text: str) -> str:
    return f"{escape(text[:1].upper() + text[1:])}."


def _signed_in(response: Response, request: Request, secret: str) -> Response:
    response.set_cookie(
        session_cookie(request),
        secret,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )
    response.headers["cache-control"] = "no-store"
    return response


def _to_front() -> Response:
    return _to("/")


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={"cache-control": "no-store"})


def _flow_cookie(request: Request) -> str:
    return session_cookie(request).replace("session", "oidc", 1)


def _callback_url(request: Request) -> str:
    """Where the provider shall send the browser back to: a Host that the door let through."""
    scheme = "https" if is_https(request) else "http"
    return f"{scheme}://{request.url.netloc}{_CALLBACK}"
