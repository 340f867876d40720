import asyncio

from sqlalchemy import Connection, func, select

from headrace.core.clock import ManualClock
from headrace.store import accounts, schema
from headrace.store.database import Database
from headrace.store.home import bootstrap


async def test_bootstrap_makes_one_home_however_often_and_at_once(
    database: Database,
):
    clock = ManualClock()
    other = Database(database.url)
    homes = await asyncio.gather(
        *(
            place.write(lambda connection: bootstrap(connection, clock))
            for place in (database, other) * 4
        )
    )
    other.close()
    assert len(set(map(str, homes))) == 1

    def counts(connection: Connection) -> list[int | None]:
        tables = (schema.organisation, schema.account, schema.person)
        return [connection.scalar(select(func.count()).select_from(table)) for table in tables]

    assert await database.read(counts) == [1, 2, 1]
    owner = await database.read(lambda connection: accounts.get(connection, homes[0].owner))
    chat = await database.read(lambda connection: accounts.get(connection, homes[0].chat))
    assert owner is not None
    assert (owner.kind, owner.role) == ("person", "owner")
    assert chat is not None
    assert (chat.kind, chat.role, chat.name) == ("service", "member", "chat")
