"""Signing in with address and password, and choosing one."""

import logging

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, HeadraceError, InvalidRequest, Unauthenticated
from headrace.core.scope import Scope
from headrace.identity.accounts import checked_email
from headrace.identity.passwords import Passwords, Verdict, check_password
from headrace.identity.sessions import Sessions
from headrace.identity.throttle import Throttle, network_of
from headrace.store import accounts, credentials
from headrace.store import sessions as session_rows
from headrace.store.credentials import Credential
from headrace.store.database import Database

_log = logging.getLogger(__name__)

# Ten in a row, then twelve an hour: one address can be tried some 300 times a day …
_ADDRESS_BURST, _ADDRESS_EVERY_S = 10, 300.0
# … and one client may try that of many people, as those behind one proxy do.
_CLIENT_BURST, _CLIENT_EVERY_S = 50, 6.0


class SignIn:
    """Passwords of people.

    Args:
        database: Where accounts and hashes are.
        sessions: What signing in opens.
        passwords: Knows them by their hashes.
        clock: The house's clock.
    """

    def __init__(
        self, database: Database, sessions: Sessions, passwords: Passwords, clock: Clock
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock
        self._addresses = Throttle(clock, burst=_ADDRESS_BURST, every_s=_ADDRESS_EVERY_S)
        self._clients = Throttle(clock, burst=_CLIENT_BURST, every_s=_CLIENT_EVERY_S)

    async def open(self, email: str, password: str, client: str, former: str | None) -> str:
        """Open a session; returns its secret, for the cookie.

        Unknown addresses, wrong passwords and closed accounts look alike, in words and in time.

        Args:
            email: The address.
            password: What they say.
            client: The network address that this comes from.
            former: The secret of a session that the new one takes the place of.

        Raises:
            Unauthenticated: That is not right.
            RateLimited: Too many tries for this address or from this client.
            Overloaded: Too many sign in at the same time.
        """
        subject = _subject(email)
        found = await self._database.read(
            lambda connection: credentials.find(connection, "password", subject)
        )
        kept = None if found is None else found.secret_hash
        verdict = await self._judge(kept, password, subject, client)
        if found is None or not verdict.is_right:
            # The address stays out of the log: people type passwords into the wrong field.
            _log.warning("a sign-in by password failed, from %r", network_of(client))
            raise Unauthenticated("the address or the password is wrong")

        def check(connection: Connection) -> Scope:
            # It may have been changed, or the account closed, while the password was hashed.
            now = credentials.find(connection, "password", subject)
            if now != found:
                raise Unauthenticated("the password was changed just now")
            if verdict.new_hash is not None and kept is not None:
                credentials.replace_hash(connection, found.scope, kept, verdict.new_hash)
            credentials.touch(connection, "password", subject, now_ns=self._clock.now_ns())
            return found.scope

        return await self._sessions.open(check, former)

    async def choose(
        self, scope: Scope, current: str | None, new: str, *, session: str | None, client: str
    ) -> None:
        """Give the account a password; all its sessions but the present one end.

        Args:
            scope: Whose.
            current: The password so far, if there is one.
            new: The one from now on.
            session: The secret of the present session.
            client: The network address that this comes from.

        Raises:
            InvalidRequest: The new one is guessed easily, or the account has no address.
            Unauthenticated: The current one is wrong, or missing.
            RateLimited: Too many wrong ones.
            Conflict: Somebody else changed it meanwhile.
        """
        account, kept = await self._database.read(
            lambda connection: (
                accounts.get(connection, scope),
                credentials.of_account(connection, scope),
            )
        )
        if account is None or account.kind != "person":
            raise InvalidRequest("only people have passwords")
        email = account.email
        if email is None:
            raise InvalidRequest(
                "this account has no address to sign in with", hint="set its email first"
            )
        check_password(new, email=email, name=account.name)
        if kept is not None:
            verdict = await self._judge(kept.secret_hash, current or "", scope.account_id, client)
            if not verdict.is_right:
                raise Unauthenticated("the current password is wrong")
        secret_hash, now_ns = await self._passwords.hash(new), self._clock.now_ns()

        def work(connection: Connection) -> None:
            _check_same(connection, account, kept)
            credentials.remove(connection, scope, "password")
            credentials.add(
                connection, scope, "password", email, secret_hash=secret_hash, created_ns=now_ns
            )
            session_rows.end_all(connection, scope, but=self._sessions.hash_of(session))

        await self._database.write(work)

    async def _judge(self, kept: str | None, password: str, key: str, client: str) -> Verdict:
        """What the password is, for somebody who has not failed too often."""
        network = network_of(client)
        self._clients.take(network)
        try:
            self._addresses.take(key)
        except HeadraceError:
            self._clients.give_back(network)
            raise
        verdict = await self._passwords.verify(kept, password)
        if verdict.is_right:
            self._clients.give_back(network)
            self._addresses.give_back(key)
        return verdict


def _check_same(connection: Connection, account: accounts.Account, kept: Credential | None) -> None:
    """Refuse to change what has changed since it was looked at."""
    now = accounts.get(connection, account.scope)
    if now is None or now.email != account.email:
        raise Conflict("the account was changed just now; try again")
    if credentials.of_account(connection, account.scope) != kept:
        raise Conflict("the password was changed just now; try again")


def _subject(email: str) -> str:
    try:
        return checked_email(email) or ""
    except InvalidRequest:  # nobody's, which is looked for like any other
        return ""
