"""What `headrace ledger verify` asks the rows, across all organisations.

Nothing here takes a scope: the books are proved as a whole, by whoever runs Headrace.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, select, text

from headrace.store import generations as receipts
from headrace.store.audit import Event
from headrace.store.balances import Balance
from headrace.store.budgets import BudgetPeriod
from headrace.store.generations import Generation
from headrace.store.outcomes import OutcomeRow
from headrace.store.postings import Posting
from headrace.store.schema import generation, projection
from headrace.store.schema_ledger import (
    SPEND_DIMENSIONS,
    SPEND_FIGURES,
    audit,
    balance,
    budget,
    budget_grant,
    hardware_hour,
    outcome,
    posting,
    spend_hour,
)
from headrace.store.spend import DAY_NS, FAILED, HOUR_NS

_PREFIX = "generation:"


class Difference(NamedTuple):
    """A row of sums that is not what the receipts come to: the row less the receipts."""

    place: tuple[Any, ...]
    figures: tuple[int, ...]


def position(connection: Connection, name: str) -> str | None:
    """How far a projection has read."""
    return receipts.position(connection, name)


def unknown_workers(connection: Connection, known: Collection[str]) -> list[str]:
    """Workers whose journals were projected, besides these."""
    names = connection.scalars(select(projection.c.name).order_by(projection.c.name))
    workers = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    return [worker for worker in workers if worker not in known]


def open_rows(connection: Connection, worker: str) -> tuple[Generation, ...]:
    """The receipts of a worker's calls that have not ended."""
    query = select(generation).where(generation.c.worker == worker, generation.c.stop.is_(None))
    return tuple(receipts.from_row(row) for row in connection.execute(query).mappings())


def count_by_worker(connection: Connection) -> dict[str, int]:
    """How many receipts each worker's journal has made."""
    query = select(generation.c.worker, func.count()).group_by(generation.c.worker)
    return {str(worker): int(count) for worker, count in connection.execute(query)}


def generations(connection: Connection, identifiers: Sequence[str]) -> dict[str, Generation]:
    """Receipts by id."""
    query = select(generation).where(generation.c.id.in_(identifiers))
    rows = connection.execute(query).mappings() if identifiers else ()
    return {row["id"]: receipts.from_row(row) for row in rows}


def postings(connection: Connection, identifiers: Sequence[str]) -> dict[str, Posting]:
    """Postings by id."""
    query = select(posting).where(posting.c.id.in_(identifiers))
    rows = connection.execute(query).mappings() if identifiers else ()
    return {row["id"]: Posting(**row) for row in rows}


def events(connection: Connection, identifiers: Sequence[str]) -> dict[str, Event]:
    """Changes by id."""
    query = select(audit).where(audit.c.id.in_(identifiers))
    rows = connection.execute(query).mappings() if identifiers else ()
    return {row["id"]: Event(**row) for row in rows}


def count_postings(connection: Connection) -> int:
    """How many postings there are."""
    return connection.scalar(select(func.count()).select_from(posting)) or 0


def count_events(connection: Connection) -> int:
    """How many changes there are."""
    return connection.scalar(select(func.count()).select_from(audit)) or 0


def balances(connection: Connection) -> Iterator[tuple[str, Balance]]:
    """All balances, each with its organisation."""
    columns = (balance.c.organisation_id, balance.c.name, balance.c.amount_nano, balance.c.entries)
    for organisation_id, name, amount, entries in connection.execute(select(*columns)):
        yield organisation_id, Balance(name, amount, entries)


def outcomes(connection: Connection) -> set[OutcomeRow]:
    """All outcomes."""
    query = select(*(outcome.c[name] for name in OutcomeRow.__struct_fields__))
    return {OutcomeRow(*row) for row in connection.execute(query)}


def hardware_hours(connection: Connection) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """All hours of machines: organisation, machine and hour."""
    names = ("up_ns", "busy_ns", "energy_mj", "estimated_mj", "cost_nano", "idle_nano")
    keys = (hardware_hour.c.organisation_id, hardware_hour.c.name, hardware_hour.c.hour_ns)
    rows = connection.execute(select(*keys, *(hardware_hour.c[name] for name in names)))
    return {(row[0], row[1], row[2]): tuple(row[3:]) for row in map(tuple, rows)}


_FAILED = ", ".join(f"'{stop}'" for stop in sorted(FAILED))
_OF_CALL = {
    "calls": "1",
    "failed": f"CASE WHEN stop IN ({_FAILED}) THEN 1 ELSE 0 END",
}
_NULLABLE_PLACES = frozenset({"team_id", "machine"})
_PLACES = ", ".join(SPEND_DIMENSIONS)
_PLACES_OF_CALL = ", ".join(
    f"COALESCE({name}, '')" if name in _NULLABLE_PLACES else name for name in SPEND_DIMENSIONS
)


def _difference(key: str, figures: Sequence[str], sums: str, parts: str) -> str:
    """A query of the rows of `sums` that differ from what the `parts` come to."""
    summed = ", ".join(f"SUM({name})" for name in figures)
    wrong = " OR ".join(f"SUM({name}) <> 0" for name in figures)
    both = f"SELECT {key}, {', '.join(figures)} FROM {sums} UNION ALL {parts}"  # noqa: S608 - names of the schema, as in all below
    return f"SELECT {key}, {summed} FROM ({both}) AS both_sides GROUP BY {key} HAVING {wrong}"  # noqa: S608


def days_off(connection: Connection) -> Iterator[Difference]:
    """Days that are not the sums of their receipts: organisation, day and dimensions."""
    figures = ", ".join(f"-COALESCE({_OF_CALL.get(n, n)}, 0)" for n in SPEND_FIGURES)
    parts = (
        f"SELECT organisation_id, started_ns - started_ns % {DAY_NS}, {_PLACES_OF_CALL}, {figures}"  # noqa: S608
        " FROM generation WHERE stop IS NOT NULL"
    )
    key = f"organisation_id, day_ns, {_PLACES}"
    query = _difference(key, SPEND_FIGURES, "spend_day", parts)
    return _differences(connection, query, 2 + len(SPEND_DIMENSIONS))


def months_off(connection: Connection) -> Iterator[Difference]:
    """Months that are not the sums of their days."""
    month = {
        "sqlite": "CAST(strftime('%s', day_ns / 1000000000, 'unixepoch', 'start of month')"
        " AS INTEGER)",
        "postgresql": "CAST(EXTRACT(EPOCH FROM date_trunc('month',"
        " to_timestamp(day_ns / 1000000000) AT TIME ZONE 'UTC')) AS BIGINT)",
    }[connection.dialect.name]
    figures = ", ".join(f"-{name}" for name in SPEND_FIGURES)
    parts = f"SELECT organisation_id, {month} * 1000000000, {_PLACES}, {figures} FROM spend_day"  # noqa: S608
    key = f"organisation_id, month_ns, {_PLACES}"
    query = _difference(key, SPEND_FIGURES, "spend_month", parts)
    return _differences(connection, query, 2 + len(SPEND_DIMENSIONS))


def smaller_days_off(connection: Connection, table: Table) -> Iterator[Difference]:
    """Days told apart by less, one of `spend_day_…`, that are not the sums of the whole ones."""
    names = [str(one.name) for one in table.primary_key.columns]
    key = ", ".join(names)
    figures = ", ".join(f"-{name}" for name in SPEND_FIGURES)
    parts = f"SELECT {key}, {figures} FROM spend_day"  # noqa: S608
    query = _difference(key, SPEND_FIGURES, table.name, parts)
    return _differences(connection, query, len(names))


def conversations_off(connection: Connection) -> Iterator[Difference]:
    """Conversations that are not the sums of their receipts: organisation and conversation.

    The last figure is by how much their last use is off.
    """
    names = ("calls", "input_tokens", "output_tokens", "price_nano", "cost_nano")
    figures = ", ".join(f"-COALESCE({_OF_CALL.get(n, n)}, 0)" for n in names)
    key = "organisation_id, conversation_id"
    both = (
        f"SELECT {key}, {', '.join(names)}, last_ns, 0 AS call_ns FROM spend_conversation"  # noqa: S608
        f" UNION ALL SELECT {key}, {figures}, 0, started_ns FROM generation"
        " WHERE stop IS NOT NULL AND conversation_id IS NOT NULL"
    )
    off = [*(f"SUM({name})" for name in names), "MAX(last_ns) - MAX(call_ns)"]
    query = (
        f"SELECT {key}, {', '.join(off)} FROM ({both}) AS both_sides GROUP BY {key}"  # noqa: S608
        f" HAVING {' OR '.join(f'{one} <> 0' for one in off)}"
    )
    return _differences(connection, query, 2)


def hours_off(connection: Connection) -> Iterator[Difference]:
    """Hours of nodes that are not what their calls were charged: node, hour and worker."""
    nodes = ("organisation_id", "team_id", "account_id", "key_id")
    parts = " UNION ALL ".join(
        f"SELECT {node}, started_ns - started_ns % {HOUR_NS}, worker, -price_nano FROM generation"  # noqa: S608
        f" WHERE price_nano <> 0 AND {node} IS NOT NULL"
        for node in nodes
    )
    key = "node_id, hour_ns, worker"
    return _differences(connection, _difference(key, ("charged_nano",), "spend_hour", parts), 3)


def _differences(connection: Connection, query: str, keys: int) -> Iterator[Difference]:
    for row in map(tuple, connection.execute(text(query))):
        yield Difference(row[:keys], tuple(map(int, row[keys:])))


class HardBudget(NamedTuple):
    """A hard budget that stands."""

    id: str
    node_id: str
    period: BudgetPeriod
    limit_nano: int
    created_ns: int


def hard_budgets(connection: Connection) -> list[HardBudget]:
    """All hard budgets that stand."""
    columns = (budget.c[name] for name in HardBudget._fields)
    query = select(*columns).where(budget.c.hard == 1, budget.c.ended_ns.is_(None))
    return [HardBudget(*row) for row in connection.execute(query.order_by(budget.c.id))]


def budget_changes(connection: Connection) -> dict[str, int]:
    """When each object named in the audit log was last changed."""
    query = select(audit.c.object_id, func.max(audit.c.time_ns)).group_by(audit.c.object_id)
    return {row[0]: row[1] for row in map(tuple, connection.execute(query))}


def charged_hours(connection: Connection, node_id: str, from_ns: int) -> list[tuple[int, int]]:
    """What a node was charged in each hour from `from_ns` on."""
    query = (
        select(spend_hour.c.hour_ns, func.sum(spend_hour.c.charged_nano))
        .where(spend_hour.c.node_id == node_id, spend_hour.c.hour_ns >= from_ns)
        .group_by(spend_hour.c.hour_ns)
        .order_by(spend_hour.c.hour_ns)
    )
    return [(hour_ns, int(nano)) for hour_ns, nano in connection.execute(query)]


def grants(connection: Connection, budget_id: str) -> dict[int, dict[str, int]]:
    """What each worker holds of a budget, by window."""
    columns = (budget_grant.c.window_ns, budget_grant.c.worker, budget_grant.c.granted_nano)
    found: dict[int, dict[str, int]] = {}
    for window_ns, worker, nano in connection.execute(
        select(*columns).where(budget_grant.c.budget_id == budget_id)
    ):
        found.setdefault(window_ns, {})[worker] = nano
    return found
