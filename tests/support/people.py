"""Two organisations with their people, for tests of who may see what."""

import msgspec
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.store import accounts


class People(msgspec.Struct, frozen=True):
    owner: Scope
    admin: Scope
    member: Scope
    colleague: Scope
    service: Scope
    stranger: Scope  # the owner of the other organisation


def move_in(connection: Connection) -> People:
    """Make both organisations."""
    for name in ("acme", "other"):
        accounts.add_organisation(connection, name, name=name.title(), created_ns=1)
    people = People(
        owner=Scope("acme", "owner"),
        admin=Scope("acme", "admin"),
        member=Scope("acme", "member"),
        colleague=Scope("acme", "colleague"),
        service=Scope("acme", "service"),
        stranger=Scope("other", "stranger"),
    )
    roles = {"owner": "owner", "admin": "admin", "stranger": "owner"}
    for scope in (people.owner, people.admin, people.member, people.colleague, people.stranger):
        accounts.add_person(
            connection,
            scope,
            role=roles.get(scope.account_id, "member"),  # pyright: ignore[reportArgumentType] - all are roles
            name=scope.account_id.title(),
            created_ns=1,
        )
    accounts.add_service(connection, people.service, role="member", name="chat", created_ns=1)
    return people
