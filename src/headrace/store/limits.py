"""Limits on rates, as the organisation's admins have set them."""

import msgspec
from sqlalchemy import Connection, delete, select

from headrace.core.limits import LimitKind, LimitPeriod
from headrace.core.scope import NodeKind, Scope
from headrace.store.schema_ledger import rate_limit
from headrace.store.statements import insert_of

_KEY = ("node_id", "kind", "period")


class RateLimit(msgspec.Struct, frozen=True):
    """At most `maximum` of a kind in a period, by all that hangs under a node of the tree."""

    node_kind: NodeKind
    node_id: str
    kind: LimitKind
    period: LimitPeriod
    maximum: int


def everywhere(connection: Connection) -> tuple[RateLimit, ...]:
    """All limits of all organisations.

    Takes no scope: the table at the door, which every call passes.
    """
    return _read(connection, None)


def of(connection: Connection, scope: Scope) -> tuple[RateLimit, ...]:
    """The limits of the caller's organisation."""
    return _read(connection, scope.organisation_id)


def put(connection: Connection, scope: Scope, limit: RateLimit, *, created_ns: int) -> None:
    """Set a limit in the caller's organisation, in the place of one of its kind and period."""
    insert = insert_of(connection)
    row = msgspec.structs.asdict(limit)
    connection.execute(
        insert(rate_limit)
        .values(**row, organisation_id=scope.organisation_id, created_ns=created_ns)
        .on_conflict_do_update(
            index_elements=_KEY,
            set_={"maximum": limit.maximum},
            where=rate_limit.c.organisation_id == scope.organisation_id,
        )
    )


def remove(
    connection: Connection, scope: Scope, node_id: str, kind: LimitKind, period: LimitPeriod
) -> bool:
    """Take a limit of the caller's organisation away; False if there is none."""
    found = delete(rate_limit).where(
        rate_limit.c.organisation_id == scope.organisation_id,
        rate_limit.c.node_id == node_id,
        rate_limit.c.kind == kind,
        rate_limit.c.period == period,
    )
    return connection.execute(found).rowcount == 1


def _read(connection: Connection, organisation_id: str | None) -> tuple[RateLimit, ...]:
    columns = [rate_limit.c[name] for name in RateLimit.__struct_fields__]
    query = select(*columns).order_by(*(rate_limit.c[name] for name in ("node_kind", *_KEY)))
    if organisation_id is not None:
        query = query.where(rate_limit.c.organisation_id == organisation_id)
    return tuple(RateLimit(**row) for row in connection.execute(query).mappings())
