"""Sessions: whoever signed in, by whichever way, has one; a cookie carries its secret."""

from collections.abc import Callable
from datetime import timedelta
from typing import overload

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Forbidden, NotFound, Unauthenticated
from headrace.core.scope import Scope
from headrace.identity.oversight import overseen
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

    async def make_link(self, scope: Scope, maker: Scope | None = None) -> str:
        """A token that signs in as `scope`, once, within 24 hours.

        Args:
            scope: As whom.
            maker: Who makes it, who must still be allowed to when it is used; None: themselves.
        """
        token = new_secret()
        link_hash, now_ns = digest(self._pepper, "link", token), self._clock.now_ns()

        def work(connection: Connection) -> None:
            rows.forget_expired(connection, now_ns=now_ns)
            rows.add_link(
                connection,
                scope,
                link_hash,
                maker_id=(maker or scope).account_id,
                expires_ns=now_ns + _ns(LINK_LIFE),
            )

        await self._database.write(work)
        return token

    async def redeem(self, token: str, former: str | None = None) -> str:
        """Use a link up and open a session; returns the session's secret, for the cookie.

        Args:
            token: From `make_link`.
            former: The secret of a session that the new one takes the place of.

        Raises:
            Unauthenticated: The link is unknown, used or expired, or whoever made it might not
                make it any more.
        """
        link_hash = digest(self._pepper, "link", token[:SECRET_LENGTH_MAX])
        now_ns = self._clock.now_ns()

        def use(connection: Connection) -> Scope:
            used = rows.use_link(connection, link_hash, now_ns=now_ns)
            if used is None or not _still_stands(connection, used):
                raise Unauthenticated(
                    "this sign-in link is unknown, used or expired",
                    hint="Ask the server for a new link; each one works once, for 24 hours.",
                )
            return used.scope

        return await self.open(use, former)

    async def open(self, enter: Callable[[Connection], Scope], former: str | None) -> str:
        """A new session for whom `enter` gives, in one transaction; returns its secret.

        Args:
            enter: Tells who comes in, or raises.
            former: The secret of a session that the new one takes the place of: whoever knows
                that one has no part in what is opened now.
        """
        secret = new_secret()
        session_hash, former_hash = self.hash_of(secret), self.hash_of(former)
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> None:
            scope = enter(connection)
            if former_hash is not None:
                rows.end(connection, former_hash)
            rows.add(
                connection,
                scope,
                session_hash,
                created_ns=now_ns,
                expires_ns=now_ns + _ns(SESSION_LIFE),
            )

        await self._database.write(work)
        return secret

    @overload
    def hash_of(self, secret: str) -> str: ...
    @overload
    def hash_of(self, secret: None) -> None: ...
    @overload
    def hash_of(self, secret: str | None) -> str | None: ...
    def hash_of(self, secret: str | None) -> str | None:
        """By what a session's secret is known."""
        if secret is None:
            return None
        return digest(self._pepper, "session", secret[:SECRET_LENGTH_MAX])

    async def find(self, secret: str) -> rows.Visitor | None:
        """Whose session this is; None when unknown, ended or expired."""
        session_hash = self.hash_of(secret)
        now_ns = self._clock.now_ns()
        return await self._database.read(
            lambda connection: rows.find(connection, session_hash, now_ns=now_ns)
        )

    async def end(self, secret: str) -> None:
        """Sign out: the session opens nothing from now on."""
        session_hash = self.hash_of(secret)
        await self._database.write(lambda connection: rows.end(connection, session_hash))


def _still_stands(connection: Connection, link: rows.UsedLink) -> bool:
    """Whether its maker may open that account today: either may have got another role since."""
    try:
        overseen(connection, link.maker, link.scope.account_id, own=True)
    except (NotFound, Forbidden):
        return False
    return True


def _ns(life: timedelta) -> int:
    return life // timedelta(microseconds=1) * 1_000
