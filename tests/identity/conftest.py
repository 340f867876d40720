import pytest

from headrace.core.clock import ManualClock
from headrace.identity.keys import KeyRing
from headrace.store.accounts import Home
from headrace.store.database import Database
from headrace.store.home import bootstrap

PEPPER = b"p" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(database: Database, clock: ManualClock) -> Home:
    return database.write_now(lambda connection: bootstrap(connection, clock))


@pytest.fixture
async def ring(database: Database, home: Home, clock: ManualClock) -> KeyRing:
    del home
    made = KeyRing(database, PEPPER, clock)
    await made.reload()
    return made
