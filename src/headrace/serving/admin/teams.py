"""Routes of teams."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.identity.teams import Teams
from headrace.ledger.audit import AuditLog
from headrace.serving.admin.body import read_as


class TeamBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a team is called."""

    name: str


class TeamRoutes:
    """Endpoints of teams.

    Args:
        teams: All of them.
        audit: Where changes are written down.
    """

    def __init__(self, teams: Teams, audit: AuditLog) -> None:
        self._teams = teams
        self._audit = audit

    def routes(self) -> Sequence[RuledRoute]:
        """Their routes."""
        every, one = "/admin/teams", "/admin/teams/{id}"
        return [
            route(every, self.show, methods=["GET"], rule=Rule.VIEWER),
            route(every, self.create, methods=["POST"], rule=Rule.ADMIN),
            route(one, self.rename, methods=["PATCH"], rule=Rule.ADMIN),
            route(one, self.close, methods=["DELETE"], rule=Rule.ADMIN),
        ]

    async def show(self, request: Request) -> Response:
        """All open teams."""
        return json_response({"teams": await self._teams.list(request.state.scope)})

    async def create(self, request: Request) -> Response:
        """Make a team."""
        wanted = await read_as(request, TeamBody, "a team")
        made = await self._teams.create(request.state.scope, wanted.name)
        await self._audit.note(request.state.scope, "team.made", made.id)
        return json_response(made, status=201)

    async def rename(self, request: Request) -> Response:
        """Call a team otherwise."""
        wanted = await read_as(request, TeamBody, "a team")
        identifier = request.path_params["id"]
        await self._teams.rename(request.state.scope, identifier, wanted.name)
        await self._audit.note(request.state.scope, "team.renamed", identifier)
        return Response(status_code=204)

    async def close(self, request: Request) -> Response:
        """Close a team; its accounts stay, in none."""
        identifier = request.path_params["id"]
        await self._teams.close(request.state.scope, identifier)
        await self._audit.note(request.state.scope, "team.closed", identifier)
        return Response(status_code=204)
