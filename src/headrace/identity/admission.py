"""Admission: the account of somebody whom a provider of OpenID Connect vouches for."""

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Forbidden
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.identity.accounts import checked_email
from headrace.identity.keys import KeyRing
from headrace.identity.oidc import Known
from headrace.identity.sessions import Sessions
from headrace.store import accounts, credentials
from headrace.store.account import Role

_NAME_LENGTH_MAX = 100


class Admission:
    """Lets people in whom a provider vouches for.

    They are known by issuer and subject. An account that an admin gave an address, and that no
    provider's subject has yet, is linked to the first who comes with that address verified.
    Anybody else is a newcomer.

    Args:
        sessions: What signing in opens.
        keys: Hears of new accounts.
        clock: The house's clock.
        organisation_id: Where newcomers go.
        domains: Whose addresses may come in; empty: all.
        newcomers: Their role; None lets none in.
    """

    def __init__(
        self,
        sessions: Sessions,
        keys: KeyRing,
        clock: Clock,
        *,
        organisation_id: str,
        domains: tuple[str, ...],
        newcomers: Role | None,
    ) -> None:
        self._sessions = sessions
        self._keys = keys
        self._clock = clock
        self._organisation_id = organisation_id
        self._domains = frozenset(domains)
        self._newcomers: Role | None = newcomers

    async def open(self, known: Known, former: str | None) -> tuple[str, Scope | None]:
        """Open a session; returns its secret, and the scope of an account made for it.

        Args:
            known: Who comes.
            former: The secret of a session that the new one takes the place of.

        Raises:
            Forbidden: Nobody of that name may come in.
            InvalidRequest: The provider gives an address that is none.
        """
        email = checked_email(known.email)
        if self._domains and (email or "").rpartition("@")[2] not in self._domains:
            raise Forbidden("only addresses of this organisation may sign in this way")
        made: list[Scope] = []

        def enter(connection: Connection) -> Scope:
            made.clear()  # the transaction may run again
            found = self._find(connection, known, email)
            if found is None:
                found = self._add(connection, known, email)
                made.append(found)
            return found

        secret = await self._sessions.open(enter, former)
        if made:
            await self._keys.announce()
        return secret, made[0] if made else None

    def _find(self, connection: Connection, known: Known, email: str | None) -> Scope | None:
        subject, now_ns = _subject(known), self._clock.now_ns()
        linked = credentials.find(connection, "oidc", subject)
        if linked is not None:
            credentials.touch(connection, "oidc", subject, now_ns=now_ns)
            return linked.scope
        invited = None if email is None else accounts.find_by_email(connection, email)
        if invited is not None:
            if "oidc" in credentials.kinds(connection, invited.scope):
                raise Forbidden("the account with this address belongs to somebody else")
            self._link(connection, invited.scope, subject)
            return invited.scope
        if credentials.is_known(connection, "oidc", subject) or (
            email is not None and accounts.was_closed(connection, email)
        ):
            raise Forbidden("this account is closed; an admin can make you a new one")
        return None

    def _add(self, connection: Connection, known: Known, email: str | None) -> Scope:
        if self._newcomers is None or email is None:
            raise Forbidden(
                "nobody has invited you here yet",
                hint="ask an admin to add an account with your address",
            )
        scope, now_ns = Scope(self._organisation_id, new_id(self._clock)), self._clock.now_ns()
        accounts.add_person(
            connection,
            scope,
            role=self._newcomers,
            name=_name(known.name) or email[:_NAME_LENGTH_MAX],
            created_ns=now_ns,
            email=email,
        )
        self._link(connection, scope, _subject(known))
        return scope

    def _link(self, connection: Connection, scope: Scope, subject: str) -> None:
        # One of a closed account, whose person was invited anew.
        credentials.forget(connection, "oidc", subject)
        credentials.add(
            connection, scope, "oidc", subject, secret_hash=None, created_ns=self._clock.now_ns()
        )


def _name(told: str | None) -> str:
    """What the provider calls somebody, as far as it can be shown."""
    shown = "".join(each for each in told or "" if each.isprintable())
    return shown.strip()[:_NAME_LENGTH_MAX]


def _subject(known: Known) -> str:
    return f"{known.issuer} {known.subject}"
