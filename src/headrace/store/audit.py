"""Audit: who changed what, projected from the journal."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import audit
from headrace.store.statements import run_many


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change. `detail` is JSON, without names of people."""

    id: str
    organisation_id: str
    actor_id: str
    action: str
    object_id: str
    detail: str
    time_ns: int


def add(connection: Connection, events: Sequence[Event]) -> None:
    """Write events; the first of an id counts.

    Takes no scope: the events carry their own.
    """
    if events:
        run_many(connection, _INSERT, [msgspec.structs.astuple(one) for one in events])


def recent(
    connection: Connection, scope: Scope, *, limit: int, before: str | None = None
) -> tuple[Event, ...]:
    """The newest events of the scope's organisation, newest first; older than id `before`."""
    query = select(audit).where(audit.c.organisation_id == scope.organisation_id)
    if before is not None:
        query = query.where(audit.c.id < before)
    rows = connection.execute(query.order_by(audit.c.id.desc()).limit(limit))
    return tuple(Event(**row) for row in rows.mappings())


_COLUMNS = Event.__struct_fields__
_INSERT = (
    f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - names above
    " ON CONFLICT (id) DO NOTHING"
)
