"""Postings: transactions that are not a call's own, projected from the journal."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import posting
from headrace.store.statements import run_many, select_among


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction. `entries` and `detail` are JSON, as the journal holds them."""

    id: str
    organisation_id: str
    kind: str
    time_ns: int
    generation_id: str | None
    actor_id: str | None
    entries: str
    detail: str


def add(connection: Connection, found: Sequence[Posting]) -> list[Posting]:
    """Write postings; returns those that were not there, as the first of an id counts.

    Takes no scope: the rows carry their own.
    """
    first = {one.id: one for one in reversed(found)}
    for (known,) in select_among(connection, "SELECT id FROM posting", list(first)):
        del first[known]
    fresh = [one for one in found if first.get(one.id) is one]
    if fresh:
        run_many(connection, _INSERT, [msgspec.structs.astuple(one) for one in fresh])
    return fresh


def refunds(connection: Connection, generation_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """The refunds of these calls: call, organisation and entries of each.

    Takes no scope: the projection asks for calls of anybody.
    """
    query = "SELECT generation_id, organisation_id, entries FROM posting"
    rows = select_among(
        connection, query, generation_ids, by="generation_id", where="kind = 'refund'"
    )
    return [(row[0], row[1], row[2]) for row in rows]


def of_generation(connection: Connection, scope: Scope, identifier: str) -> tuple[Posting, ...]:
    """What was posted about a call of the scope's organisation, oldest first."""
    query = (
        select(posting)
        .where(
            posting.c.organisation_id == scope.organisation_id,
            posting.c.generation_id == identifier,
        )
        .order_by(posting.c.time_ns, posting.c.id)
    )
    return tuple(Posting(**row) for row in connection.execute(query).mappings())


def exists(connection: Connection, identifier: str) -> bool:
    """Whether something was posted under this id.

    Takes no scope: ids are unique in the whole house.
    """
    return connection.scalar(select(posting.c.id).where(posting.c.id == identifier)) is not None


_COLUMNS = Posting.__struct_fields__
_INSERT = f"INSERT INTO posting ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - names above
