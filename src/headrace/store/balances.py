"""Balances: what the entries of each account of the ledger come to."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import balance
from headrace.store.statements import run_many


class Balance(msgspec.Struct, frozen=True):
    """An account of the ledger: debits are positive; `entries` counts the lines."""

    name: str
    amount_nano: int
    entries: int


def add(connection: Connection, sums: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Add amounts and counts, by organisation and account.

    Takes no scope: the sums carry theirs.
    """
    if sums:
        run_many(connection, _ADD, [(*place, *more) for place, more in sorted(sums.items())])


def every(connection: Connection, scope: Scope) -> tuple[Balance, ...]:
    """All of the scope's organisation, by name."""
    query = (
        select(balance.c.name, balance.c.amount_nano, balance.c.entries)
        .where(balance.c.organisation_id == scope.organisation_id)
        .order_by(balance.c.name)
    )
    return tuple(Balance(*row) for row in connection.execute(query))


_ADD = (
    "INSERT INTO balance (organisation_id, name, amount_nano, entries) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (organisation_id, name) DO UPDATE SET"
    " amount_nano = balance.amount_nano + excluded.amount_nano,"
    " entries = balance.entries + excluded.entries"
)
