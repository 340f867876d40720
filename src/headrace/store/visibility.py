"""Who may see a row: its own account, and the owners and admins of its organisation.

Receipts and sums of them hold nothing that anybody wrote, so viewers see the organisation's too.
"""

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, or_, select

from headrace.core.scope import Scope
from headrace.store.schema import account

_OVERSEERS = ("owner", "admin")
_VIEWERS = (*_OVERSEERS, "viewer")


def visible_to(scope: Scope, table: Table) -> ColumnElement[bool]:
    """The condition on `table`, which has the two scope columns."""
    return and_(
        table.c.organisation_id == scope.organisation_id,
        or_(table.c.account_id == scope.account_id, _is_one_of(scope, _OVERSEERS)),
    )


def sees_figures(connection: Connection, scope: Scope) -> bool:
    """Whether `scope` may see the receipts and sums of its whole organisation."""
    return bool(connection.scalar(select(_is_one_of(scope, _VIEWERS))))


def _is_one_of(scope: Scope, roles: tuple[str, ...]) -> ColumnElement[bool]:
    return exists().where(
        account.c.id == scope.account_id,
        account.c.organisation_id == scope.organisation_id,
        account.c.role.in_(roles),
        account.c.closed_ns.is_(None),
    )
