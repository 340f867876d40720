"""Route of the audit log: who changed what, as the journal's chain holds it."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger.reports.changes import Change, changes
from headrace.serving.admin.query import page_size
from headrace.store.database import Database

_DEFAULT = 50
_MOST = 500


class AuditPage(msgspec.Struct, frozen=True):
    """Changes, newest first; `next` asks for those behind them as `before`, None at the end."""

    events: tuple[Change, ...]
    next: str | None


def audit_routes(database: Database) -> Sequence[RuledRoute]:
    """The audit log, for owners, admins and viewers."""

    async def listed(request: Request) -> Response:
        query = request.query_params
        limit = page_size(query, default=_DEFAULT, most=_MOST)
        scope: Scope = request.state.scope
        found = await database.read(
            lambda connection: changes(
                connection, scope, limit=limit + 1, before=query.get("before")
            )
        )
        more = found[limit - 1].id if len(found) > limit else None
        return json_response(AuditPage(found[:limit], more))

    return [route("/admin/audit", listed, methods=["GET"], rule=Rule.VIEWER)]
