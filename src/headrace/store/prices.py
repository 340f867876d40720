"""Rows of prices: versions, which nobody changes or deletes."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import price
from headrace.store.statements import insert_of

Side = Literal["price", "cost"]
Origin = Literal["set", "list"]


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What holds from `effective_ns` until the next version of the same side and target.

    `side` price is what accounts are charged for a model, `target`; `side` cost what an upstream
    charges us for UPSTREAM/MODEL. `rates` is JSON.
    """

    id: str
    side: Side
    target: str
    rates: str
    origin: Origin
    effective_ns: int
    created_ns: int


def add(connection: Connection, scope: Scope, versions: Sequence[PriceVersion]) -> None:
    """New versions for the whole organisation; one whose id is there already stays as it is."""
    if not versions:
        return
    insert = insert_of(connection)
    connection.execute(
        insert(price).on_conflict_do_nothing(index_elements=["id"]),
        [
            {"organisation_id": scope.organisation_id, **msgspec.structs.asdict(version)}
            for version in versions
        ],
    )


def every(connection: Connection, scope: Scope) -> tuple[PriceVersion, ...]:
    """All versions of the organisation, each target's in the order of their effect."""
    query = (
        select(*(price.c[name] for name in PriceVersion.__struct_fields__))
        .where(price.c.organisation_id == scope.organisation_id)
        # Of two that take effect at once, the later one made holds; ids rise with time.
        .order_by(price.c.side, price.c.target, price.c.effective_ns, price.c.created_ns)
    )
    return tuple(PriceVersion(**row) for row in connection.execute(query).mappings())
