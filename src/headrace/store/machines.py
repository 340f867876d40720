"""Rows of hardware: what machines of our own cost, in versions that nobody changes."""

import msgspec
from sqlalchemy import Connection, insert, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import hardware


class MachineVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine costs from `effective_ns` until its next version; `terms` is JSON."""

    id: str
    name: str
    terms: str
    effective_ns: int
    created_ns: int


def add(connection: Connection, scope: Scope, version: MachineVersion) -> None:
    """New terms of one of the organisation's machines."""
    row = {"organisation_id": scope.organisation_id, **msgspec.structs.asdict(version)}
    connection.execute(insert(hardware).values(row))


def every(connection: Connection, scope: Scope) -> tuple[MachineVersion, ...]:
    """All versions of the organisation, each machine's in the order of their effect."""
    query = (
        select(*(hardware.c[name] for name in MachineVersion.__struct_fields__))
        .where(hardware.c.organisation_id == scope.organisation_id)
        .order_by(hardware.c.name, hardware.c.effective_ns, hardware.c.created_ns)
    )
    return tuple(MachineVersion(**row) for row in connection.execute(query).mappings())
