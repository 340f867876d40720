"""Routes of accounts: who is in the organisation."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.identity.accounts import AccountChange, Accounts, NewAccount
from headrace.ledger.audit import AuditLog
from headrace.serving.admin.body import read_as

# What may stand in the chain for ever; names and addresses may not.
_TOLD = ("role", "team_id")


class AccountRoutes:
    """Endpoints of accounts.

    Args:
        accounts: All of them.
        audit: Where changes are written down.
    """

    def __init__(self, accounts: Accounts, audit: AuditLog) -> None:
        self._accounts = accounts
        self._audit = audit

    def routes(self) -> Sequence[RuledRoute]:
        """Their routes."""
        every, one = "/admin/accounts", "/admin/accounts/{id}"
        return [
            route(every, self.show, methods=["GET"], rule=Rule.VIEWER),
            route(every, self.create, methods=["POST"], rule=Rule.ADMIN),
            route(one, self.change, methods=["PATCH"], rule=Rule.ADMIN),
            route(one, self.close, methods=["DELETE"], rule=Rule.ADMIN),
            route(f"{one}/invite", self.invite, methods=["POST"], rule=Rule.ADMIN),
            route(f"{one}/erase", self.erase, methods=["POST"], rule=Rule.ADMIN),
        ]

    async def show(self, request: Request) -> Response:
        """All accounts; viewers see no addresses."""
        found = await self._accounts.list(request.state.scope)
        if request.state.role == "viewer":
            found = tuple(msgspec.structs.replace(each, email=None) for each in found)
        return json_response({"accounts": found})

    async def create(self, request: Request) -> Response:
        """Make an account; a person with an address is invited at once."""
        wanted = await read_as(request, NewAccount, "a new account")
        actor: Scope = request.state.scope
        made = await self._accounts.create(actor, wanted)
        await self._audit.note(
            actor, "account.made", made.id, kind=made.kind, role=made.role, team_id=made.team_id
        )
        path = None
        if made.email is not None:
            path = await self._invited(actor, made.id)
        return json_response({"account": made, "invite_path": path}, status=201)

    async def change(self, request: Request) -> Response:
        """Another name, address, role or team."""
        wanted = await read_as(request, AccountChange, "a change of an account")
        identifier = request.path_params["id"]
        await self._accounts.change(request.state.scope, identifier, wanted)
        told = {name: getattr(wanted, name) for name in _TOLD}
        also = [name for name in ("name", "email") if getattr(wanted, name) is not UNSET]
        await self._audit.note(
            request.state.scope,
            "account.changed",
            identifier,
            **{name: value for name, value in told.items() if value is not UNSET},
            **({"also": also} if also else {}),
        )
        return Response(status_code=204)

    async def close(self, request: Request) -> Response:
        """Close an account: its keys, sessions and links end."""
        identifier = request.path_params["id"]
        await self._accounts.close(request.state.scope, identifier)
        await self._audit.note(request.state.scope, "account.closed", identifier)
        return Response(status_code=204)

    async def invite(self, request: Request) -> Response:
        """A fresh link for a person; the password so far is void."""
        identifier = request.path_params["id"]
        path = await self._invited(request.state.scope, identifier)
        return json_response({"path": path}, status=201)

    async def erase(self, request: Request) -> Response:
        """Close an account and forget whose it was."""
        identifier = request.path_params["id"]
        await self._accounts.erase(request.state.scope, identifier)
        await self._audit.note(request.state.scope, "account.erased", identifier)
        return Response(status_code=204)

    async def _invited(self, actor: Scope, identifier: str) -> str:
        token = await self._accounts.invite(actor, identifier)
        await self._audit.note(actor, "account.invited", identifier)
        return f"/signin?token={token}"
