"""How people prove who they are: rows that go when the person is erased.

Functions that look a credential up take no scope: they are how a visitor gets one.
"""

from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from headrace.core.scope import Scope
from headrace.store.schema import account, credential

CredentialKind = Literal["password", "oidc"]


class Credential(msgspec.Struct, frozen=True):
    """Whose it is, and the password's hash; None for OpenID Connect."""

    scope: Scope
    secret_hash: str | None

    def __repr__(self) -> str:
        return f"Credential(scope={self.scope!r}, secret_hash=hidden)"


def find(connection: Connection, kind: CredentialKind, subject: str) -> Credential | None:
    """The credential, None when there is none or its account is closed."""
    row = connection.execute(
        select(credential.c.organisation_id, credential.c.account_id, credential.c.secret_hash)
        .join(account, account.c.id == credential.c.account_id)
        .where(
            credential.c.kind == kind,
            credential.c.subject == subject,
            account.c.closed_ns.is_(None),
        )
    ).first()
    if row is None:
        return None
    return Credential(Scope(row.organisation_id, row.account_id), row.secret_hash)


def is_known(connection: Connection, kind: CredentialKind, subject: str) -> bool:
    """Whether there is such a credential, also of a closed account. Takes no scope."""
    query = select(credential.c.kind).where(
        credential.c.kind == kind, credential.c.subject == subject
    )
    return connection.scalar(query) is not None


def forget(connection: Connection, kind: CredentialKind, subject: str) -> None:
    """Delete a credential, whosever it is. Takes no scope: it is another's that has ended."""
    connection.execute(
        delete(credential).where(credential.c.kind == kind, credential.c.subject == subject)
    )


def kinds(connection: Connection, scope: Scope) -> frozenset[CredentialKind]:
    """The kinds of credentials that the account has."""
    query = select(credential.c.kind).where(_own(scope))
    return frozenset(connection.scalars(query))


def of_account(connection: Connection, scope: Scope) -> Credential | None:
    """The account's password."""
    query = select(credential.c.secret_hash).where(_own(scope), credential.c.kind == "password")
    found = connection.scalar(query)
    return None if found is None else Credential(scope, found)


def add(
    connection: Connection,
    scope: Scope,
    kind: CredentialKind,
    subject: str,
    *,
    secret_hash: str | None,
    created_ns: int,
) -> None:
    """A new credential of the account; of its kind and subject there must be none."""
    row = {
        "kind": kind,
        "subject": subject,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "secret_hash": secret_hash,
        "created_ns": created_ns,
    }
    connection.execute(insert(credential).values(row))


def replace_hash(connection: Connection, scope: Scope, old: str, new: str) -> None:
    """Put the same password's newer hash in place, if it has not been changed meanwhile."""
    connection.execute(
        update(credential)
        .where(_own(scope), credential.c.kind == "password", credential.c.secret_hash == old)
        .values(secret_hash=new)
    )


def move(connection: Connection, scope: Scope, subject: str) -> None:
    """The account's password goes with another address from now on."""
    connection.execute(
        update(credential)
        .where(_own(scope), credential.c.kind == "password")
        .values(subject=subject)
    )


def touch(connection: Connection, kind: CredentialKind, subject: str, *, now_ns: int) -> None:
    """Note that it was used. Takes no scope: what was just found is touched."""
    connection.execute(
        update(credential)
        .where(credential.c.kind == kind, credential.c.subject == subject)
        .values(used_ns=now_ns)
    )


def remove(connection: Connection, scope: Scope, kind: CredentialKind | None = None) -> None:
    """Delete the account's credentials, those of one kind or all."""
    statement = delete(credential).where(_own(scope))
    if kind is not None:
        statement = statement.where(credential.c.kind == kind)
    connection.execute(statement)


def _own(scope: Scope) -> ColumnElement[bool]:
    return and_(
        credential.c.organisation_id == scope.organisation_id,
        credential.c.account_id == scope.account_id,
    )
