"""Sign-in links and the sessions they open, by the hashes of their secrets.

Functions that look a hash up take no scope: they are how a visitor gets one.
"""

import msgspec
from sqlalchemy import Connection, and_, delete, insert, or_, select, true, update

from headrace.core.scope import Scope
from headrace.store.accounts import Role
from headrace.store.schema import account, session, sign_in_link


def add_link(
    connection: Connection, scope: Scope, link_hash: str, *, maker_id: str, expires_ns: int
) -> None:
    """A link that signs in as `scope`, once; the account `maker_id` of its organisation made it."""
    row = {
        "hash": link_hash,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "expires_ns": expires_ns,
        "maker_id": maker_id,
    }
    connection.execute(insert(sign_in_link).values(row))


class UsedLink(msgspec.Struct, frozen=True):
    """As whom a link signs in, and who made it."""

    scope: Scope
    maker: Scope


def use_link(connection: Connection, link_hash: str, *, now_ns: int) -> UsedLink | None:
    """Use a link up; None when it is unknown, used or expired. One caller at most gets it."""
    used = connection.execute(
        update(sign_in_link)
        .where(
            sign_in_link.c.hash == link_hash,
            sign_in_link.c.used_ns.is_(None),
            sign_in_link.c.expires_ns > now_ns,
        )
        .values(used_ns=now_ns)
        .returning(
            sign_in_link.c.organisation_id, sign_in_link.c.account_id, sign_in_link.c.maker_id
        )
    ).first()
    if used is None:
        return None
    scope = Scope(used.organisation_id, used.account_id)
    # Before makers were written down, everybody made links for themselves.
    return UsedLink(scope, Scope(scope.organisation_id, used.maker_id or scope.account_id))


def add(
    connection: Connection, scope: Scope, session_hash: str, *, created_ns: int, expires_ns: int
) -> None:
    """A session of `scope`."""
    row = {
        "hash": session_hash,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "created_ns": created_ns,
        "expires_ns": expires_ns,
    }
    connection.execute(insert(session).values(row))


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who is signed in."""

    scope: Scope
    role: Role


def find(connection: Connection, session_hash: str, *, now_ns: int) -> Visitor | None:
    """Whose session this is; None when unknown, ended or expired, or the account is closed."""
    row = connection.execute(
        select(session.c.organisation_id, session.c.account_id, account.c.role)
        .join(account, account.c.id == session.c.account_id)
        .where(
            session.c.hash == session_hash,
            session.c.expires_ns > now_ns,
            account.c.closed_ns.is_(None),
        )
    ).first()
    if row is None:
        return None
    return Visitor(Scope(row.organisation_id, row.account_id), row.role)


def end(connection: Connection, session_hash: str) -> None:
    """End a session, if there is one."""
    connection.execute(delete(session).where(session.c.hash == session_hash))


def end_all(connection: Connection, scope: Scope, *, but: str | None = None) -> None:
    """End every session of the account, but the one with that hash, and its unused links."""
    for table in (session, sign_in_link):
        own = and_(
            table.c.organisation_id == scope.organisation_id,
            table.c.account_id == scope.account_id,
        )
        kept = true() if but is None else table.c.hash != but
        connection.execute(delete(table).where(own, kept))


def forget_expired(connection: Connection, *, now_ns: int) -> None:
    """Delete sessions that ended by time, and links that can never be used again."""
    connection.execute(delete(session).where(session.c.expires_ns <= now_ns))
    connection.execute(
        delete(sign_in_link).where(
            or_(sign_in_link.c.expires_ns <= now_ns, sign_in_link.c.used_ns.is_not(None))
        )
    )
