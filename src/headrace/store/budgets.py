"""Budgets: what a node of the account tree may be charged in a window of time, and who holds it.

A window is an hour, a day or a month in UTC, by when a call began, or for `once` all time:
such a budget counts from `base_nano`, what its node had been charged when it was made, so that
a clock set back opens nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from headrace.core.scope import NodeKind, Scope
from headrace.store.schema import account, api_key, generation, organisation, projection, team
from headrace.store.schema_ledger import budget, budget_grant, spend_hour
from headrace.store.statements import insert_of

BudgetPeriod = Literal["hour", "day", "month", "once"]

_NODES = {"organisation": organisation, "team": team, "account": account, "key": api_key}
_SLICE_PERCENT = 5
_WHOLE_PERCENT = 100


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One budget. A hard one refuses calls, every one warns at `warn_percent` of its limit."""

    id: str
    organisation_id: str
    node_kind: NodeKind
    node_id: str
    period: BudgetPeriod
    limit_nano: int
    base_nano: int = 0
    hard: bool
    warn_percent: tuple[int, ...]
    webhook_url: str | None
    created_ns: int
    ended_ns: int | None = None

    @property
    def counted_nano(self) -> int:
        """The limit for all that its window counts."""
        return self.limit_nano + self.base_nano


class Span(NamedTuple):
    """A window of a node's spending."""

    node_id: str
    start_ns: int
    end_ns: int


class Running(msgspec.Struct, frozen=True):
    """A call that has not ended as far as the rows know, and what it holds."""

    id: str
    worker: str
    organisation_id: str
    team_id: str | None
    account_id: str
    key_id: str
    started_ns: int
    held_nano: int | None


class Spending(NamedTuple):
    """What the rows know at one moment: the journals know what came since `positions`."""

    positions: dict[str, str]
    charged: dict[Span, dict[str, int]]
    running: tuple[Running, ...]


class Lease(NamedTuple):
    """What a worker may use of a window, and what its row says.

    `extra_nano` is beyond what it has spent and holds; below 0 while more is used than the limit
    allows, by whomever. `ceiling_nano` is the most that it could ever spend.
    """

    extra_nano: int
    ceiling_nano: int
    row_nano: int


def add(connection: Connection, scope: Scope, made: Budget) -> None:
    """A new budget in the caller's organisation."""
    row = msgspec.structs.asdict(made) | {"organisation_id": scope.organisation_id}
    connection.execute(budget.insert().values(_row(row)))


def has_node(connection: Connection, scope: Scope, kind: NodeKind, identifier: str) -> bool:
    """Whether the caller's organisation has such a node."""
    table = _NODES[kind]
    owner = table.c.id if kind == "organisation" else table.c.organisation_id
    query = select(table.c.id).where(table.c.id == identifier, owner == scope.organisation_id)
    return connection.execute(query).first() is not None


def of(connection: Connection, scope: Scope) -> tuple[Budget, ...]:
    """The budgets of the caller's organisation that have not ended, oldest first."""
    query = select(budget).where(budget.c.organisation_id == scope.organisation_id)
    return _live(connection, query)


def everywhere(connection: Connection) -> tuple[Budget, ...]:
    """The budgets of all organisations that have not ended.

    Takes no scope: the table at the door, which every call passes.
    """
    return _live(connection, select(budget))


def get(connection: Connection, scope: Scope, identifier: str) -> Budget | None:
    """A budget of the caller's organisation that has not ended."""
    query = select(budget).where(
        budget.c.id == identifier, budget.c.organisation_id == scope.organisation_id
    )
    return next(iter(_live(connection, query)), None)


def change(connection: Connection, scope: Scope, identifier: str, values: Mapping[str, Any]) -> int:
    """Set columns of a live budget; how many there were."""
    found = (
        budget.c.id == identifier,
        budget.c.organisation_id == scope.organisation_id,
        budget.c.ended_ns.is_(None),
    )
    return connection.execute(update(budget).where(*found).values(_row(dict(values)))).rowcount


def rebase(connection: Connection, identifiers: Sequence[str], back_nano: int) -> None:
    """Money from before these budgets began was given back: it is not theirs to spend.

    Takes no scope: the ledger corrects its own counting.
    """
    connection.execute(
        update(budget)
        .where(budget.c.id.in_(identifiers))
        .values(base_nano=budget.c.base_nano - back_nano)
    )


def spending(connection: Connection, spans: Iterable[Span]) -> Spending:
    """What the rows say of these spans, by worker, and how far each worker's rows reach.

    Takes no scope: it is read for calls of everybody at once.
    """
    columns = [generation.c[name] for name in Running.__struct_fields__]
    running = select(*columns).where(generation.c.stop.is_(None))
    return Spending(
        positions(connection),
        charged(connection, spans),
        tuple(Running(**row) for row in connection.execute(running).mappings()),
    )


def positions(connection: Connection) -> dict[str, str]:
    """How far the rows reach in each journal.

    Takes no scope: as `spending`.
    """
    query = select(projection.c.name, projection.c.position)
    return {row.name: row.position for row in connection.execute(query)}


def charged(connection: Connection, spans: Iterable[Span]) -> dict[Span, dict[str, int]]:
    """What the rows say of these spans, by worker.

    Takes no scope: as `spending`.
    """
    found: dict[Span, dict[str, int]] = {}
    nodes: dict[tuple[int, int], list[str]] = {}
    for span in spans:
        found[span] = {}
        nodes.setdefault((span.start_ns, span.end_ns), []).append(span.node_id)
    for (start_ns, end_ns), identifiers in nodes.items():
        for node_id, worker, nano in _charged(connection, identifiers, start_ns, end_ns):
            found[Span(node_id, start_ns, end_ns)][worker] = nano
    return found


def lease(
    connection: Connection,
    span: Span,
    budget_id: str,
    worker: str,
    *,
    used_nano: int,
    least_nano: int,
    want_nano: int,
    floors: Mapping[str, int],
) -> Lease:
    """Set what a worker may use of a budget's window, as one step for all workers.

    A worker with a grant counts with it; one without counts with what its rows were charged, or
    with `floors` where its journal says more. What is granted never passes the limit, unless
    more than that is used already.

    Takes no scope: the process that serves calls takes a part of the budget for them.

    Args:
        connection: In a write transaction.
        span: The window.
        budget_id: Whose window.
        worker: The process that asks.
        used_nano: What it has spent and holds.
        least_nano: Less than this is of no use, and is left to others.
        want_nano: What it could use now; 0 gives everything back that is not used.
        floors: What other workers have spent and hold, as their journals say.
    """
    limits = select(budget.c.limit_nano + budget.c.base_nano).where(budget.c.id == budget_id)
    limit_nano = connection.scalar(limits) or 0
    grants = granted(connection, budget_id, span.start_ns)
    spent = charged(connection, (span,))[span]
    others = {*grants, *spent, *floors} - {worker}
    taken = sum(
        grants.get(one, max(spent.get(one, 0), floors.get(one, spent.get(one, 0))))
        for one in others
    )
    rest_nano = limit_nano - taken - used_nano
    extra_nano = min(rest_nano, 0)
    if want_nano and rest_nano >= max(1, least_nano):
        extra_nano = min(rest_nano, max(want_nano, rest_nano * _SLICE_PERCENT // _WHOLE_PERCENT))
    row_nano = used_nano + max(extra_nano, 0)
    _grant(connection, budget_id, span.start_ns, worker, row_nano)
    ceiling_nano = limit_nano - sum(spent.get(one, 0) for one in others)
    return Lease(extra_nano, ceiling_nano, row_nano)


def granted(connection: Connection, budget_id: str, window_ns: int) -> dict[str, int]:
    """What each worker holds of a budget's window.

    Takes no scope: as `lease`.
    """
    query = select(budget_grant.c.worker, budget_grant.c.granted_nano).where(
        budget_grant.c.budget_id == budget_id, budget_grant.c.window_ns == window_ns
    )
    return {row.worker: row.granted_nano for row in connection.execute(query)}


def drop_grants(connection: Connection, worker: str | None) -> None:
    """Take all that a worker holds from it, or from all workers; only of those that do not run.

    Their journals must be in the rows, which count from now on.

    Takes no scope: as `lease`.
    """
    dropped = delete(budget_grant)
    if worker is not None:
        dropped = dropped.where(budget_grant.c.worker == worker)
    connection.execute(dropped)


def drop_grant(connection: Connection, budget_id: str, window_ns: int, worker: str) -> None:
    """Take what a worker holds of one window from it; its rows count from now on.

    Takes no scope: as `lease`.
    """
    connection.execute(
        delete(budget_grant).where(
            budget_grant.c.budget_id == budget_id,
            budget_grant.c.window_ns == window_ns,
            budget_grant.c.worker == worker,
        )
    )


def _grant(connection: Connection, budget_id: str, window_ns: int, worker: str, nano: int) -> None:
    insert = insert_of(connection)
    row = {
        "budget_id": budget_id,
        "window_ns": window_ns,
        "worker": worker,
        "granted_nano": nano,
    }
    connection.execute(
        insert(budget_grant)
        .values(row)
        .on_conflict_do_update(
            index_elements=["budget_id", "window_ns", "worker"], set_={"granted_nano": nano}
        )
    )


def _charged(
    connection: Connection, node_ids: Sequence[str], start_ns: int, end_ns: int
) -> list[tuple[str, str, int]]:
    """Sums of hours by node and worker."""
    total = func.sum(spend_hour.c.charged_nano)
    query = (
        select(spend_hour.c.node_id, spend_hour.c.worker, total)
        .where(
            spend_hour.c.node_id.in_(node_ids),
            spend_hour.c.hour_ns >= start_ns,
            spend_hour.c.hour_ns < end_ns,
        )
        .group_by(spend_hour.c.node_id, spend_hour.c.worker)
    )
    # PostgreSQL's sum of integers is a decimal.
    return [(node, worker, int(nano)) for node, worker, nano in connection.execute(query)]


def _live(connection: Connection, query: Any) -> tuple[Budget, ...]:  # noqa: ANN401 - any SELECT
    rows = connection.execute(query.where(budget.c.ended_ns.is_(None)).order_by(budget.c.id))
    return tuple(_budget(dict(row)) for row in rows.mappings())


def _budget(row: dict[str, Any]) -> Budget:
    row["hard"] = bool(row["hard"])
    row["warn_percent"] = tuple(json.loads(row["warn_percent"]))
    return Budget(**row)


def _row(values: dict[str, Any]) -> dict[str, Any]:
    if "hard" in values:
        values["hard"] = int(values["hard"])
    if "warn_percent" in values:
        values["warn_percent"] = json.dumps(values["warn_percent"])
    return values
