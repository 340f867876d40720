"""Rows of notices: shares of budgets that were reached, once for each window."""

import msgspec
from sqlalchemy import Connection, select, update

from headrace.store.schema_ledger import budget, budget_notice
from headrace.store.statements import insert_of

_AT_ONCE_MAX = 1_000
_KEY = ("budget_id", "window_ns", "percent")


class Notice(msgspec.Struct, frozen=True):
    """So many percent of a budget were spent in a window."""

    budget_id: str
    window_ns: int
    percent: int
    spent_nano: int
    created_ns: int
    tries: int = 0


def add(connection: Connection, made: Notice, *, delivered_ns: int | None) -> bool:
    """A share is reached; False where that is known already.

    Takes no scope: the ledger notices for everybody.
    """
    insert = insert_of(connection)
    row = msgspec.structs.asdict(made) | {"delivered_ns": delivered_ns}
    fresh = (
        insert(budget_notice)
        .values(row)
        .on_conflict_do_nothing(index_elements=_KEY)
        .returning(budget_notice.c.percent)
    )
    return connection.execute(fresh).first() is not None


def waiting(connection: Connection, *, tries_max: int) -> tuple[Notice, ...]:
    """Notices of live budgets that nobody has taken yet, oldest first.

    Takes no scope: as `add`.
    """
    query = (
        select(*(budget_notice.c[name] for name in Notice.__struct_fields__))
        .join(budget, budget.c.id == budget_notice.c.budget_id)
        .where(
            budget.c.ended_ns.is_(None),
            budget_notice.c.delivered_ns.is_(None),
            budget_notice.c.tries < tries_max,
        )
        .order_by(budget_notice.c.created_ns, *(budget_notice.c[name] for name in _KEY))
        .limit(_AT_ONCE_MAX)
    )
    return tuple(Notice(**row) for row in connection.execute(query).mappings())


def tried(connection: Connection, notice: Notice, *, delivered_ns: int | None) -> None:
    """Somebody took it at `delivered_ns`, or nobody did this time.

    Takes no scope: as `add`.
    """
    connection.execute(
        update(budget_notice)
        .where(*(budget_notice.c[name] == getattr(notice, name) for name in _KEY))
        .values(tries=budget_notice.c.tries + 1, delivered_ns=delivered_ns)
    )
