"""Routes of the reports: what money and machines did, as JSON or CSV."""

from collections.abc import Sequence
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger.reports.index import REPORTS, Asked, Report
from headrace.ledger.reports.names import By
from headrace.ledger.reports.span import span_of
from headrace.ledger.reports.sums import Same
from headrace.ledger.reports.table import to_csv
from headrace.serving.admin.query import number
from headrace.store.database import Database

_BYS: tuple[By, ...] = get_args(By)
_CSV = "text/csv; charset=utf-8"


def report_routes(database: Database, clock: Clock) -> Sequence[RuledRoute]:
    """The reports. Members may ask for those that can be narrowed to their own calls.

    Args:
        database: Where the sums are.
        clock: Tells what the last thirty days are.
    """
    return [_route(database, clock, word, report) for word, report in REPORTS.items()]


def _route(database: Database, clock: Clock, word: str, report: Report) -> RuledRoute:
    async def show(request: Request) -> Response:
        asked = _asked(request, clock.now_ns())
        form = request.query_params.get("format", "json")
        if form not in {"json", "csv"}:
            raise InvalidRequest("format is json or csv", param="format")
        scope: Scope = request.state.scope
        made = await database.read(lambda connection: report.make(connection, scope, asked))
        if form == "json":
            return json_response(made)
        return Response(
            to_csv(report.shape, getattr(made, report.rows)),
            headers={
                "cache-control": "no-store",
                "content-disposition": f'attachment; filename="{word}.csv"',
            },
            media_type=_CSV,
        )

    rule = Rule.SESSION if report.for_members else Rule.VIEWER
    return route(f"/admin/reports/{word}", show, methods=["GET"], rule=rule)


def _asked(request: Request, now_ns: int) -> Asked:
    query = request.query_params
    by = query.get("by", "team")
    if by not in _BYS:
        raise InvalidRequest(f"by is one of {', '.join(_BYS)}", param="by")
    span = span_of(now_ns, number(query, "from_ns"), number(query, "to_ns"))
    same = {name: query[name] for name in Same.__struct_fields__ if name in query}
    return Asked(now_ns=now_ns, span=span, same=Same(**same), by=by)
