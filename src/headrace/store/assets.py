"""Rows of assets: releases that were trained for money, and how many tokens shall pay for them."""

import msgspec
from sqlalchemy import Connection, insert, select

from headrace.core.scope import Scope
from headrace.store.schema_ledger import balance, release_asset


class Asset(msgspec.Struct, frozen=True):
    """What a release cost to train; each token of input or output that it serves pays a part."""

    release_digest: str
    cost_nano: int
    planned_tokens: int
    created_ns: int


def add(connection: Connection, scope: Scope, asset: Asset) -> None:
    """A new asset of the organisation.

    Raises:
        sqlalchemy.exc.IntegrityError: The release is an asset already.
    """
    row = {"organisation_id": scope.organisation_id, **msgspec.structs.asdict(asset)}
    connection.execute(insert(release_asset).values(row))


def every(connection: Connection, scope: Scope) -> tuple[Asset, ...]:
    """All assets of the organisation, oldest first."""
    query = (
        select(*(release_asset.c[name] for name in Asset.__struct_fields__))
        .where(release_asset.c.organisation_id == scope.organisation_id)
        .order_by(release_asset.c.created_ns, release_asset.c.release_digest)
    )
    return tuple(Asset(**row) for row in connection.execute(query).mappings())


def unpaid_nano(connection: Connection, scope: Scope) -> dict[str, int]:
    """What the books still hold of each asset, by the release's digest."""
    query = select(balance.c.name, balance.c.amount_nano).where(
        balance.c.organisation_id == scope.organisation_id, balance.c.name.like("asset:%")
    )
    return {row.name.removeprefix("asset:"): row.amount_nano for row in connection.execute(query)}
