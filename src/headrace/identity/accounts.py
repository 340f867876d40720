"""Accounts of an organisation: who is in it, in which role and team, and since when no more.

Each change is one serializable transaction that looks at roles itself, so that changes which
race each other cannot leave an organisation without an owner or make anybody more than their
maker. The key ring hears of it before the change returns, in all processes.
"""

import re
import unicodedata
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, Forbidden, InvalidRequest
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.identity.keys import KeyRing
from headrace.identity.oversight import overseen, require_overseer
from headrace.identity.sessions import Sessions
from headrace.store import accounts, credentials, teams
from headrace.store import keys as key_rows
from headrace.store import sessions as session_rows
from headrace.store.account import Kind, Role, ShownAccount
from headrace.store.accounts import CHAT_SERVICE, Account
from headrace.store.database import Database

_NAME_LENGTH_MAX = 100
_EMAIL_LENGTH_MAX = 254
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody, or some service, that shall come in."""

    kind: Kind
    name: str
    email: str | None = None
    role: Role = "member"
    team_id: str | None = None


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall be otherwise; what is left out stays."""

    name: str | UnsetType = UNSET
    email: str | UnsetType | None = UNSET
    role: Role | UnsetType = UNSET
    team_id: str | UnsetType | None = UNSET


class Accounts:
    """The accounts of this installation.

    Args:
        database: Where they are.
        keys: Hears of what changes for keys.
        sessions: Makes the links that invite people.
        clock: The house's clock.
    """

    def __init__(self, database: Database, keys: KeyRing, sessions: Sessions, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._sessions = sessions
        self._clock = clock

    async def list(self, scope: Scope) -> tuple[ShownAccount, ...]:
        """The accounts that `scope` may know of, closed ones too, oldest first."""
        return await self._database.read(lambda connection: accounts.visible(connection, scope))

    async def create(self, actor: Scope, wanted: NewAccount) -> ShownAccount:
        """A new account.

        Raises:
            InvalidRequest: The name, address or role is not fit, or there is no such team.
            Conflict: The name of a service, or the address, is in use.
            Forbidden: Only owners make owners.
        """
        name, email = checked_name(wanted.name), checked_email(wanted.email)
        if wanted.kind == "service" and (email is not None or wanted.role == "owner"):
            raise InvalidRequest("a service has no address and is no owner", param="kind")
        scope = Scope(actor.organisation_id, new_id(self._clock))
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> None:
            _check_role(require_overseer(connection, actor), wanted.role)
            _check_team(connection, actor, wanted.team_id)
            if wanted.kind == "service":
                _check_service(connection, actor, name)
                accounts.add_service(
                    connection,
                    scope,
                    role=wanted.role,
                    name=name,
                    created_ns=now_ns,
                    team_id=wanted.team_id,
                )
                return
            _check_address(connection, email, None)
            accounts.add_person(
                connection,
                scope,
                role=wanted.role,
                name=name,
                created_ns=now_ns,
                email=email,
                team_id=wanted.team_id,
            )

        await self._write(work)
        return ShownAccount(
            scope.account_id, wanted.kind, wanted.role, name, email, wanted.team_id, now_ns, None
        )

    async def change(self, actor: Scope, account_id: str, wanted: AccountChange) -> None:
        """Give an account another name, address, role or team.

        Raises:
            NotFound: There is no such account.
            InvalidRequest: The name, address or role is not fit, or there is no such team.
            Conflict: The name or address is in use, or nobody would be owner any more.
            Forbidden: Only owners change owners and make them.
        """
        new_name = UNSET if wanted.name is UNSET else checked_name(wanted.name)
        new_email = UNSET if wanted.email is UNSET else checked_email(wanted.email)

        def work(connection: Connection) -> None:
            found = overseen(connection, actor, account_id)
            if wanted.role is not UNSET and wanted.role != found.role:
                self._check_new_role(connection, actor, found, wanted.role)
                if wanted.role == "owner":
                    # An admin may have opened some of them; nobody becomes owner that way.
                    session_rows.end_all(connection, found.scope)
            if wanted.team_id is not UNSET:
                _check_team(connection, actor, wanted.team_id)
            accounts.change(
                connection,
                found.scope,
                role=found.role if wanted.role is UNSET else wanted.role,
                team_id=found.team_id if wanted.team_id is UNSET else wanted.team_id,
            )
            name = found.name if new_name is UNSET else new_name
            if found.kind == "service":
                _rename_service(connection, found, name, new_email)
            else:
                email = found.email if new_email is UNSET else new_email
                _rename_person(connection, found, name, email)

        await self._write(work)

    async def close(self, actor: Scope, account_id: str) -> None:
        """Close an account; when this returns its keys, sessions and links open nothing.

        Raises:
            NotFound: There is no such account.
            Conflict: It is the last owner's, or one that Headrace needs itself.
            Forbidden: Only owners close an owner's.
        """
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> None:
            _close(connection, overseen(connection, actor, account_id), now_ns)

        await self._write(work)

    async def erase(self, actor: Scope, account_id: str) -> None:
        """Close an account and forget who it was: name, address, credentials, names of keys.

        Its id and its receipts stay, under which nobody can be found any more.

        Raises:
            NotFound: There is no such account.
            InvalidRequest: It is a service's.
            Conflict: It is the last owner's.
            Forbidden: Only owners erase an owner.
        """
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> None:
            found = overseen(connection, actor, account_id, closed=True)
            if found.kind == "service":
                raise InvalidRequest("a service is nobody who could be erased; close it")
            if accounts.get(connection, found.scope) is not None:
                _close(connection, found, now_ns)
            accounts.forget_person(connection, found.scope)
            credentials.remove(connection, found.scope)
            key_rows.forget_names(connection, found.scope)

        await self._write(work)
        await self._database.scrub()

    async def invite(self, actor: Scope, account_id: str) -> str:
        """A token that signs a person in, once, to set a password; the one before is void.

        Raises:
            NotFound: There is no such account.
            InvalidRequest: It is a service's, or the person has no address.
            Forbidden: Only owners invite an owner.
        """

        def work(connection: Connection) -> Scope:
            found = overseen(connection, actor, account_id)
            if found.kind == "service":
                raise InvalidRequest("a service does not sign in; make it a key")
            if found.email is None:
                raise InvalidRequest(
                    "this account has no address to sign in with", hint="set its email first"
                )
            credentials.remove(connection, found.scope, "password")
            session_rows.end_all(connection, found.scope)
            return found.scope

        return await self._sessions.make_link(await self._database.write(work), actor)

    def _check_new_role(
        self, connection: Connection, actor: Scope, found: Account, role: Role
    ) -> None:
        _check_role(require_overseer(connection, actor), role)
        _check_not_ours(found)
        if found.kind == "service" and role == "owner":
            raise InvalidRequest("a service is no owner", param="role")
        _check_not_last(connection, found)

    async def _write(self, work: Callable[[Connection], None]) -> None:
        await self._database.write(work)
        await self._keys.announce()


def checked_name(name: str) -> str:
    """A name as it is kept.

    Raises:
        InvalidRequest: It is none.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > _NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidRequest(
            f"a name is 1 to {_NAME_LENGTH_MAX} printable characters", param="name"
        )
    return name


def checked_email(email: str | None) -> str | None:
    """An address as it is kept: in lower case, as people hardly ever mean two by that.

    Raises:
        InvalidRequest: It is none.
    """
    if email is None:
        return None
    poses = any(map(_poses, email))
    email = unicodedata.normalize("NFC", email).strip().lower()
    fits = len(email) <= _EMAIL_LENGTH_MAX and email.isprintable() and not poses
    if not fits or _EMAIL.fullmatch(email) is None:
        raise InvalidRequest("this is not an e-mail address", param="email")
    return email


def _poses(character: str) -> bool:
    """Whether it becomes a letter of ASCII only by how addresses are kept.

    Such as the sign for kelvin, a k then: that is another mailbox, and would open somebody else's
    account.
    """
    kept = unicodedata.normalize("NFC", character).lower()
    return not character.isascii() and any(map(str.isascii, kept))


def _check_role(maker: Role, role: Role) -> None:
    if role == "owner" and maker != "owner":
        raise Forbidden("only owners make owners")


def _check_team(connection: Connection, actor: Scope, team_id: str | None) -> None:
    if team_id is not None and not teams.is_open(connection, actor, team_id):
        raise InvalidRequest("there is no such team", param="team_id")


def _check_service(connection: Connection, scope: Scope, name: str) -> None:
    if accounts.service_exists(connection, scope, name):
        raise Conflict(f"there is, or was, a service called {name!r}; take another name")


def _check_address(connection: Connection, email: str | None, account_id: str | None) -> None:
    holder = None if email is None else accounts.find_by_email(connection, email)
    if holder is not None and holder.id != account_id:
        raise Conflict("another account has this address")


def _check_not_ours(found: Account) -> None:
    if found.kind == "service" and found.name == CHAT_SERVICE:
        raise Conflict("Headrace's own chat works through this account")


def _check_not_last(connection: Connection, found: Account) -> None:
    if found.role == "owner" and accounts.owners(connection, found.scope) <= 1:
        raise Conflict("this is the last owner; make somebody else one first")


def _rename_service(
    connection: Connection, found: Account, name: str, email: str | UnsetType | None
) -> None:
    if email is not UNSET and email is not None:
        raise InvalidRequest("a service has no address", param="email")
    if name != found.name:
        _check_not_ours(found)
        _check_service(connection, found.scope, name)
        accounts.rename_service(connection, found.scope, name)


def _rename_person(connection: Connection, found: Account, name: str, email: str | None) -> None:
    if (name, email) == (found.name, found.email):
        return
    if email != found.email:
        _check_address(connection, email, found.id)
        if email is None:
            credentials.remove(connection, found.scope, "password")
        else:
            credentials.move(connection, found.scope, email)
    accounts.rename(connection, found.scope, name=name, email=email)


def _close(connection: Connection, found: Account, now_ns: int) -> None:
    _check_not_ours(found)
    _check_not_last(connection, found)
    accounts.close(connection, found.scope, now_ns=now_ns)
    key_rows.revoke_all(connection, found.scope, now_ns=now_ns)
    session_rows.end_all(connection, found.scope)
    # A password would keep the address from being used again. What a provider says stays, so
    # that nobody who was sent away comes in as a newcomer.
    credentials.remove(connection, found.scope, "password")
