"""API keys: `hr-` and 43 characters, shown once, known again by their HMAC.

The ring holds all live keys in memory, so that a request costs one HMAC and no SQL.
"""

import asyncio
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from headrace.core.ids import is_id, new_id
from headrace.core.scope import Lineage, Scope
from headrace.identity import delegation
from headrace.identity.caller import (
    HOUSE_PURPOSES,
    Caller,
    check_purpose,
    check_scopes,
    effective,
)
from headrace.identity.epoch import Epoch
from headrace.identity.new_key import NewKey
from headrace.identity.oversight import overseen
from headrace.identity.secrets import KEY_PREFIX, SECRET_LENGTH_MAX, digest, new_secret
from headrace.store import accounts
from headrace.store import keys as rows
from headrace.store.accounts import Standing
from headrace.store.database import Database
from headrace.store.key import Key, KeyScopes
from headrace.store.keys import LiveKey

_NAME_LENGTH_MAX = 100
GRACE_S_MAX = 30 * 86_400
"""How long the secret before a rotation may open as well."""
_NS_PER_S = 1_000_000_000
_NS_MAX = 2**63 - 1  # the year 2262


class _Door(msgspec.Struct, frozen=True):
    """What a secret opens: who comes in, and until when."""

    caller: Caller
    until_ns: int | None


class KeyRing:
    """All live keys of this installation.

    Args:
        database: Where the hashes are kept.
        pepper: The installation's HMAC key.
        clock: Tells when keys expire.
        epoch: Tells other processes that keys have changed, and this one of others' changes.
    """

    def __init__(
        self, database: Database, pepper: bytes, clock: Clock, epoch: Epoch | None = None
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self._epoch = epoch
        self._seen = 0
        self._doors: dict[str, _Door] = {}
        self._live: dict[str, LiveKey] = {}
        self._accounts: dict[str, Standing] = {}
        self._acting_for: dict[tuple[str, str], Caller] = {}
        self._used_ns: dict[str, int] = {}
        # Keeps a slow reload from bringing back a key that was revoked meanwhile.
        self._lock = asyncio.Lock()

    def find(self, secret: str) -> Caller:
        """Who holds this secret. No I/O.

        Raises:
            Unauthenticated: Nobody does: unknown, expired or revoked.
        """
        if not secret.startswith(KEY_PREFIX) or len(secret) > SECRET_LENGTH_MAX:
            raise Unauthenticated("the API key is not one of this server's (they begin with hr-)")
        door = self._doors.get(digest(self._pepper, "key", secret))
        if door is None:
            raise Unauthenticated("the API key is unknown or revoked")
        now_ns = self._clock.now_ns()
        if door.until_ns is not None and door.until_ns <= now_ns:
            raise Unauthenticated("the API key has expired")
        caller = door.caller
        self._used_ns[caller.key_id] = now_ns
        return caller

    def authenticate(self, secret: str, on_behalf_of: str | None = None) -> Caller:
        """Who calls: the holder of `secret`, or the person a service key speaks for. No I/O.

        Args:
            secret: The API key.
            on_behalf_of: The `Headrace-On-Behalf-Of` header, from `delegation.sign`.

        Raises:
            Unauthenticated: The key is nobody's.
            Forbidden: The key may not speak for others, or not for this account.
        """
        caller = self.find(secret)
        if on_behalf_of is None:
            return caller
        if caller.kind != "service":
            raise Forbidden("only the key of a service may act on behalf of an account")
        account_id = delegation.verify(
            self._pepper, on_behalf_of, key_id=caller.key_id, now_s=self._clock.now_ns() / _NS_PER_S
        )
        person = self._accounts.get(account_id)
        if person is None or person.scope.organisation_id != caller.scope.organisation_id:
            raise Forbidden("the account acted for is closed or not of this organisation")
        return self._acting(caller, person)

    def holder(self, key_id: str, scope: Scope) -> Caller:
        """The caller of work that was handed in earlier under a key, as it is now. No I/O.

        Args:
            key_id: The key.
            scope: For whom it was handed in: the key's own account, or one it acted for.

        Raises:
            Unauthenticated: The key is revoked or has expired, or an account is closed.
        """
        key = self._live.get(key_id)
        now_ns = self._clock.now_ns()
        if key is None or (key.expires_ns is not None and key.expires_ns <= now_ns):
            raise Unauthenticated("the API key is revoked or has expired")
        caller = self._doors[key.hash].caller
        if key.scope == scope:
            return caller
        person = self._accounts.get(scope.account_id)
        if key.kind != "service" or person is None or person.scope != scope:
            raise Unauthenticated("the API key may not act for this account any more")
        return self._acting(caller, person)

    def _acting(self, caller: Caller, person: Standing) -> Caller:
        """A service that speaks for a person; made once for each."""
        account_id = person.scope.account_id
        found = self._acting_for.get((caller.key_id, account_id))
        if found is None:
            lineage = Lineage(
                person.scope.organisation_id, person.team_id, account_id, caller.key_id
            )
            found = self._acting_for[caller.key_id, account_id] = Caller(
                caller.key_id,
                person.scope,
                caller.purpose,
                caller.kind,
                lineage,
                person.role,
                effective(caller.scopes, person.role),
                account_id,
            )
        return found

    async def create(
        self,
        scope: Scope,
        name: str,
        purpose: str = "api",
        expires_ns: int | None = None,
        scopes: KeyScopes | None = None,
        *,
        actor: Scope | None = None,
    ) -> NewKey:
        """A new key that speaks for `scope`.

        Args:
            scope: For whom it speaks.
            name: What to call it.
            purpose: The word that receipts show.
            expires_ns: When it ends; None never.
            scopes: What it may be used for; None everything that `scope` may.
            actor: Who makes it; None: the account itself.

        Raises:
            InvalidRequest: The name, purpose or a scope is not fit, or the expiry has passed.
            NotFound: The actor may not make keys for that account, or there is none.
            Forbidden: It is an owner's, and the actor is none.
        """
        check_purpose(purpose)
        if scopes is not None and scopes.purposes and purpose not in scopes.purposes:
            raise InvalidRequest(
                f"the key's own purpose {purpose!r} must be among its scope 'purposes'",
                param="purpose",
            )
        return await self._create(scope, name, purpose, expires_ns, scopes, actor=actor)

    async def _create(
        self,
        scope: Scope,
        name: str,
        purpose: str,
        expires_ns: int | None = None,
        scopes: KeyScopes | None = None,
        *,
        actor: Scope | None = None,
    ) -> NewKey:
        self._check(name, expires_ns, scopes)
        made = NewKey(new_id(self._clock), KEY_PREFIX + new_secret(), name, purpose, expires_ns)
        secret_hash, created_ns = digest(self._pepper, "key", made.secret), self._clock.now_ns()

        def work(connection: Connection) -> None:
            if actor is not None:
                overseen(connection, actor, scope.account_id, own=True)
            rows.add(
                connection,
                scope,
                made.id,
                name=name,
                secret_hash=secret_hash,
                last4=made.secret[-4:],
                purpose=purpose,
                created_ns=created_ns,
                expires_ns=expires_ns,
                scopes=scopes,
            )

        async with self._lock:
            await self._database.write(work)
            await self._changed()
        return made

    async def rotate(self, scope: Scope, name: str, purpose: str) -> NewKey:
        """The account's key of `purpose` with a fresh secret; made if there is none.

        For keys of the house itself: each start gets a new secret, the id stays the same.
        """
        identifier = await self._database.read(
            lambda connection: rows.find_by_purpose(connection, scope, purpose)
        )
        if identifier is None:
            return await self._create(scope, name, purpose)
        secret = KEY_PREFIX + new_secret()
        secret_hash = digest(self._pepper, "key", secret)
        async with self._lock:
            await self._database.write(
                lambda connection: rows.replace_secret(
                    connection, scope, identifier, secret_hash=secret_hash, last4=secret[-4:]
                )
            )
            await self._changed()
        return NewKey(identifier, secret, name, purpose)

    async def renew(self, actor: Scope, identifier: str, *, grace_s: float) -> NewKey:
        """A new secret for a key, which keeps its id; the old one opens as well for a while.

        Raises:
            NotFound: The actor may see no such key, or it is revoked or has expired.
            InvalidRequest: The grace is out of bounds, or the key is one of the house's own.
            Forbidden: It is an owner's, and the actor is none.
        """
        if not 0 <= grace_s <= GRACE_S_MAX:
            raise InvalidRequest(f"grace_s is 0 to {GRACE_S_MAX} seconds", param="grace_s")
        secret = KEY_PREFIX + new_secret()
        secret_hash, now_ns = digest(self._pepper, "key", secret), self._clock.now_ns()
        former_until_ns = now_ns + round(grace_s * _NS_PER_S)

        def work(connection: Connection) -> Key:
            key = rows.get(connection, actor, identifier) if is_id(identifier) else None
            if key is None or not _is_live(key, now_ns):
                raise NotFound("there is no such key, or it opens nothing any more")
            if key.purpose in HOUSE_PURPOSES:
                raise InvalidRequest("Headrace gives this key a new secret at each start")
            overseen(connection, actor, key.account_id, own=True)
            rows.renew(
                connection,
                actor,
                identifier,
                secret_hash=secret_hash,
                last4=secret[-4:],
                former_until_ns=former_until_ns,
            )
            return key

        async with self._lock:
            key = await self._database.write(work)
            await self._changed()
        return NewKey(identifier, secret, key.name, key.purpose, key.expires_ns)

    async def revoke(self, scope: Scope, identifier: str) -> None:
        """Refuse a key from now on; when this returns it opens nothing any more.

        Raises:
            NotFound: `scope` may see no such key.
            InvalidRequest: It is one of the house's own.
        """
        if not is_id(identifier):  # nor may odd text reach the database
            raise NotFound("there is no such key")
        # Shielded: a caller who hangs up must not leave a key that is revoked on disk only.
        await asyncio.shield(self._revoke(scope, identifier))

    async def _revoke(self, scope: Scope, identifier: str) -> None:
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> str | None:
            key = rows.get(connection, scope, identifier)
            if key is not None and key.purpose in HOUSE_PURPOSES:
                # Or an admin could shut out the commands of whoever runs this.
                raise InvalidRequest("Headrace itself needs this key, and renews it at each start")
            return rows.revoke(connection, scope, identifier, now_ns=now_ns)

        async with self._lock:
            secret_hash = await self._database.write(work)
            if secret_hash is None:
                raise NotFound(f"there is no key {identifier}")
            key = self._live.pop(identifier, None)
            if key is not None:
                self._doors.pop(key.hash, None)
                self._doors.pop(key.former_hash or "", None)
            self._tell()

    async def list(self, scope: Scope) -> tuple[Key, ...]:
        """The keys that `scope` may see, oldest first, without secrets."""
        await self.flush()
        return await self._database.read(lambda connection: rows.visible(connection, scope))

    async def reload(self) -> None:
        """Read all live keys."""
        async with self._lock:
            await self._load()

    async def refresh(self) -> None:
        """Read them again if another process has changed them; nobody gets past a change."""
        async with self._lock:
            if self.stale():
                await self._load()

    async def announce(self) -> None:
        """Have every process read the keys again: accounts or teams were changed.

        Shielded: a caller who hangs up must not leave a change unknown.
        """
        await asyncio.shield(self._announce())

    async def _announce(self) -> None:
        async with self._lock:
            await self._changed()

    async def flush(self) -> None:
        """Write down when keys were last used; cheap when none was."""
        used_ns, self._used_ns = self._used_ns, {}
        if used_ns:
            await self._database.write(lambda connection: rows.touch(connection, used_ns))

    def stale(self) -> bool:
        """Whether another process has changed keys since they were read."""
        return self._epoch is not None and self._epoch.now() != self._seen

    async def _changed(self) -> None:
        self._tell()
        await self._load()

    def _tell(self) -> None:
        if self._epoch is not None:
            self._epoch.rise()
            self._seen = self._epoch.now()

    async def _load(self) -> None:
        # From before they are read: a change in between then makes them stale.
        seen = self._epoch.now() if self._epoch is not None else 0
        now_ns = self._clock.now_ns()
        found = await self._database.read(
            lambda connection: (
                rows.live(connection, now_ns=now_ns),
                accounts.open_accounts(connection),
            )
        )
        self._doors = _doors(found[0])
        self._live = {key.id: key for key in found[0]}
        self._accounts = found[1]
        self._acting_for = {}
        self._seen = seen

    def _check(self, name: str, expires_ns: int | None, scopes: KeyScopes | None) -> None:
        if not name.strip() or len(name) > _NAME_LENGTH_MAX or not name.isprintable():
            raise InvalidRequest(
                f"a key's name is 1 to {_NAME_LENGTH_MAX} printable characters", param="name"
            )
        if expires_ns is not None and not self._clock.now_ns() < expires_ns <= _NS_MAX:
            raise InvalidRequest("a key must expire in the future", param="expires_days")
        if scopes is not None:
            check_scopes(scopes)


def _is_live(key: Key, now_ns: int) -> bool:
    return key.revoked_ns is None and (key.expires_ns is None or key.expires_ns > now_ns)


def _doors(keys: Iterable[LiveKey]) -> dict[str, _Door]:
    """What each secret opens: the present one of each key, and the one before for its grace."""
    doors: dict[str, _Door] = {}
    for key in keys:
        caller = Caller(
            key.id,
            key.scope,
            key.purpose,
            key.kind,
            Lineage(key.scope.organisation_id, key.team_id, key.scope.account_id, key.id),
            key.role,
            effective(key.scopes, key.role),
        )
        doors[key.hash] = _Door(caller, key.expires_ns)
        if key.former_hash is not None and key.former_until_ns is not None:
            ends = [each for each in (key.expires_ns, key.former_until_ns) if each is not None]
            doors[key.former_hash] = _Door(caller, min(ends))
    return doors
