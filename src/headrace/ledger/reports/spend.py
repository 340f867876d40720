"""Spend: who was charged what, for what, over any span."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, select

from headrace.core.errors import InvalidRequest
from headrace.core.scope import Scope
from headrace.ledger.reports.names import By, names
from headrace.ledger.reports.span import Span, day_of, receipts_path
from headrace.ledger.reports.sums import (
    ANY,
    Figures,
    Same,
    Step,
    add,
    narrowed,
    next_month,
    over_time,
    step_of,
    sums,
)
from headrace.store.schema_ledger import SPEND_FIGURES, spend_conversation
from headrace.store.spend import DAY_NS

OTHER = "other"
_SERIES_MAX = 8
_SERIES_FIGURES = ("price_nano", "cost_nano", "calls")
_CONVERSATIONS_MAX = 200
_COLUMNS: Mapping[By, str] = {
    "team": "team_id",
    "account": "account_id",
    "key": "key_id",
    "model": "model_id",
    "release": "release_digest",
    "purpose": "purpose",
}


class SpendRow(Figures, frozen=True, kw_only=True):
    """What one of them came to; `receipts` is where the calls are listed."""

    id: str
    name: str
    receipts: str


class SpendPoint(msgspec.Struct, frozen=True):
    """What one of them came to in a day or month; `id` is `other` for all but the first eight."""

    day_ns: int
    id: str
    price_nano: int
    cost_nano: int
    calls: int


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Spending over whole days of UTC, the dearest first.

    `series` is by day, or by month (`step`) where the span is long. Rows of conversations are of
    all of each conversation that was last used in the span, 200 at most, and have no series;
    `totals` are of the calls of the span whatever it is told apart by.
    """

    by: By
    from_ns: int
    to_ns: int
    step: Step
    rows: tuple[SpendRow, ...]
    totals: Figures
    series: tuple[SpendPoint, ...]


def spend(connection: Connection, scope: Scope, span: Span, by: By, same: Same = ANY) -> Spend:
    """What `scope` may see of the spending of its organisation: members see their own.

    Raises:
        InvalidRequest: Conversations are asked for by what their sums do not tell.
    """
    if by == "conversation":
        return _by_conversation(connection, scope, span, same)
    if by == "day":
        return _by_day(connection, scope, span, same)
    column = _COLUMNS[by]
    found = {key[0]: one for key, one in sums(connection, scope, span, [column], same).items()}
    named = names(connection, scope, by, found)
    rows = [
        _row(one, named[one], figures, span.receipts(**same.fields() | {column: one}))
        for one, figures in found.items()
    ]
    rows.sort(key=lambda row: (-row.price_nano, -row.cost_nano, -row.calls, row.id))
    return Spend(
        by=by,
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step_of(span),
        rows=tuple(rows),
        totals=_total(rows),
        series=_series(connection, scope, span, same, (column, [row.id for row in rows])),
    )


def _series(
    connection: Connection,
    scope: Scope,
    span: Span,
    same: Same,
    rows: tuple[str, Sequence[str]],
) -> tuple[SpendPoint, ...]:
    """Over time, the first rows apart; the others are what is left of all."""
    column, found = rows
    first = found[:_SERIES_MAX]
    places: dict[tuple[int, str], list[int]] = {}
    wanted = (column, _SERIES_FIGURES)
    for day_ns, one, values in over_time(connection, scope, span, wanted, same, among=first):
        add(places, (day_ns, one), values)
        if len(found) > len(first):
            add(places, (day_ns, OTHER), [-value for value in values])
    if len(found) > len(first):
        whole = (None, _SERIES_FIGURES)
        for day_ns, _, values in over_time(connection, scope, span, whole, same):
            add(places, (day_ns, OTHER), values)
    return tuple(SpendPoint(*key, *values) for key, values in sorted(places.items()) if any(values))


def _by_day(connection: Connection, scope: Scope, span: Span, same: Same) -> Spend:
    step = step_of(span)
    rows: list[SpendRow] = []
    for day_ns, _, values in over_time(connection, scope, span, (None, SPEND_FIGURES), same):
        end_ns = min(span.to_ns, day_ns + DAY_NS if step == "day" else next_month(day_ns))
        one = Span(max(day_ns, span.from_ns), end_ns)
        name = day_of(day_ns) if step == "day" else day_of(day_ns)[:7]
        rows.append(_row(name, name, Figures(*values), one.receipts(**same.fields())))
    return Spend(
        by="day",
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step,
        rows=tuple(rows),
        totals=_total(rows),
        series=(),
    )


def _by_conversation(connection: Connection, scope: Scope, span: Span, same: Same) -> Spend:
    if set(same.fields()) - {"account_id", "purpose"}:
        raise InvalidRequest(
            "conversations can be narrowed by account_id and purpose only", param="by"
        )
    rows = _conversations(connection, scope, span, narrowed(connection, scope, same))
    named = names(connection, scope, "conversation", [row.id for row in rows])
    return Spend(
        by="conversation",
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step_of(span),
        rows=tuple(msgspec.structs.replace(row, name=named[row.id]) for row in rows),
        totals=sums(connection, scope, span, [], same).get((), Figures()),
        series=(),
    )


_TALK_FIGURES = ("calls", "input_tokens", "output_tokens", "price_nano", "cost_nano")


def _conversations(
    connection: Connection, scope: Scope, span: Span, same: Same | None
) -> list[SpendRow]:
    if same is None:
        return []
    table = spend_conversation
    conditions: list[ColumnElement[bool]] = [
        table.c.organisation_id == scope.organisation_id,
        table.c.last_ns >= span.from_ns,
        table.c.last_ns < span.to_ns,
        *(table.c[name] == value for name, value in same.fields().items()),
    ]
    order = (table.c.price_nano.desc(), table.c.cost_nano.desc(), table.c.conversation_id)
    # Found in the index alone, before anything is read of them.
    dearest = select(table.c.conversation_id).where(*conditions).order_by(*order)
    dearest = dearest.limit(_CONVERSATIONS_MAX).scalar_subquery()
    columns = [table.c[name] for name in _TALK_FIGURES]
    query = select(table.c.conversation_id, *columns).where(
        table.c.organisation_id == scope.organisation_id, table.c.conversation_id.in_(dearest)
    )
    return [
        _row(one, one, _talk(values), receipts_path({"conversation_id": one}))
        for one, *values in connection.execute(query.order_by(*order))
    ]


def _talk(values: Sequence[int]) -> Figures:
    return Figures(**dict(zip(_TALK_FIGURES, values, strict=True)))


def _row(one: str, name: str, figures: Figures, receipts: str) -> SpendRow:
    values = msgspec.structs.asdict(figures)
    return SpendRow(**values, id=one, name=name, receipts=receipts)


def _total(rows: Sequence[SpendRow]) -> Figures:
    total = Figures()
    for row in rows:
        total = total.plus(row)
    return total
