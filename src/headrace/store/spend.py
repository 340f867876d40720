"""Spending: sums of the receipts, written in the same transaction as their rows.

Hours tell budgets what each node of the account tree was charged, days and months tell the
reports everything, conversations what each of them came to. All are by when a call began, in
UTC, and hold calls that have ended.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import add as add_one
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from headrace.core.models import Usage
from headrace.core.scope import Lineage
from headrace.store.generations import Generation, Settled
from headrace.store.schema_ledger import (
    CALLER_DIMENSIONS,
    MODEL_DIMENSIONS,
    SPEND_DIMENSIONS,
    SPEND_FIGURES,
)
from headrace.store.statements import run_many

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
_NS_PER_S = 1_000_000_000

FAILED = frozenset({"failed", "interrupted"})
"""How calls end that count as failed."""


class Refund(NamedTuple):
    """Money given back for a call that has ended, in nano-dollars."""

    begun: Generation
    amount_nano: int


class HourRefund(NamedTuple):
    """The same for budgets, which need not wait for the call's end in another journal.

    `worker` is the one whose journal holds the refund: it has that part of the budget back.
    """

    lineage: Lineage
    started_ns: int
    worker: str
    amount_nano: int


def add(
    connection: Connection,
    settled: Sequence[Settled],
    refunds: Sequence[Refund] = (),
    hour_refunds: Sequence[HourRefund] = (),
) -> None:
    """Add calls that have just ended, and take off what was given back.

    Takes no scope: the calls carry their own.
    """
    sums = _Sums()
    for back in hour_refunds:
        sums.charge(back.lineage.nodes(), back.started_ns, back.worker, -back.amount_nano)
    for one, ending in settled:
        used = ending.usage or _NOTHING
        figures = (
            1,
            int(ending.stop in FAILED),
            used.input,
            used.cached,
            used.output,
            used.reasoning,
            ending.price_nano,
            ending.cost_nano,
            ending.loss_nano,
            ending.saved_nano,
            ending.machine_ns,
            ending.prefill_machine_ns,
        )
        if ending.price_nano:
            nodes = (one.organisation_id, one.team_id, one.account_id, one.key_id)
            sums.charge(nodes, one.started_ns, one.worker, ending.price_nano)
        sums.add(one, ending.machine, figures)
    for refund in refunds:
        back = -refund.amount_nano
        sums.add(
            refund.begun,
            refund.begun.machine,
            tuple(back if n == "price_nano" else 0 for n in SPEND_FIGURES),
        )
    sums.write(connection)


def month_of(time_ns: int) -> int:
    """When the month of a time began, in UTC."""
    return _month_of_day(time_ns - time_ns % DAY_NS)


@lru_cache(maxsize=64)
def _month_of_day(day_ns: int) -> int:
    day = datetime.fromtimestamp(day_ns // _NS_PER_S, UTC)
    return int(day.replace(day=1).timestamp()) * _NS_PER_S


_NOTHING = Usage()
_Figures = tuple[int, ...]


class _Sums:
    """What a batch adds to each row."""

    def __init__(self) -> None:
        self._hours: dict[tuple[str, int, str], int] = {}
        self._days: dict[tuple[Any, ...], _Figures] = {}
        self._talks: dict[tuple[str, str], tuple[Any, ...]] = {}

    def charge(
        self, nodes: Sequence[str | None], started_ns: int, worker: str, charged_nano: int
    ) -> None:
        """Charge the nodes of a call's lineage."""
        hour_ns = started_ns - started_ns % HOUR_NS
        for node in nodes:
            if node is not None:
                hour = (node, hour_ns, worker)
                self._hours[hour] = self._hours.get(hour, 0) + charged_nano

    def add(self, one: Generation, machine: str | None, figures: _Figures) -> None:
        """Add the figures of one call."""
        started_ns = one.started_ns
        day = (
            one.organisation_id,
            started_ns - started_ns % DAY_NS,
            one.team_id or "",
            one.account_id,
            one.key_id,
            one.model_id,
            one.release_digest,
            one.purpose,
            machine or "",
        )
        self._days[day] = _plus(self._days.get(day), figures)
        if one.conversation_id is not None:
            self._talk(one, figures)

    def _talk(self, one: Generation, figures: _Figures) -> None:
        calls, _, read, _, made, _, price, cost, *_ = figures
        place = (one.organisation_id, one.conversation_id or "")
        _, _, last_ns, *before = self._talks.get(place, ("", "", 0, 0, 0, 0, 0, 0))
        sums = _plus(tuple(before), (calls, read, made, price, cost))
        self._talks[place] = (one.account_id, one.purpose, max(last_ns, one.started_ns), *sums)

    def write(self, connection: Connection) -> None:
        """Add the sums to the rows."""
        # In order, so that neighbours share pages and no two writers wait for each other.
        if self._hours:
            hours = [(*place, charged) for place, charged in sorted(self._hours.items())]
            run_many(connection, _ADD_HOURS, hours)
        if not self._days:
            return
        days = sorted(self._days.items())
        run_many(connection, _ADD_DAYS, [(*place, *figures) for place, figures in days])
        run_many(connection, _ADD_MONTHS, _months(days))
        for text, place_of in _SMALLER:
            run_many(connection, text, _smaller(days, place_of))
        if self._talks:
            talks = [(*place, *values) for place, values in sorted(self._talks.items())]
            run_many(connection, _ADD_TALKS, talks)


def _months(days: Iterable[tuple[tuple[Any, ...], _Figures]]) -> list[tuple[Any, ...]]:
    months: dict[tuple[Any, ...], _Figures] = {}
    for (organisation_id, day_ns, *rest), figures in days:
        month = (organisation_id, _month_of_day(day_ns), *rest)
        months[month] = _plus(months.get(month), figures)
    return [(*place, *figures) for place, figures in sorted(months.items())]


def _smaller(
    days: Iterable[tuple[tuple[Any, ...], _Figures]],
    place_of: Callable[[tuple[Any, ...]], tuple[Any, ...]],
) -> list[tuple[Any, ...]]:
    """The same days, told apart by less."""
    found: dict[tuple[Any, ...], _Figures] = {}
    for place, figures in days:
        less = place_of(place)
        found[less] = _plus(found.get(less), figures)
    return [(*place, *figures) for place, figures in sorted(found.items())]


def _plus(before: _Figures | None, figures: _Figures) -> _Figures:
    if before is None:
        return figures
    return tuple(map(add_one, before, figures))


def _add_text(table: str, key: Sequence[str], sums: Sequence[str], *others: str) -> str:
    """A statement that adds to a row, or makes it."""
    columns = (*key, *others, *sums)
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names of the schema
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}"
    )


_ADD_HOURS = _add_text("spend_hour", ("node_id", "hour_ns", "worker"), ("charged_nano",))
_ADD_DAYS = _add_text("spend_day", ("organisation_id", "day_ns", *SPEND_DIMENSIONS), SPEND_FIGURES)
_SMALLER = tuple(
    (
        _add_text(table, ("organisation_id", "day_ns", *names), SPEND_FIGURES),
        itemgetter(0, 1, *(2 + SPEND_DIMENSIONS.index(name) for name in names)),
    )
    for table, names in (
        ("spend_day_caller", CALLER_DIMENSIONS),
        ("spend_day_model", MODEL_DIMENSIONS),
    )
)
_ADD_MONTHS = _add_text(
    "spend_month", ("organisation_id", "month_ns", *SPEND_DIMENSIONS), SPEND_FIGURES
)
_ADD_TALKS = (
    _add_text(
        "spend_conversation",
        ("organisation_id", "conversation_id"),
        ("calls", "input_tokens", "output_tokens", "price_nano", "cost_nano"),
        "account_id",
        "purpose",
        "last_ns",
    )
    + ", last_ns = CASE WHEN excluded.last_ns > spend_conversation.last_ns"
    " THEN excluded.last_ns ELSE spend_conversation.last_ns END"
)
