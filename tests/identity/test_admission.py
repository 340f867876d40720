"""Newcomers who come all at once, to two processes' worth of databases."""

import asyncio
from collections.abc import Iterator

import pytest

from headrace.core.clock import SystemClock
from headrace.identity.admission import Admission
from headrace.identity.keys import KeyRing
from headrace.identity.oidc import Known
from headrace.identity.sessions import Sessions
from headrace.store import accounts
from headrace.store.account import ShownAccount
from headrace.store.accounts import Home
from headrace.store.database import Database

PEPPER = b"p" * 32
CLOCK = SystemClock()


@pytest.fixture
def second_database(database: Database) -> Iterator[Database]:
    other = Database(database.url)
    yield other
    other.close()


@pytest.fixture
def doors(database: Database, second_database: Database, home: Home) -> list[Admission]:
    return [
        Admission(
            Sessions(each, PEPPER, CLOCK),
            KeyRing(each, PEPPER, CLOCK),
            CLOCK,
            organisation_id=home.organisation_id,
            domains=(),
            newcomers="member",
        )
        for each in (database, second_database)
    ]


async def _people(database: Database, home: Home) -> list[ShownAccount]:
    found = await database.read(lambda connection: accounts.visible(connection, home.owner))
    return [each for each in found if each.kind == "person"]


def _known(number: int) -> Known:
    return Known("https://provider.example", f"s-{number}", f"{number}@example.org", "Ada")


async def test_fifty_sign_ups_at_once_give_one_owner(
    database: Database, doors: list[Admission], home: Home
):
    opened = await asyncio.gather(*(doors[n % 2].open(_known(n), None) for n in range(50)))
    people = await _people(database, home)
    assert len(people) == 51
    assert [each.id for each in people if each.role in {"owner", "admin"}] == [home.owner_id]
    assert len({secret for secret, _ in opened}) == 50
    assert None not in {scope for _, scope in opened}


async def test_fifty_sign_ins_of_one_person_give_one_account(
    database: Database, doors: list[Admission], home: Home
):
    opened = await asyncio.gather(*(doors[n % 2].open(_known(1), None) for n in range(50)))
    assert len(await _people(database, home)) == 2
    assert len([scope for _, scope in opened if scope is not None]) == 1
