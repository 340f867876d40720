import asyncio
from datetime import timedelta

import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import Unauthenticated
from headrace.identity.sessions import LINK_LIFE, SESSION_LIFE, Sessions
from headrace.store.accounts import Home
from headrace.store.database import Database
from headrace.store.sessions import Visitor


@pytest.fixture
def sessions(database: Database, clock: ManualClock) -> Sessions:
    return Sessions(database, b"p" * 32, clock)


def _ns(life: timedelta) -> int:
    return int(life.total_seconds()) * 1_000_000_000


async def test_a_link_opens_one_session(sessions: Sessions, home: Home):
    token = await sessions.make_link(home.owner)
    secret = await sessions.redeem(token)
    assert await sessions.find(secret) == Visitor(home.owner, "owner")
    with pytest.raises(Unauthenticated):
        await sessions.redeem(token)
    assert await sessions.find(token) is None
    assert await sessions.find(secret + "x") is None


async def test_of_many_who_redeem_at_once_one_gets_in(
    sessions: Sessions, home: Home, database: Database, clock: ManualClock
):
    token = await sessions.make_link(home.owner)
    other = Database(database.url)
    elsewhere = Sessions(other, b"p" * 32, clock)
    results = await asyncio.gather(
        *(place.redeem(token) for place in (sessions, elsewhere) * 5), return_exceptions=True
    )
    other.close()
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, Unauthenticated) for result in results) == 9


async def test_links_and_sessions_expire(sessions: Sessions, home: Home, clock: ManualClock):
    late = await sessions.make_link(home.owner)
    secret = await sessions.redeem(await sessions.make_link(home.owner))
    clock.move(_ns(LINK_LIFE))
    with pytest.raises(Unauthenticated):
        await sessions.redeem(late)
    assert await sessions.find(secret) == Visitor(home.owner, "owner")
    clock.move(_ns(SESSION_LIFE))
    assert await sessions.find(secret) is None


async def test_signing_out_ends_this_session_only(sessions: Sessions, home: Home):
    first = await sessions.redeem(await sessions.make_link(home.owner))
    second = await sessions.redeem(await sessions.make_link(home.owner))
    await sessions.end(first)
    assert await sessions.find(first) is None
    assert await sessions.find(second) == Visitor(home.owner, "owner")


@pytest.mark.parametrize("token", ["", "x" * 43, "x" * 100_000, "\x00", "\udcff"])
async def test_wrong_tokens_are_refused(sessions: Sessions, home: Home, token: str):
    del home
    with pytest.raises(Unauthenticated):
        await sessions.redeem(token)
    assert await sessions.find(token) is None
