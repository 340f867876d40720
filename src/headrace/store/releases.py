"""Releases: the exact model files that may answer in an organisation."""

from sqlalchemy import Connection, select

from headrace.core.errors import StoreError
from headrace.core.models import Release
from headrace.core.scope import Scope
from headrace.store.schema import release
from headrace.store.statements import insert_of


def adopt_release(
    connection: Connection,
    scope: Scope,
    identifier: str,
    *,
    model_id: str,
    digest: str,
    card_json: str,
    created_ns: int,
) -> Release:
    """The organisation's release of `digest`; made as `adopted` unless it is there already."""
    insert = insert_of(connection)
    connection.execute(
        insert(release)
        .values(
            id=identifier,
            organisation_id=scope.organisation_id,
            account_id=scope.account_id,
            model_id=model_id,
            digest=digest,
            state="adopted",
            card=card_json,
            created_ns=created_ns,
        )
        .on_conflict_do_nothing(index_elements=["organisation_id", "digest"])
    )
    found = get_release(connection, scope, digest)
    if found is None:
        raise StoreError(f"the release of {digest} was not stored")
    return found


def get_release(connection: Connection, scope: Scope, digest: str) -> Release | None:
    """The organisation's release of these exact files; everyone in it may know of it."""
    row = connection.execute(
        select(release).where(
            release.c.organisation_id == scope.organisation_id, release.c.digest == digest
        )
    ).first()
    if row is None:
        return None
    return Release(row.id, row.model_id, row.digest, row.state, row.created_ns)
