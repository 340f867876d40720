"""Routes of limits: how they stand, set one, take one away."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, get_args

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.limits import LimitKind, LimitPeriod
from headrace.core.scope import NodeKind
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger.audit import AuditLog
from headrace.ledger.limits import MAXIMA, Limits
from headrace.serving.admin.body import read_as
from headrace.store import limits as rows
from headrace.store.budgets import has_node
from headrace.store.database import Database
from headrace.store.limits import RateLimit

_KINDS: frozenset[str] = frozenset(get_args(LimitKind))
_PERIODS: frozenset[str] = frozenset(get_args(LimitPeriod))


class LimitBody(msgspec.Struct, forbid_unknown_fields=True):
    """A limit to set; one of its kind and period at this node is replaced.

    `period` is `now` for `concurrent`, calls that run at the same time, and `minute` or `day` for
    the others.
    """

    node_kind: NodeKind
    node_id: str
    kind: LimitKind
    period: LimitPeriod
    maximum: Annotated[int, msgspec.Meta(ge=1)]


class LimitUse(msgspec.Struct, frozen=True):
    """A limit, and how much of it is used now."""

    node_kind: NodeKind
    node_id: str
    kind: LimitKind
    period: LimitPeriod
    maximum: int
    used: int


def limit_routes(
    database: Database,
    limits: Limits,
    audit: AuditLog,
    clock: Clock,
    *,
    changed: Callable[[], Awaitable[None]],
) -> Sequence[RuledRoute]:
    """Limits, for admins to change and viewers to see.

    Args:
        database: Where they are kept.
        limits: Knows how they stand.
        audit: Where changes are written down.
        clock: The house's clock.
        changed: Brings what has changed to every process.
    """

    async def show(request: Request) -> Response:
        found = await database.read(lambda connection: rows.of(connection, request.state.scope))
        return json_response({"limits": [_use(limit, limits) for limit in found]})

    async def put(request: Request) -> Response:
        scope = request.state.scope
        body = await read_as(request, LimitBody, "a limit")
        _check(body)
        limit = RateLimit(body.node_kind, body.node_id, body.kind, body.period, body.maximum)
        limits.reserve(limit)
        now_ns = clock.now_ns()

        def work(connection: Connection) -> None:
            if not has_node(connection, scope, limit.node_kind, limit.node_id):
                raise NotFound(f"there is no {limit.node_kind} {limit.node_id}")
            rows.put(connection, scope, limit, created_ns=now_ns)

        await database.write(work)
        await audit.note(
            scope,
            "limit.set",
            limit.node_id,
            kind=limit.kind,
            period=limit.period,
            maximum=limit.maximum,
        )
        await changed()
        return json_response(_use(limit, limits))

    async def remove(request: Request) -> Response:
        scope, path = request.state.scope, request.path_params
        node_id, kind, period = path["node_id"], path["kind"], path["period"]
        if kind not in _KINDS or period not in _PERIODS:
            raise NotFound("there is no such limit")
        if not await database.write(
            lambda connection: rows.remove(connection, scope, node_id, kind, period)
        ):
            raise NotFound("there is no such limit")
        await audit.note(scope, "limit.removed", node_id, kind=kind, period=period)
        await changed()
        return Response(status_code=204)

    one = "/admin/limits/{node_id}/{kind}/{period}"
    return [
        route("/admin/limits", show, methods=["GET"], rule=Rule.VIEWER),
        route("/admin/limits", put, methods=["PUT"], rule=Rule.ADMIN),
        route(one, remove, methods=["DELETE"], rule=Rule.ADMIN),
    ]


def _use(limit: RateLimit, limits: Limits) -> LimitUse:
    return LimitUse(
        limit.node_kind,
        limit.node_id,
        limit.kind,
        limit.period,
        limit.maximum,
        limits.used(limit),
    )


def _check(body: LimitBody) -> None:
    """Whether it can be counted."""
    if (body.kind == "concurrent") != (body.period == "now"):
        raise InvalidRequest(
            "a limit on concurrent calls has the period now, the others have minute or day",
            param="period",
        )
    most = MAXIMA[body.period]
    if body.maximum > most:
        raise InvalidRequest(
            f"a limit of more than {most} counts nothing; take it away instead", param="maximum"
        )
