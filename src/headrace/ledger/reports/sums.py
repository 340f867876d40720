"""Sums of spending over a span, told apart by anything; what most reports begin with.

Whole months are read from sums of months, the days at both ends and what is told day by day from
the smallest sums of days that tell enough apart.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.span import Span
from headrace.store.schema_ledger import (
    CALLER_DIMENSIONS,
    MODEL_DIMENSIONS,
    SPEND_FIGURES,
    spend_day,
    spend_day_caller,
    spend_day_model,
    spend_month,
)
from headrace.store.spend import DAY_NS, month_of
from headrace.store.visibility import sees_figures

DAYS_BY_DAY_MAX = 92
_LONGEST_MONTH_NS = 31 * DAY_NS

Step = Literal["day", "month"]


class Figures(msgspec.Struct, frozen=True):
    """Calls that ended, their tokens, money in nano-dollars and machine time in nanoseconds."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    price_nano: int = 0
    cost_nano: int = 0
    loss_nano: int = 0
    saved_nano: int = 0
    machine_ns: int = 0
    prefill_machine_ns: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """Both together."""
        return Figures(*(getattr(self, n) + getattr(other, n) for n in SPEND_FIGURES))


class Same(msgspec.Struct, frozen=True, kw_only=True):
    """What calls have in common; None: anything. An empty team is none."""

    team_id: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    model_id: str | None = None
    release_digest: str | None = None
    purpose: str | None = None
    machine: str | None = None

    def fields(self) -> dict[str, str]:
        """Those that are set."""
        return {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }


ANY = Same()


def step_of(span: Span) -> Step:
    """How finely a span is told over time."""
    return "day" if span.days <= DAYS_BY_DAY_MAX else "month"


def next_month(month_ns: int) -> int:
    """When the month after one begins, by when that one did."""
    return month_of(month_ns + _LONGEST_MONTH_NS)


def narrowed(connection: Connection, scope: Scope, same: Same) -> Same | None:
    """`same` as far as `scope` may see; None where that is nothing."""
    if sees_figures(connection, scope):
        return same
    if same.account_id not in {None, scope.account_id}:
        return None
    return msgspec.structs.replace(same, account_id=scope.account_id)


def sums(
    connection: Connection, scope: Scope, span: Span, by: Sequence[str], same: Same = ANY
) -> Mapping[tuple[str, ...], Figures]:
    """The sums for each combination of the dimensions `by`, of what `scope` may see."""
    seen = narrowed(connection, scope, same)
    found: dict[tuple[str, ...], Figures] = {}
    if seen is None:
        return found
    for part in _parts(span, {*by, *seen.fields()}, by_month=True):
        columns = [part.table.c[name] for name in by]
        query = (
            select(*columns, *(func.sum(part.table.c[name]) for name in SPEND_FIGURES))
            .where(*part.conditions(scope, seen))
            .group_by(*columns)
        )
        for row in connection.execute(query):
            if row[-1] is None:
                continue  # a sum of nothing, where there is nothing to group by
            key = tuple(row[: len(by)])
            figures = Figures(*map(int, row[len(by) :]))
            found[key] = found[key].plus(figures) if key in found else figures
    return found


def over_time(
    connection: Connection,
    scope: Scope,
    span: Span,
    wanted: tuple[str | None, Sequence[str]],
    same: Same = ANY,
    *,
    among: Sequence[str] | None = None,
) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Figures by day or month: when it began, which of the dimension, and how much.

    `wanted` is the dimension, if any, and the figures; `among` are those of the dimension to look
    at. The days at the ends of a span that is told by months stand in the months they belong to.
    """
    by, figures = wanted
    seen = narrowed(connection, scope, same)
    found: dict[tuple[int, str], tuple[int, ...]] = {}
    by_month = step_of(span) == "month"
    if seen is None:
        return
    bys = [] if by is None else [by]
    for part in _parts(span, {*bys, *seen.fields()}, by_month=by_month):
        columns = [part.table.c[part.time], *(part.table.c[name] for name in bys)]
        query = (
            select(*columns, *(func.sum(part.table.c[name]) for name in figures))
            .where(*part.conditions(scope, seen))
            .group_by(*columns)
        )
        if among is not None:
            query = query.where(*(one.in_(among) for one in columns[1:]))
        for values_of in connection.execute(query):
            row = tuple(values_of)
            when = month_of(row[0]) if by_month else row[0]
            key = (when, "" if by is None else row[1])
            values = row[len(columns) :]
            if not isinstance(values[0], int):  # PostgreSQL sums integers to decimals
                values = tuple(map(int, values))
            before = found.get(key)
            found[key] = values if before is None else tuple(map(operator.add, before, values))
    for (when, which), values in sorted(found.items()):
        yield when, which, values


Place = TypeVar("Place")


def add(found: dict[Place, list[int]], place: Place, values: Sequence[int]) -> None:
    """Add figures to those of a place."""
    before = found.get(place)
    found[place] = list(values if before is None else map(operator.add, before, values))


class _Part(NamedTuple):
    """A table that holds a part of a span, its column of time, and the part."""

    table: Table
    time: str
    from_ns: int
    to_ns: int

    def conditions(self, scope: Scope, same: Same) -> list[ColumnElement[bool]]:
        """Which of its rows."""
        return [
            self.table.c.organisation_id == scope.organisation_id,
            self.table.c[self.time] >= self.from_ns,
            self.table.c[self.time] < self.to_ns,
            *(self.table.c[name] == value for name, value in same.fields().items()),
        ]


def _days_telling(wanted: AbstractSet[str]) -> Table:
    """The smallest sums of days that tell these apart."""
    if wanted <= set(CALLER_DIMENSIONS):
        return spend_day_caller
    return spend_day_model if wanted <= set(MODEL_DIMENSIONS) else spend_day


def _parts(span: Span, wanted: AbstractSet[str], *, by_month: bool) -> Iterator[_Part]:
    """What holds the span together."""
    days = _days_telling(wanted)
    first_ns = month_of(span.from_ns)
    if first_ns < span.from_ns:
        first_ns = next_month(first_ns)
    last_ns = month_of(span.to_ns)
    if not by_month or first_ns >= last_ns:
        yield _Part(days, "day_ns", span.from_ns, span.to_ns)
        return
    if span.from_ns < first_ns:
        yield _Part(days, "day_ns", span.from_ns, first_ns)
    yield _Part(spend_month, "month_ns", first_ns, last_ns)
    if last_ns < span.to_ns:
        yield _Part(days, "day_ns", last_ns, span.to_ns)
