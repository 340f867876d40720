"""Rows of API keys: hashes, never secrets."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, or_, select, update

from headrace.core.scope import Scope
from headrace.store.accounts import Kind, Role
from headrace.store.key import Key, KeyScopes
from headrace.store.schema import account, api_key
from headrace.store.visibility import visible_to


class LiveKey(msgspec.Struct, frozen=True):
    """What the door must know of a key that is not revoked."""

    id: str
    hash: str
    scope: Scope
    team_id: str | None
    role: Role
    purpose: str
    kind: Kind
    scopes: KeyScopes | None
    expires_ns: int | None
    former_hash: str | None
    former_until_ns: int | None


def add(
    connection: Connection,
    scope: Scope,
    identifier: str,
    *,
    name: str,
    secret_hash: str,
    last4: str,
    purpose: str,
    created_ns: int,
    expires_ns: int | None,
    scopes: KeyScopes | None = None,
) -> None:
    """A new key that speaks for `scope`."""
    row = {
        "id": identifier,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "name": name,
        "hash": secret_hash,
        "last4": last4,
        "purpose": purpose,
        "created_ns": created_ns,
        "expires_ns": expires_ns,
        "scopes": None if scopes is None else msgspec.json.encode(scopes).decode(),
    }
    connection.execute(insert(api_key).values(row))


def find_by_purpose(connection: Connection, scope: Scope, purpose: str) -> str | None:
    """The id of the account's oldest key of that purpose, revoked or not."""
    query = (
        select(api_key.c.id)
        .where(_own(scope), api_key.c.purpose == purpose)
        .order_by(api_key.c.created_ns, api_key.c.id)
        .limit(1)
    )
    return connection.scalar(query)


def replace_secret(
    connection: Connection, scope: Scope, identifier: str, *, secret_hash: str, last4: str
) -> None:
    """Give the account's key a new secret; the old one is worth nothing from now on."""
    connection.execute(
        update(api_key)
        .where(_own(scope), api_key.c.id == identifier)
        .values(
            hash=secret_hash, last4=last4, revoked_ns=None, former_hash=None, former_until_ns=None
        )
    )


def renew(
    connection: Connection,
    scope: Scope,
    identifier: str,
    *,
    secret_hash: str,
    last4: str,
    former_until_ns: int,
) -> None:
    """Give a key that `scope` may see a new secret; the one before opens as well, for a while."""
    connection.execute(
        update(api_key)
        .where(api_key.c.id == identifier, visible_to(scope, api_key))
        .values(
            hash=secret_hash,
            last4=last4,
            former_hash=api_key.c.hash,
            former_until_ns=former_until_ns,
        )
    )


def revoke_all(connection: Connection, scope: Scope, *, now_ns: int) -> None:
    """Revoke every key of the account that `scope` names."""
    connection.execute(
        update(api_key).where(_own(scope), api_key.c.revoked_ns.is_(None)).values(revoked_ns=now_ns)
    )


def forget_names(connection: Connection, scope: Scope) -> None:
    """Forget what the account's keys are called, which may tell whose they are."""
    connection.execute(update(api_key).where(_own(scope)).values(name="erased"))


def revoke(connection: Connection, scope: Scope, identifier: str, *, now_ns: int) -> str | None:
    """Revoke a key that `scope` may see; returns its hash, None when there is no such key.

    A key revoked before keeps the time of its first revocation.
    """
    seen = (api_key.c.id == identifier) & visible_to(scope, api_key)
    connection.execute(
        update(api_key).where(seen, api_key.c.revoked_ns.is_(None)).values(revoked_ns=now_ns)
    )
    return connection.scalar(select(api_key.c.hash).where(seen))


def visible(connection: Connection, scope: Scope) -> tuple[Key, ...]:
    """The keys that `scope` may see, oldest first."""
    query = (
        select(*(api_key.c[name] for name in Key.__struct_fields__))
        .where(visible_to(scope, api_key))
        .order_by(api_key.c.created_ns, api_key.c.id)
    )
    return tuple(_key(row) for row in connection.execute(query).mappings())


def get(connection: Connection, scope: Scope, identifier: str) -> Key | None:
    """A key that `scope` may see."""
    query = select(*(api_key.c[name] for name in Key.__struct_fields__)).where(
        api_key.c.id == identifier, visible_to(scope, api_key)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else _key(row)


def live(connection: Connection, *, now_ns: int) -> tuple[LiveKey, ...]:
    """Every key that opens something: not revoked, not expired, its account open.

    Takes no scope: the table at the door, read before anybody is known.
    """
    query = (
        select(api_key, account.c.kind, account.c.team_id, account.c.role)
        .join(account, account.c.id == api_key.c.account_id)
        .where(
            api_key.c.revoked_ns.is_(None),
            or_(api_key.c.expires_ns.is_(None), api_key.c.expires_ns > now_ns),
            account.c.closed_ns.is_(None),
        )
    )
    return tuple(
        LiveKey(
            id=row.id,
            hash=row.hash,
            scope=Scope(row.organisation_id, row.account_id),
            team_id=row.team_id,
            role=row.role,
            purpose=row.purpose,
            kind=row.kind,
            scopes=_scopes(row.scopes),
            expires_ns=row.expires_ns,
            former_hash=row.former_hash,
            former_until_ns=row.former_until_ns,
        )
        for row in connection.execute(query)
    )


def touch(connection: Connection, used_ns: Mapping[str, int]) -> None:
    """Note when keys were last used, by id; a later time already there stands.

    Takes no scope: the door writes it for all keys at once.
    """
    for identifier, time_ns in used_ns.items():
        connection.execute(
            update(api_key)
            .where(
                api_key.c.id == identifier,
                or_(api_key.c.last_used_ns.is_(None), api_key.c.last_used_ns < time_ns),
            )
            .values(last_used_ns=time_ns)
        )


def _own(scope: Scope) -> ColumnElement[bool]:
    return and_(
        api_key.c.organisation_id == scope.organisation_id,
        api_key.c.account_id == scope.account_id,
    )


def _key(row: RowMapping) -> Key:
    values: dict[str, Any] = {**row}
    values["scopes"] = _scopes(row["scopes"])
    return Key(**values)


def _scopes(text: str | None) -> KeyScopes | None:
    return None if text is None else msgspec.json.decode(text, type=KeyScopes)
