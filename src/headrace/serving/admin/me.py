"""Routes about whoever is signed in: who that is, the password, and another way in for owners."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import Unauthenticated
from headrace.edge.routes import Rule, RuledRoute, json_response, route, session_cookie
from headrace.edge.sign_in import client_of
from headrace.identity.sessions import Sessions
from headrace.identity.sign_in import SignIn
from headrace.ledger.audit import AuditLog
from headrace.serving.admin.body import read_as
from headrace.store import accounts, credentials
from headrace.store.account import Role
from headrace.store.database import Database


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The password so far, where there is one, and the one from now on."""

    new: str
    current: str | None = None

    def __repr__(self) -> str:
        return "PasswordChange(hidden)"


class MyAccount(msgspec.Struct, frozen=True):
    """Who is signed in, and the ways in that there are for them."""

    id: str
    name: str
    email: str | None
    role: Role
    team_id: str | None
    has_password: bool
    has_oidc: bool


class MyOrganisation(msgspec.Struct, frozen=True):
    """What they belong to."""

    id: str
    name: str


class Me(msgspec.Struct, frozen=True):
    """Both."""

    account: MyAccount
    organisation: MyOrganisation


class MeRoutes:
    """Endpoints about the visitor.

    Args:
        database: Where accounts are.
        sessions: Makes links.
        sign_in: Changes passwords.
        audit: Where changes are written down.
    """

    def __init__(
        self, database: Database, sessions: Sessions, sign_in: SignIn, audit: AuditLog
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._sign_in = sign_in
        self._audit = audit

    def routes(self) -> Sequence[RuledRoute]:
        """Their routes."""
        return [
            route("/admin/me", self.show, methods=["GET"], rule=Rule.SESSION),
            route("/admin/me/password", self.choose, methods=["PUT"], rule=Rule.SESSION),
            route("/admin/sign-in-links", self.link, methods=["POST"], rule=Rule.OWNER),
        ]

    async def show(self, request: Request) -> Response:
        """Who is signed in."""
        scope = request.state.scope
        found, kinds = await self._database.read(
            lambda connection: (
                accounts.get(connection, scope),
                credentials.kinds(connection, scope),
            )
        )
        if found is None:
            raise Unauthenticated("this account is closed")
        account = MyAccount(
            found.id,
            found.name,
            found.email,
            found.role,
            found.team_id,
            has_password="password" in kinds,
            has_oidc="oidc" in kinds,
        )
        organisation = MyOrganisation(found.organisation_id, found.organisation_name)
        return json_response(Me(account, organisation))

    async def choose(self, request: Request) -> Response:
        """Set the password; all other sessions end."""
        wanted = await read_as(request, PasswordChange, "a change of password")
        scope = request.state.scope
        await self._sign_in.choose(
            scope,
            wanted.current,
            wanted.new,
            session=request.cookies.get(session_cookie(request)),
            client=client_of(request),
        )
        await self._audit.note(scope, "password.set", scope.account_id)
        return Response(status_code=204)

    async def link(self, request: Request) -> Response:
        """A fresh sign-in link for the owner who asks."""
        scope = request.state.scope
        token = await self._sessions.make_link(scope)
        await self._audit.note(scope, "sign_in_link.made", scope.account_id)
        return json_response({"path": f"/signin?token={token}"}, status=201)
