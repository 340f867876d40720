"""Spend: who was charged what, for what, over any span."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

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
)
from headrace.store.schema_ledger import SPEND_FIGURES, spend_conversation
from headrace.store.spend import DAY_NS

OTHER = "other"
_SERIES_MAX = 8
_SERIES_PLACES = tuple(map(SPEND_FIGURES.index, ("price_nano", "cost_nano", "calls")))
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

    `series` is by day, or by month (`step`) where the span is long. For conversations `totals`
    and rows are of all of each conversation that was last used in the span, and there is no
    series; at most 200 rows are listed.
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
    # One reading gives both rows and series: most of the time goes into reading.
    points = tuple(over_time(connection, scope, span, (_COLUMNS[by], SPEND_FIGURES), same))
    found: dict[str, list[int]] = {}
    for _, which, values in points:
        add(found, which, values)
    named = names(connection, scope, by, found)
    rows = [
        _row(
            one,
            named[one],
            Figures(*values),
            span.receipts(**same.fields() | {_COLUMNS[by]: one}),
        )
        for one, values in found.items()
    ]
    rows.sort(key=lambda row: (-row.price_nano, -row.cost_nano, -row.calls, row.id))
    return Spend(
        by=by,
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step_of(span),
        rows=tuple(rows),
        totals=_total(rows),
        series=_series(points, {row.id for row in rows[:_SERIES_MAX]}),
    )


def _series(
    points: Sequence[tuple[int, str, tuple[int, ...]]], first: Collection[str]
) -> tuple[SpendPoint, ...]:
    """Over time, the first ones apart."""
    sums: dict[tuple[int, str], list[int]] = {}
    for day_ns, which, values in points:
        one = which if which in first else OTHER
        add(sums, (day_ns, one), [values[place] for place in _SERIES_PLACES])
    return tuple(SpendPoint(*key, *values) for key, values in sorted(sums.items()))


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
    rows, totals = _conversations(connection, scope, span, narrowed(connection, scope, same))
    named = names(connection, scope, "conversation", [row.id for row in rows])
    return Spend(
        by="conversation",
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step_of(span),
        rows=tuple(msgspec.structs.replace(row, name=named[row.id]) for row in rows),
        totals=totals,
        series=(),
    )


_TALK_FIGURES = ("calls", "input_tokens", "output_tokens", "price_nano", "cost_nano")


def _conversations(
    connection: Connection, scope: Scope, span: Span, same: Same | None
) -> tuple[list[SpendRow], Figures]:
    if same is None:
        return [], Figures()
    table = spend_conversation
    conditions: list[ColumnElement[bool]] = [
        table.c.organisation_id == scope.organisation_id,
        table.c.last_ns >= span.from_ns,
        table.c.last_ns < span.to_ns,
        *(table.c[name] == value for name, value in same.fields().items()),
    ]
    columns = [table.c[name] for name in _TALK_FIGURES]
    dearest = select(table.c.conversation_id, *columns).where(*conditions)
    dearest = dearest.order_by(
        table.c.price_nano.desc(), table.c.cost_nano.desc(), table.c.conversation_id
    )
    rows = [
        _row(one, one, _talk(values), receipts_path({"conversation_id": one}))
        for one, *values in connection.execute(dearest.limit(_CONVERSATIONS_MAX))
    ]
    sums_of = connection.execute(select(*map(func.sum, columns)).where(*conditions)).one()
    return rows, _talk([0 if value is None else int(value) for value in sums_of])


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
