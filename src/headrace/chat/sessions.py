"""Signing in and out, and what the page asks first: who am I, which models are there."""

import logging

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headrace.agent.client import Client
from headrace.chat.pages import link_used_page
from headrace.chat.views import show_model
from headrace.core.errors import HeadraceError, Unauthenticated
from headrace.core.models import Model
from headrace.core.version import __version__
from headrace.edge.routes import Rule, RuledRoute, json_response, route, session_cookie
from headrace.identity.sessions import SESSION_LIFE, Sessions
from headrace.store import accounts
from headrace.store.database import Database

_log = logging.getLogger(__name__)


class SessionEndpoints:
    """Endpoints about the person at the page.

    Args:
        database: Where accounts are.
        sessions: Links and cookies.
        client: Reaches the API.
    """

    def __init__(self, database: Database, sessions: Sessions, client: Client) -> None:
        self._database = database
        self._sessions = sessions
        self._client = client

    def routes(self) -> list[RuledRoute]:
        """Their routes."""
        return [
            route("/signin", self.sign_in, methods=["GET"], rule=Rule.PUBLIC),
            route("/chat/sign-out", self.sign_out, methods=["POST"], rule=Rule.SESSION),
            route("/chat/session", self.show, methods=["GET"], rule=Rule.SESSION),
        ]

    async def sign_in(self, request: Request) -> Response:
        """Use a link up for a cookie; whoever has one already may open a used link again."""
        if request.method == "HEAD":  # a program that looks whether the link works
            return Response()
        try:
            secret = await self._sessions.redeem(request.query_params.get("token", ""))
        except Unauthenticated:
            cookie = request.cookies.get(session_cookie(request))
            if cookie is None or await self._sessions.find(cookie) is None:
                return link_used_page()
            return _to_chat()
        response = _to_chat()
        response.set_cookie(
            session_cookie(request),
            secret,
            max_age=int(SESSION_LIFE.total_seconds()),
            path="/",
            secure=_is_https(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        name = session_cookie(request)
        await self._sessions.end(request.cookies[name])
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        response.delete_cookie(name, path="/", httponly=True, samesite="lax")
        return response

    async def show(self, request: Request) -> Response:
        """Who is signed in, and the models there are to talk to."""
        scope = request.state.scope
        account = await self._database.read(lambda connection: accounts.get(connection, scope))
        if account is None:
            raise Unauthenticated("this account is closed")
        models = [model for model in await self._models() if model.abilities.chat]
        return json_response(
            {
                "account": {"id": account.id, "name": account.name, "role": account.role},
                "organisation": {"id": account.organisation_id, "name": account.organisation_name},
                "models": [show_model(model) for model in models],
                "default_model": models[0].id if models else None,
                "version": __version__,
            }
        )

    async def _models(self) -> tuple[Model, ...]:
        try:
            return await self._client.models()
        except HeadraceError as error:
            # Without an engine old conversations can still be read.
            _log.warning("the list of models cannot be had: %s", error.message)
            return ()


def _is_https(request: Request) -> bool:
    """Whether the browser came by TLS, here or at a proxy before us.

    The header may be forged, but only to have one's own cookie sent less often.
    """
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto")}


def _to_chat() -> RedirectResponse:
    return RedirectResponse("/", status_code=303, headers={"cache-control": "no-store"})
