"""Organisations, accounts, and the erasable rows that name people."""

from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, Select, delete, func, insert, select, update

from headrace.core.scope import Scope
from headrace.store.account import Kind, Role, ShownAccount
from headrace.store.schema import account, organisation, person
from headrace.store.visibility import sees_figures

CHAT_SERVICE = "chat"
"""The name of the service account by which the chat reaches models."""


class Account(msgspec.Struct, frozen=True):
    """Someone, or some service, and the organisation it belongs to."""

    id: str
    organisation_id: str
    organisation_name: str
    kind: Kind
    role: Role
    name: str
    email: str | None
    team_id: str | None

    @property
    def scope(self) -> Scope:
        """Its scope."""
        return Scope(self.organisation_id, self.id)


class Home(msgspec.Struct, frozen=True):
    """The default organisation, its owner and the chat's own account."""

    organisation_id: str
    owner_id: str
    chat_account_id: str

    @property
    def owner(self) -> Scope:
        """The owner's scope."""
        return Scope(self.organisation_id, self.owner_id)

    @property
    def chat(self) -> Scope:
        """The scope of the chat's own account."""
        return Scope(self.organisation_id, self.chat_account_id)


def add_organisation(
    connection: Connection, identifier: str, *, name: str, created_ns: int
) -> None:
    """A new organisation, without accounts."""
    row = {"id": identifier, "name": name, "created_ns": created_ns}
    connection.execute(insert(organisation).values(row))


def add_person(
    connection: Connection,
    scope: Scope,
    *,
    role: Role,
    name: str,
    created_ns: int,
    email: str | None = None,
    team_id: str | None = None,
) -> None:
    """The account of a person, `scope.account_id`, in an organisation that exists."""
    _add(connection, scope, "person", role, None, created_ns=created_ns, team_id=team_id)
    row = {
        "account_id": scope.account_id,
        "organisation_id": scope.organisation_id,
        "name": name,
        "email": email,
    }
    connection.execute(insert(person).values(row))


def add_service(
    connection: Connection,
    scope: Scope,
    *,
    role: Role,
    name: str,
    created_ns: int,
    team_id: str | None = None,
) -> None:
    """The account of a service, `scope.account_id`; `name` is unique in its organisation."""
    _add(connection, scope, "service", role, name, created_ns=created_ns, team_id=team_id)


def _add(
    connection: Connection,
    scope: Scope,
    kind: Kind,
    role: Role,
    service: str | None,
    *,
    created_ns: int,
    team_id: str | None,
) -> None:
    row = {
        "id": scope.account_id,
        "organisation_id": scope.organisation_id,
        "kind": kind,
        "role": role,
        "service": service,
        "team_id": team_id,
        "created_ns": created_ns,
    }
    connection.execute(insert(account).values(row))


def get(connection: Connection, scope: Scope, *, closed: bool = False) -> Account | None:
    """The account that `scope` names, None when there is none.

    Args:
        connection: In a transaction.
        scope: Names it.
        closed: Also one that is closed.
    """
    query = _accounts().where(
        account.c.id == scope.account_id, account.c.organisation_id == scope.organisation_id
    )
    if not closed:
        query = query.where(account.c.closed_ns.is_(None))
    row = connection.execute(query).mappings().first()
    return None if row is None else _account(row)


def find_by_email(connection: Connection, email: str) -> Account | None:
    """The open account of the person with that address, in lower case.

    Takes no scope: it is how a visitor gets one, and an address names one person only.
    """
    query = _accounts().where(person.c.email == email, account.c.closed_ns.is_(None))
    row = connection.execute(query).mappings().first()
    return None if row is None else _account(row)


def was_closed(connection: Connection, email: str) -> bool:
    """Whether a closed account has that address. Takes no scope, as `find_by_email`."""
    query = (
        select(account.c.id)
        .join(person, person.c.account_id == account.c.id)
        .where(person.c.email == email, account.c.closed_ns.is_not(None))
    )
    return connection.scalar(query.limit(1)) is not None


def _accounts() -> Select[Any]:
    return (
        select(
            account, person.c.name, person.c.email, organisation.c.name.label("organisation_name")
        )
        .join(organisation, organisation.c.id == account.c.organisation_id)
        .outerjoin(person, person.c.account_id == account.c.id)
    )


def _account(row: RowMapping) -> Account:
    return Account(
        id=row["id"],
        organisation_id=row["organisation_id"],
        organisation_name=row["organisation_name"],
        kind=row["kind"],
        role=row["role"],
        # A person who was erased keeps the account, without a name.
        name=row["name"] or row["service"] or "",
        email=row["email"],
        team_id=row["team_id"],
    )


def service_exists(connection: Connection, scope: Scope, name: str) -> bool:
    """Whether a service of that name was ever made in the organisation."""
    query = select(account.c.id).where(
        account.c.organisation_id == scope.organisation_id, account.c.service == name
    )
    return connection.scalar(query) is not None


def visible(connection: Connection, scope: Scope) -> tuple[ShownAccount, ...]:
    """The accounts that `scope` may know of, closed ones too, oldest first."""
    query = (
        select(
            account.c.id,
            account.c.kind,
            account.c.role,
            account.c.service,
            account.c.team_id,
            account.c.created_ns,
            account.c.closed_ns,
            person.c.name,
            person.c.email,
        )
        .outerjoin(person, person.c.account_id == account.c.id)
        .where(account.c.organisation_id == scope.organisation_id)
        .order_by(account.c.created_ns, account.c.id)
    )
    if not sees_figures(connection, scope):
        query = query.where(account.c.id == scope.account_id)
    return tuple(
        ShownAccount(
            id=row.id,
            kind=row.kind,
            role=row.role,
            name=row.name or row.service or "",
            email=row.email,
            team_id=row.team_id,
            created_ns=row.created_ns,
            closed_ns=row.closed_ns,
        )
        for row in connection.execute(query)
    )


def owners(connection: Connection, scope: Scope) -> int:
    """How many open owners the organisation has."""
    query = (
        select(func.count())
        .select_from(account)
        .where(
            account.c.organisation_id == scope.organisation_id,
            account.c.kind == "person",
            account.c.role == "owner",
            account.c.closed_ns.is_(None),
        )
    )
    return connection.scalar(query) or 0


def change(connection: Connection, scope: Scope, *, role: Role, team_id: str | None) -> None:
    """Give the account that `scope` names another role and team."""
    connection.execute(
        update(account)
        .where(account.c.id == scope.account_id, account.c.organisation_id == scope.organisation_id)
        .values(role=role, team_id=team_id)
    )


def rename(connection: Connection, scope: Scope, *, name: str, email: str | None) -> None:
    """Give the person that `scope` names another name and address."""
    connection.execute(
        update(person)
        .where(
            person.c.account_id == scope.account_id,
            person.c.organisation_id == scope.organisation_id,
        )
        .values(name=name, email=email)
    )


def rename_service(connection: Connection, scope: Scope, name: str) -> None:
    """Give the service that `scope` names another name."""
    connection.execute(
        update(account)
        .where(
            account.c.id == scope.account_id,
            account.c.organisation_id == scope.organisation_id,
            account.c.kind == "service",
        )
        .values(service=name)
    )


def close(connection: Connection, scope: Scope, *, now_ns: int) -> None:
    """Close the account that `scope` names; one closed before keeps its time."""
    connection.execute(
        update(account)
        .where(
            account.c.id == scope.account_id,
            account.c.organisation_id == scope.organisation_id,
            account.c.closed_ns.is_(None),
        )
        .values(closed_ns=now_ns)
    )


def forget_person(connection: Connection, scope: Scope) -> bool:
    """Delete name and address of the person that `scope` names; whether there were any."""
    gone = connection.execute(
        delete(person).where(
            person.c.account_id == scope.account_id,
            person.c.organisation_id == scope.organisation_id,
        )
    )
    return gone.rowcount > 0


def find_home(connection: Connection) -> Home | None:
    """The oldest organisation with its oldest open owner and its chat service.

    Takes no scope: it is how a process that has none yet gets its first.
    """
    first = connection.scalar(
        select(organisation.c.id).order_by(organisation.c.created_ns, organisation.c.id).limit(1)
    )
    in_first = account.c.organisation_id == first
    owner = connection.scalar(
        select(account.c.id)
        .where(
            in_first,
            account.c.kind == "person",
            account.c.role == "owner",
            account.c.closed_ns.is_(None),
        )
        .order_by(account.c.created_ns, account.c.id)
        .limit(1)
    )
    chat = connection.scalar(
        select(account.c.id).where(in_first, account.c.service == CHAT_SERVICE)
    )
    return Home(first, owner, chat) if first and owner and chat else None


class Standing(msgspec.Struct, frozen=True):
    """Where an open account stands in its organisation."""

    scope: Scope
    team_id: str | None
    role: Role


def open_accounts(connection: Connection) -> dict[str, Standing]:
    """Every open account by id.

    Takes no scope: the table at the door, read before anybody is known.
    """
    query = select(
        account.c.organisation_id, account.c.id, account.c.team_id, account.c.role
    ).where(account.c.closed_ns.is_(None))
    return {
        row.id: Standing(Scope(row.organisation_id, row.id), row.team_id, row.role)
        for row in connection.execute(query)
    }
