"""Route of the audit log: who changed what, as the journal's chain holds it."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.serving.admin.query import page_size
from headrace.store import audit
from headrace.store.audit import Event
from headrace.store.database import Database

_DEFAULT = 50
_MOST = 500


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change. `detail` says what was set, with opaque ids only."""

    id: str
    actor_id: str
    action: str
    object_id: str
    detail: msgspec.Raw
    time_ns: int


class AuditPage(msgspec.Struct, frozen=True):
    """Changes, newest first; `next` asks for those behind them as `before`, None at the end."""

    events: tuple[AuditEvent, ...]
    next: str | None


def audit_routes(database: Database) -> Sequence[RuledRoute]:
    """The audit log, for owners, admins and viewers."""

    async def listed(request: Request) -> Response:
        query = request.query_params
        limit = page_size(query, default=_DEFAULT, most=_MOST)
        scope: Scope = request.state.scope
        found = await database.read(
            lambda connection: audit.recent(
                connection, scope, limit=limit + 1, before=query.get("before")
            )
        )
        more = found[limit - 1].id if len(found) > limit else None
        return json_response(AuditPage(tuple(map(_event, found[:limit])), more))

    return [route("/admin/audit", listed, methods=["GET"], rule=Rule.VIEWER)]


def _event(one: Event) -> AuditEvent:
    return AuditEvent(
        id=one.id,
        actor_id=one.actor_id,
        action=one.action,
        object_id=one.object_id,
        detail=msgspec.Raw(one.detail.encode()),
        time_ns=one.time_ns,
    )
