"""Who may change whose account; asked inside the transaction that changes it."""

from sqlalchemy import Connection

from headrace.core.errors import Forbidden, NotFound
from headrace.core.ids import is_id
from headrace.core.scope import Scope
from headrace.store import accounts
from headrace.store.accounts import Account

_OVERSEERS = frozenset(("owner", "admin"))


def overseen(
    connection: Connection,
    actor: Scope,
    account_id: str,
    *,
    own: bool = False,
    closed: bool = False,
) -> Account:
    """The account that somebody wants to change.

    Asked in the same transaction, so that nobody who is demoted meanwhile gets past.

    Args:
        connection: In the transaction of the change.
        actor: Who wants to.
        account_id: What they say.
        own: Whether everybody may do this to the own account.
        closed: Whether it may be done to closed accounts.

    Raises:
        NotFound: The organisation has no such account, or the actor may not know of it.
        Forbidden: It is an owner's, and the actor is none.
    """
    role = _role(connection, actor)
    is_own = own and account_id == actor.account_id
    found = None
    if is_id(account_id) and (is_own or role in _OVERSEERS):
        scope = Scope(actor.organisation_id, account_id)
        found = accounts.get(connection, scope, closed=closed)
    if found is None:
        raise NotFound("there is no such account")
    if found.role == "owner" and role != "owner" and not is_own:
        raise Forbidden("only owners may change an owner's account")
    return found


def require_overseer(connection: Connection, actor: Scope) -> accounts.Role:
    """The role of somebody who may change the organisation.

    Raises:
        Forbidden: The actor is neither owner nor admin any more.
    """
    role = _role(connection, actor)
    if role is None or role not in _OVERSEERS:
        raise Forbidden("this takes the role admin or owner")
    return role


def _role(connection: Connection, actor: Scope) -> accounts.Role | None:
    standing = accounts.get(connection, actor)
    return None if standing is None else standing.role
