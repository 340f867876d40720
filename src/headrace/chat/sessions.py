"""Signing out, and what the page asks first: who am I, which models are there."""

import logging

from starlette.requests import Request
from starlette.responses import Response

from headrace.agent.client import Client
from headrace.chat.views import show_model
from headrace.core.errors import HeadraceError, Unauthenticated
from headrace.core.models import Model
from headrace.core.version import __version__
from headrace.edge.routes import Rule, RuledRoute, is_https, json_response, route, session_cookie
from headrace.identity.sessions import Sessions
from headrace.store import accounts
from headrace.store.database import Database

_log = logging.getLogger(__name__)


class SessionEndpoints:
    """Endpoints about the person at the page.

    Args:
        database: Where accounts are.
        sessions: What cookies stand for.
        client: Reaches the API.
    """

    def __init__(self, database: Database, sessions: Sessions, client: Client) -> None:
        self._database = database
        self._sessions = sessions
        self._client = client

    def routes(self) -> list[RuledRoute]:
        """Their routes."""
        return [
            route("/chat/sign-out", self.sign_out, methods=["POST"], rule=Rule.SESSION),
            route("/chat/session", self.show, methods=["GET"], rule=Rule.SESSION),
        ]

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        name = session_cookie(request)
        cookie = request.cookies.get(name)
        if cookie is not None:  # a command of the owner has none
            await self._sessions.end(cookie)
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        response.delete_cookie(
            name, path="/", secure=is_https(request), httponly=True, samesite="lax"
        )
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
