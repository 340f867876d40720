"""Organisations, accounts, and the erasable rows that name people."""

from typing import Literal

import msgspec
from sqlalchemy import Connection, insert, select

from headrace.core.scope import Scope
from headrace.store.schema import account, organisation, person

Kind = Literal["person", "service"]
Role = Literal["owner", "admin", "member", "viewer"]


class Account(msgspec.Struct, frozen=True):
    """Someone, or some service, and the organisation it belongs to."""

    id: str
    organisation_id: str
    organisation_name: str
    kind: Kind
    role: Role
    name: str


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
    connection: Connection, scope: Scope, *, role: Role, name: str, created_ns: int
) -> None:
    """The account of a person, `scope.account_id`, in an organisation that exists."""
    _add(connection, scope, kind="person", role=role, service=None, created_ns=created_ns)
    row = {
        "account_id": scope.account_id,
        "organisation_id": scope.organisation_id,
        "name": name,
    }
    connection.execute(insert(person).values(row))


def add_service(
    connection: Connection, scope: Scope, *, role: Role, name: str, created_ns: int
) -> None:
    """The account of a service, `scope.account_id`; `name` is unique in its organisation."""
    _add(connection, scope, kind="service", role=role, service=name, created_ns=created_ns)


def _add(
    connection: Connection,
    scope: Scope,
    *,
    kind: Kind,
    role: Role,
    service: str | None,
    created_ns: int,
) -> None:
    row = {
        "id": scope.account_id,
        "organisation_id": scope.organisation_id,
        "kind": kind,
        "role": role,
        "service": service,
        "created_ns": created_ns,
    }
    connection.execute(insert(account).values(row))


def get(connection: Connection, scope: Scope) -> Account | None:
    """The account that `scope` names, None when it is closed or there is none."""
    query = (
        select(account, person.c.name, organisation.c.name.label("organisation_name"))
        .join(organisation, organisation.c.id == account.c.organisation_id)
        .outerjoin(person, person.c.account_id == account.c.id)
        .where(
            account.c.id == scope.account_id,
            account.c.organisation_id == scope.organisation_id,
            account.c.closed_ns.is_(None),
        )
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return Account(
        id=row.id,
        organisation_id=row.organisation_id,
        organisation_name=row.organisation_name,
        kind=row.kind,
        role=row.role,
        # A person who was erased keeps the account, without a name.
        name=row.name or row.service or "",
    )


def find_home(connection: Connection) -> Home | None:
    """The oldest organisation with its oldest owner and its chat service.

    Takes no scope: it is how a process that has none yet gets its first.
    """
    first = connection.scalar(
        select(organisation.c.id).order_by(organisation.c.created_ns, organisation.c.id).limit(1)
    )
    in_first = account.c.organisation_id == first
    owner = connection.scalar(
        select(account.c.id)
        .where(in_first, account.c.kind == "person", account.c.role == "owner")
        .order_by(account.c.created_ns, account.c.id)
        .limit(1)
    )
    chat = connection.scalar(select(account.c.id).where(in_first, account.c.service == "chat"))
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
