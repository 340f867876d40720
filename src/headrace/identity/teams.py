"""Teams: what spending and limits may be gathered under, between organisation and account."""

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, NotFound
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.identity.accounts import checked_name
from headrace.identity.keys import KeyRing
from headrace.identity.oversight import require_overseer
from headrace.store import teams as rows
from headrace.store.account import ShownTeam
from headrace.store.database import Database


class Teams:
    """The teams of this installation.

    Args:
        database: Where they are.
        keys: Hears of it when accounts change their team.
        clock: The house's clock.
    """

    def __init__(self, database: Database, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    async def list(self, scope: Scope) -> tuple[ShownTeam, ...]:
        """The open teams of the organisation, oldest first."""
        return await self._database.read(lambda connection: rows.visible(connection, scope))

    async def create(self, actor: Scope, name: str) -> ShownTeam:
        """A new team, without anybody in it.

        Raises:
            InvalidRequest: The name is none.
            Conflict: An open team has that name.
        """
        made = ShownTeam(new_id(self._clock), checked_name(name), self._clock.now_ns(), 0)

        def work(connection: Connection) -> None:
            require_overseer(connection, actor)
            _check_name(connection, actor, made.name)
            rows.add(connection, actor, made.id, name=made.name, created_ns=made.created_ns)

        await self._database.write(work)
        return made

    async def rename(self, actor: Scope, identifier: str, name: str) -> None:
        """Call a team otherwise.

        Raises:
            NotFound: There is no such team.
            InvalidRequest: The name is none.
            Conflict: An open team has that name.
        """
        name = checked_name(name)

        def work(connection: Connection) -> bool:
            require_overseer(connection, actor)
            _check_name(connection, actor, name, but=identifier)
            return rows.rename(connection, actor, identifier, name=name)

        _check_found(found=await self._database.write(work))

    async def close(self, actor: Scope, identifier: str) -> None:
        """Close a team; its accounts belong to none from now on, what it spent stays.

        Raises:
            NotFound: There is no such team.
        """
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> bool:
            require_overseer(connection, actor)
            return rows.close(connection, actor, identifier, now_ns=now_ns)

        _check_found(found=await self._database.write(work))
        await self._keys.announce()


def _check_name(connection: Connection, scope: Scope, name: str, but: str | None = None) -> None:
    holder = rows.find_by_name(connection, scope, name)
    if holder is not None and holder != but:
        raise Conflict("an open team has this name")


def _check_found(*, found: bool) -> None:
    if not found:
        raise NotFound("there is no such team")
