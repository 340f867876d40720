"""Signing in: a one-time link opens a session, a cookie carries its secret."""

from datetime import timedelta

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Unauthenticated
from headrace.core.scope import Scope
from headrace.identity.secrets import SECRET_LENGTH_MAX, digest, new_secret
from headrace.store import sessions as rows
from headrace.store.database import Database

LINK_LIFE = timedelta(hours=24)
SESSION_LIFE = timedelta(days=30)


class Sessions:
    """Links and sessions of this installation, kept as hashes.

    A session is looked up in the database each time, so that ending it counts everywhere at
    once, in other processes too.

    Args:
        database: Where the hashes are kept.
        pepper: The installation's HMAC key.
        clock: Tells when links and sessions expire.
    """

    def __init__(self, database: Database, pepper: bytes, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock

    async def make_link(self, scope: Scope) -> str:
        """A token that signs in as `scope`, once, within 24 hours."""
        token = new_secret()
        link_hash, now_ns = digest(self._pepper, "link", token), self._clock.now_ns()

        def work(connection: Connection) -> None:
            rows.forget_expired(connection, now_ns=now_ns)
            rows.add_link(connection, scope, link_hash, expires_ns=now_ns + _ns(LINK_LIFE))

        await self._database.write(work)
        return token

    async def redeem(self, token: str) -> str:
        """Use a link up and open a session; returns the session's secret, for the cookie.

        Raises:
            Unauthenticated: The link is unknown, used or expired.
        """
        secret = new_secret()
        link_hash = digest(self._pepper, "link", token[:SECRET_LENGTH_MAX])
        session_hash = digest(self._pepper, "session", secret)
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> Scope | None:
            scope = rows.use_link(connection, link_hash, now_ns=now_ns)
            if scope is not None:
                rows.add(
                    connection,
                    scope,
                    session_hash,
                    created_ns=now_ns,
                    expires_ns=now_ns + _ns(SESSION_LIFE),
                )
            return scope

        if await self._database.write(work) is None:
            raise Unauthenticated(
                "this sign-in link is unknown, used or expired",
                hint="Ask the server for a new link; each one works once, for 24 hours.",
            )
        return secret

    async def find(self, secret: str) -> rows.Visitor | None:
        """Whose session this is; None when unknown, ended or expired."""
        session_hash = digest(self._pepper, "session", secret[:SECRET_LENGTH_MAX])
        now_ns = self._clock.now_ns()
        return await self._database.read(
            lambda connection: rows.find(connection, session_hash, now_ns=now_ns)
        )

    async def end(self, secret: str) -> None:
        """Sign out: the session opens nothing from now on."""
        session_hash = digest(self._pepper, "session", secret[:SECRET_LENGTH_MAX])
        await self._database.write(lambda connection: rows.end(connection, session_hash))


def _ns(life: timedelta) -> int:
    return life // timedelta(microseconds=1) * 1_000
