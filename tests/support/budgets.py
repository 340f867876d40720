"""An organisation with a team and keys, for tests of budgets."""

from sqlalchemy import Connection

from headrace.core.scope import Lineage, Scope
from headrace.store import accounts, keys, teams

OWNER = Scope("acme", "owner")
ADA = Lineage("acme", "team", "ada", "key-ada")
BOB = Lineage("acme", None, "bob", "key-bob")


def settle_in(connection: Connection) -> None:
    """The organisation of these."""
    accounts.add_organisation(connection, "acme", name="Acme", created_ns=1)
    accounts.add_person(connection, OWNER, role="owner", name="Owner", created_ns=1)
    teams.add(connection, OWNER, "team", name="Team", created_ns=1)
    for name in ("ada", "bob"):
        scope = Scope("acme", name)
        accounts.add_person(connection, scope, role="member", name=name.title(), created_ns=1)
        keys.add(
            connection,
            scope,
            f"key-{name}",
            name="key",
            secret_hash=name,
            last4="0000",
            purpose="api",
            created_ns=1,
            expires_ns=None,
        )
