"""Who may see a row: its own account, and the owners and admins of its organisation."""

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, or_, select

from headrace.core.scope import Scope
from headrace.store.schema import account


def visible_to(scope: Scope, table: Table) -> ColumnElement[bool]:
    """The condition on `table`, which has the two scope columns."""
    return and_(
        table.c.organisation_id == scope.organisation_id,
        or_(table.c.account_id == scope.account_id, _oversees(scope)),
    )


def oversees(connection: Connection, scope: Scope) -> bool:
    """Whether `scope` may see all rows of its organisation."""
    return bool(connection.scalar(select(_oversees(scope))))


def _oversees(scope: Scope) -> ColumnElement[bool]:
    return exists().where(
        account.c.id == scope.account_id,
        account.c.organisation_id == scope.organisation_id,
        account.c.role.in_(["owner", "admin"]),
        account.c.closed_ns.is_(None),
    )
