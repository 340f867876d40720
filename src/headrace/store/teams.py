"""Teams of an organisation; their names may be erased, so they stand in no journal."""

from sqlalchemy import Connection, Update, and_, func, insert, select, update

from headrace.core.scope import Scope
from headrace.store.account import ShownTeam
from headrace.store.schema import account, team


def add(
    connection: Connection, scope: Scope, identifier: str, *, name: str, created_ns: int
) -> None:
    """A new team in the organisation of `scope`."""
    row = {
        "id": identifier,
        "organisation_id": scope.organisation_id,
        "name": name,
        "created_ns": created_ns,
    }
    connection.execute(insert(team).values(row))


def visible(connection: Connection, scope: Scope) -> tuple[ShownTeam, ...]:
    """The open teams of the organisation, oldest first, with the number of open accounts."""
    query = (
        select(team.c.id, team.c.name, team.c.created_ns, func.count(account.c.id).label("members"))
        .outerjoin(account, and_(account.c.team_id == team.c.id, account.c.closed_ns.is_(None)))
        .where(team.c.organisation_id == scope.organisation_id, team.c.closed_ns.is_(None))
        .group_by(team.c.id, team.c.name, team.c.created_ns)
        .order_by(team.c.created_ns, team.c.id)
    )
    return tuple(ShownTeam(**row) for row in connection.execute(query).mappings())


def is_open(connection: Connection, scope: Scope, identifier: str) -> bool:
    """Whether the organisation of `scope` has that team."""
    query = select(team.c.id).where(
        team.c.id == identifier,
        team.c.organisation_id == scope.organisation_id,
        team.c.closed_ns.is_(None),
    )
    return connection.scalar(query) is not None


def find_by_name(connection: Connection, scope: Scope, name: str) -> str | None:
    """The id of the organisation's open team that is called so."""
    query = select(team.c.id).where(
        team.c.organisation_id == scope.organisation_id,
        team.c.name == name,
        team.c.closed_ns.is_(None),
    )
    return connection.scalar(query)


def rename(connection: Connection, scope: Scope, identifier: str, *, name: str) -> bool:
    """Call a team otherwise; whether there is one."""
    changed = connection.execute(_open(update(team), scope, identifier).values(name=name))
    return changed.rowcount > 0


def close(connection: Connection, scope: Scope, identifier: str, *, now_ns: int) -> bool:
    """Close a team; its accounts belong to none from now on. Whether there was one."""
    changed = connection.execute(_open(update(team), scope, identifier).values(closed_ns=now_ns))
    connection.execute(
        update(account)
        .where(account.c.organisation_id == scope.organisation_id, account.c.team_id == identifier)
        .values(team_id=None)
    )
    return changed.rowcount > 0


def _open(statement: Update, scope: Scope, identifier: str) -> Update:
    return statement.where(
        team.c.id == identifier,
        team.c.organisation_id == scope.organisation_id,
        team.c.closed_ns.is_(None),
    )
