"""What calls with an idempotency key were answered, so that a repeated one gets the same reply.

A row without a status is the claim of a call that runs: it holds for a short while and is
renewed as long as the call runs, so a crash leaves no claim behind for long.
"""

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from headrace.core.scope import Scope
from headrace.store.schema import idempotent_reply

Headers = tuple[tuple[str, str], ...]


class Claim(msgspec.Struct, frozen=True):
    """The right to answer, for the first call of a key. `since_ns` tells it from a later one.

    `again`: an earlier call of the same request had it, and left no reply.
    """

    id: str
    since_ns: int
    again: bool = False


class Recorded(msgspec.Struct, frozen=True):
    """A reply as it was sent; headers as (name, value) in latin-1."""

    status: int
    headers: Headers
    body: bytes


class Taken(msgspec.Struct, frozen=True):
    """The key is in use: by a call that still runs, or for another request (`other`)."""

    other: bool


def claim(
    connection: Connection,
    scope: Scope,
    identifier: str,
    *,
    request_sha256: str,
    now_ns: int,
    until_ns: int,
) -> Claim | Recorded | Taken:
    """The first call of a key gets the claim until `until_ns`, a later one the record."""
    found = connection.execute(
        select(idempotent_reply).where(idempotent_reply.c.id == identifier)
    ).first()
    row = None if found is None or found.expires_ns <= now_ns else found
    if row is not None and row.body_sha256 != request_sha256:
        return Taken(other=True)
    if row is not None and row.status_code is None:
        return Taken(other=False)
    if row is not None:
        headers = msgspec.json.decode(row.headers, type=Headers)
        return Recorded(row.status_code, headers, row.body)
    connection.execute(delete(idempotent_reply).where(idempotent_reply.c.id == identifier))
    made = {
        "id": identifier,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "body_sha256": request_sha256,
        "created_ns": now_ns,
        "expires_ns": until_ns,
    }
    connection.execute(insert(idempotent_reply).values(made))
    again = found is not None and found.status_code is None and found.body_sha256 == request_sha256
    return Claim(identifier, now_ns, again)


def renew(connection: Connection, held: Claim, *, until_ns: int) -> None:
    """The call still runs."""
    connection.execute(update(idempotent_reply).where(*_of(held)).values(expires_ns=until_ns))


def record(connection: Connection, held: Claim, reply: Recorded, *, until_ns: int) -> None:
    """Keep the reply until `until_ns`, unless the claim has been lost to another call."""
    values = {
        "status_code": reply.status,
        "headers": msgspec.json.encode(reply.headers).decode(),
        "body": reply.body,
        "expires_ns": until_ns,
    }
    connection.execute(update(idempotent_reply).where(*_of(held)).values(values))


def release(connection: Connection, held: Claim, *, now_ns: int, kept: bool) -> None:
    """Give a claim up: the next call of the key is a first one, or with `kept` one made again."""
    if kept:
        free = update(idempotent_reply).where(*_of(held)).values(expires_ns=now_ns)
        connection.execute(free)
    else:
        connection.execute(delete(idempotent_reply).where(*_of(held)))


def release_all(connection: Connection, *, now_ns: int) -> None:
    """Give up the claims of calls that a process which is gone ran.

    Takes no scope: they are whoever's it served.
    """
    left = (idempotent_reply.c.status_code.is_(None), idempotent_reply.c.expires_ns > now_ns)
    connection.execute(update(idempotent_reply).where(*left).values(expires_ns=now_ns))


def forget_expired(connection: Connection, *, now_ns: int, claimed_before_ns: int) -> int:
    """Delete replies whose time is over and claims that are old; how many they were."""
    gone = delete(idempotent_reply).where(
        idempotent_reply.c.expires_ns <= now_ns,
        or_(
            idempotent_reply.c.status_code.is_not(None),
            idempotent_reply.c.created_ns <= claimed_before_ns,
        ),
    )
    return connection.execute(gone).rowcount


def _of(held: Claim) -> tuple[ColumnElement[bool], ...]:
    """Rows of this claim: a later call of the same key has another beginning."""
    return (
        idempotent_reply.c.id == held.id,
        idempotent_reply.c.created_ns == held.since_ns,
        idempotent_reply.c.status_code.is_(None),
    )
