"""Who may see a row: its own account, and the owners and admins of its organisation."""

from sqlalchemy import ColumnElement, Table, and_, exists, or_

from headrace.core.scope import Scope
from headrace.store.schema import account


def visible_to(scope: Scope, table: Table) -> ColumnElement[bool]:
    """The condition on `table`, which has the two scope columns."""
    oversees = exists().where(
        account.c.id == scope.account_id,
        account.c.organisation_id == scope.organisation_id,
        account.c.role.in_(["owner", "admin"]),
        account.c.closed_ns.is_(None),
    )
    return and_(
        table.c.organisation_id == scope.organisation_id,
        or_(table.c.account_id == scope.account_id, oversees),
    )
