import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text

from headrace.core.clock import ManualClock, SystemClock
from headrace.core.errors import (
    Conflict,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    NotFound,
    Unauthenticated,
)
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.identity.accounts import AccountChange, Accounts, NewAccount
from headrace.identity.epoch import Epoch
from headrace.identity.keys import KeyRing
from headrace.identity.sessions import Sessions
from headrace.identity.teams import Teams
from headrace.store import accounts as rows
from headrace.store.account import Role
from headrace.store.accounts import Home
from headrace.store.database import Database

PEPPER = b"p" * 32
T = TypeVar("T")


@pytest.fixture
def sessions(database: Database, clock: ManualClock) -> Sessions:
    return Sessions(database, PEPPER, clock)


@pytest.fixture
def people(database: Database, ring: KeyRing, sessions: Sessions, clock: ManualClock) -> Accounts:
    return Accounts(database, ring, sessions, clock)


@pytest.fixture
def teams(database: Database, ring: KeyRing, clock: ManualClock) -> Teams:
    return Teams(database, ring, clock)


async def _add(people: Accounts, home: Home, role: Role = "member", **more: str) -> Scope:
    wanted = NewAccount("person", role.title(), role=role, **more)
    made = await people.create(home.owner, wanted)
    return Scope(home.organisation_id, made.id)


async def test_a_closed_account_opens_nothing_any_more(
    people: Accounts, sessions: Sessions, ring: KeyRing, home: Home
):
    member = await _add(people, home, email="bob@example.org")
    key = await ring.create(member, "laptop")
    cookie = await sessions.redeem(await sessions.make_link(member))
    link = await sessions.make_link(member)
    await people.close(home.owner, member.account_id)
    with pytest.raises(Unauthenticated):
        ring.find(key.secret)
    assert await sessions.find(cookie) is None
    with pytest.raises(Unauthenticated):
        await sessions.redeem(link)
    with pytest.raises(NotFound):
        await people.close(home.owner, member.account_id)
    with pytest.raises(NotFound):
        await ring.create(member, "again", actor=home.owner)


async def test_a_closed_person_cannot_be_acted_for(people: Accounts, ring: KeyRing, home: Home):
    member = await _add(people, home)
    key = await ring.rotate(home.chat, "the chat", "chat")
    assert ring.holder(key.id, member).role == "member"
    await people.change(home.owner, member.account_id, AccountChange(role="viewer"))
    assert ring.holder(key.id, member).scopes is not None
    await people.close(home.owner, member.account_id)
    with pytest.raises(Unauthenticated):
        ring.holder(key.id, member)


async def test_the_last_owner_stays(people: Accounts, home: Home):
    for attempt in (
        people.close(home.owner, home.owner_id),
        people.erase(home.owner, home.owner_id),
        people.change(home.owner, home.owner_id, AccountChange(role="member")),
    ):
        with pytest.raises(Conflict, match="last owner"):
            await attempt
    second = await _add(people, home, "owner")
    await people.change(home.owner, home.owner_id, AccountChange(role="admin"))
    with pytest.raises(Conflict, match="last owner"):
        await people.close(second, second.account_id)
    with pytest.raises(Forbidden):
        await people.change(home.owner, home.owner_id, AccountChange(role="owner"))


async def test_an_erased_person_leaves_an_account_behind(
    people: Accounts, ring: KeyRing, home: Home, database: Database
):
    member = await _add(people, home, email="ada@example.org")
    await people.change(home.owner, member.account_id, AccountChange(name="Ada Lovelace"))
    await ring.create(member, "Ada's laptop")
    await people.invite(home.owner, member.account_id)
    await people.erase(home.owner, member.account_id)
    (found,) = (each for each in await people.list(home.owner) if each.id == member.account_id)
    assert (found.name, found.email) == ("", None)
    assert found.closed_ns is not None
    (key,) = (key for key in await ring.list(home.owner) if key.account_id == member.account_id)
    assert key.name == "erased"

    def everything(connection: Connection) -> str:
        tables = ("account", "person", "credential", "api_key", "session", "sign_in_link")
        rows = (connection.execute(text(f"SELECT * FROM {table}")) for table in tables)
        return repr([tuple(row) for result in rows for row in result])

    shown = await database.read(everything)
    assert member.account_id in shown
    for word in ("Ada", "ada@", "Lovelace"):
        assert word not in shown
    await people.erase(home.owner, member.account_id)  # again is no error


async def test_an_address_names_one_person(people: Accounts, home: Home):
    first = await _add(people, home, email="Ada@Example.org")
    with pytest.raises(Conflict, match="address"):
        await _add(people, home, email="ada@example.org")
    second = await _add(people, home, email="other@example.org")
    with pytest.raises(Conflict, match="address"):
        await people.change(home.owner, second.account_id, AccountChange(email="ADA@example.org"))
    await people.close(home.owner, first.account_id)
    await people.change(home.owner, second.account_id, AccountChange(email="ada@example.org"))


@pytest.mark.parametrize(
    "wanted",
    [
        NewAccount("person", ""),
        NewAccount("person", "a\nb"),
        NewAccount("person", "x" * 101),
        NewAccount("person", "x", email="nobody"),
        NewAccount("person", "x", email="a@b@c.example"),
        NewAccount("person", "x", email=f"{'x' * 250}@b.example"),
        NewAccount("person", "x", team_id="0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"),
        NewAccount("service", "x", email="a@b.example"),
        NewAccount("service", "x", role="owner"),
    ],
)
async def test_unfit_accounts_are_refused(people: Accounts, home: Home, wanted: NewAccount):
    with pytest.raises(InvalidRequest):
        await people.create(home.owner, wanted)


async def test_services_have_names_of_their_own(people: Accounts, home: Home):
    made = await people.create(home.owner, NewAccount("service", "ci"))
    with pytest.raises(Conflict):
        await people.create(home.owner, NewAccount("service", "ci"))
    with pytest.raises(Conflict):
        await people.create(home.owner, NewAccount("service", "chat"))
    with pytest.raises(Conflict):
        await people.change(home.owner, made.id, AccountChange(name="chat"))
    with pytest.raises(InvalidRequest):
        await people.change(home.owner, made.id, AccountChange(role="owner"))
    with pytest.raises(InvalidRequest):
        await people.change(home.owner, made.id, AccountChange(email="a@b.example"))
    with pytest.raises(InvalidRequest):
        await people.erase(home.owner, made.id)
    with pytest.raises(InvalidRequest):
        await people.invite(home.owner, made.id)
    await people.change(home.owner, made.id, AccountChange(name="builds"))
    assert "builds" in {each.name for each in await people.list(home.owner)}


async def test_the_chat_s_own_account_stays(people: Accounts, home: Home):
    for attempt in (
        people.close(home.owner, home.chat_account_id),
        people.change(home.owner, home.chat_account_id, AccountChange(name="other")),
        people.change(home.owner, home.chat_account_id, AccountChange(role="viewer")),
    ):
        with pytest.raises(Conflict, match="chat"):
            await attempt


async def test_teams_gather_accounts_and_their_calls(
    people: Accounts, teams: Teams, ring: KeyRing, home: Home
):
    team = await teams.create(home.owner, " Research ")
    with pytest.raises(Conflict):
        await teams.create(home.owner, "Research")
    member = await _add(people, home, team_id=team.id)
    key = await ring.create(member, "laptop")
    lineage = ring.find(key.secret).lineage
    assert lineage.nodes() == (home.organisation_id, team.id, member.account_id, key.id)
    chat = await ring.rotate(home.chat, "the chat", "chat")
    acting = ring.holder(chat.id, member)
    assert acting.lineage.nodes() == (
        home.organisation_id,
        team.id,
        member.account_id,
        chat.id,
    )
    assert acting.team_id == team.id
    await teams.rename(home.owner, team.id, "Science")
    await teams.rename(home.owner, team.id, "Science")
    assert [(each.name, each.members) for each in await teams.list(home.owner)] == [("Science", 1)]
    await teams.close(home.owner, team.id)
    assert ring.find(key.secret).team_id is None
    assert ring.holder(chat.id, member).team_id is None
    with pytest.raises(NotFound):
        await teams.rename(home.owner, team.id, "Again")
    with pytest.raises(InvalidRequest):
        await people.change(home.owner, member.account_id, AccountChange(team_id=team.id))


async def test_roles_are_looked_at_when_a_change_happens(
    people: Accounts, teams: Teams, home: Home
):
    admin = await _add(people, home, "admin")
    member = await _add(people, home)
    await people.change(admin, member.account_id, AccountChange(role="viewer"))
    await people.change(home.owner, admin.account_id, AccountChange(role="member"))
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: people.create(admin, NewAccount("person", "x")),
        lambda: people.change(admin, admin.account_id, AccountChange(role="admin")),
        lambda: people.close(admin, member.account_id),
        lambda: teams.create(admin, "mine"),
    ]
    for attempt in attempts:
        with pytest.raises((Forbidden, NotFound)):
            await attempt()


async def test_an_invitation_opens_no_more_than_its_maker_may(
    people: Accounts, sessions: Sessions, home: Home
):
    admin = await _add(people, home, "admin")
    colleague = await _add(people, home, "admin", email="bob@example.org")
    member = await _add(people, home, email="eve@example.org")
    for role in ("admin", "owner"):  # an owner's link opens owners too
        await people.change(home.owner, admin.account_id, AccountChange(role=role))
        await sessions.redeem(await people.invite(admin, colleague.account_id))
    await people.change(home.owner, admin.account_id, AccountChange(role="admin"))
    to_be_owner = await sessions.make_link(member, admin)
    await people.change(home.owner, member.account_id, AccountChange(role="owner"))
    late = await sessions.make_link(member, admin)  # as if the invitation came in between
    after = await people.invite(admin, colleague.account_id)
    await people.change(home.owner, admin.account_id, AccountChange(role="member"))
    for link in (to_be_owner, late, after):
        with pytest.raises(Unauthenticated):
            await sessions.redeem(link)
    own = await sessions.redeem(await sessions.make_link(admin))
    assert (await sessions.find(own)) is not None


async def test_who_becomes_an_owner_signs_in_anew(people: Accounts, sessions: Sessions, home: Home):
    admin = await _add(people, home, "admin")
    member = await _add(people, home, email="eve@example.org")
    theirs = await sessions.redeem(await people.invite(admin, member.account_id))
    await people.change(home.owner, member.account_id, AccountChange(role="admin"))
    assert await sessions.find(theirs) is not None
    await people.change(home.owner, member.account_id, AccountChange(role="owner"))
    assert await sessions.find(theirs) is None


# Races, with real parallelism: two processes' worth of databases, on two event loops' threads.


@pytest.fixture
def second_database(database: Database) -> Iterator[Database]:
    other = Database(database.url)
    yield other
    other.close()


async def _all_at_once(*attempts: Awaitable[T]) -> list[T | BaseException]:
    return await asyncio.gather(*attempts, return_exceptions=True)


async def test_two_owners_who_demote_each_other_leave_one(
    database: Database, second_database: Database, home: Home
):
    clock = SystemClock()
    sides: list[Accounts] = []
    for each in (database, second_database):
        ring = KeyRing(each, PEPPER, clock)
        sides.append(Accounts(each, ring, Sessions(each, PEPPER, clock), clock))
    for _ in range(5):
        second = await _add(sides[0], home, "owner")
        results = await _all_at_once(
            sides[0].change(home.owner, second.account_id, AccountChange(role="member")),
            sides[1].change(second, home.owner_id, AccountChange(role="admin")),
        )
        left = await database.read(lambda connection: rows.owners(connection, home.owner))
        assert left == 1, results
        assert sum(result is None for result in results) == 1
        assert all(result is None or isinstance(result, HeadraceError) for result in results)
        owner_stays = await database.read(lambda connection: rows.get(connection, home.owner))
        assert owner_stays is not None
        if owner_stays.role != "owner":
            await sides[0].change(second, home.owner_id, AccountChange(role="owner"))
            await sides[0].change(home.owner, second.account_id, AccountChange(role="member"))


async def test_fifty_uses_of_the_first_link_open_one_session(
    database: Database, second_database: Database, home: Home
):
    clock = SystemClock()
    sides = [Sessions(each, PEPPER, clock) for each in (database, second_database)]
    link = await sides[0].make_link(home.owner)
    results = await _all_at_once(*(sides[n % 2].redeem(link) for n in range(50)))
    opened = [result for result in results if isinstance(result, str)]
    assert len(opened) == 1
    assert all(isinstance(each, str | Unauthenticated) for each in results)


async def test_fifty_people_of_one_address_are_one(
    database: Database, second_database: Database, home: Home
):
    clock = SystemClock()
    sides = [
        Accounts(each, KeyRing(each, PEPPER, clock), Sessions(each, PEPPER, clock), clock)
        for each in (database, second_database)
    ]
    wanted = NewAccount("person", "Ada", email="ada@example.org")
    results = await _all_at_once(*(sides[n % 2].create(home.owner, wanted) for n in range(50)))
    made = [each for each in results if not isinstance(each, BaseException)]
    assert len(made) == 1
    assert all(isinstance(each, Conflict) for each in results if each is not made[0])
    assert new_id(clock) > made[0].id


async def test_other_processes_hear_of_a_closed_account(
    database: Database, sessions: Sessions, home: Home, clock: ManualClock, tmp_path: Path
):
    epochs = [Epoch(tmp_path / "epoch") for _ in range(2)]
    ours, theirs = [KeyRing(database, PEPPER, clock, epoch) for epoch in epochs]
    people = Accounts(database, ours, sessions, clock)
    member = await _add(people, home)
    key = await ours.create(member, "laptop")
    await theirs.refresh()
    theirs.find(key.secret)
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: people.change(home.owner, member.account_id, AccountChange(role="viewer")),
        lambda: people.close(home.owner, member.account_id),
    ]
    for change in changes:
        assert not theirs.stale()
        await change()
        assert theirs.stale()
        if change is changes[0]:
            await theirs.refresh()
            assert theirs.find(key.secret).role == "viewer"
    await theirs.refresh()
    with pytest.raises(Unauthenticated):
        theirs.find(key.secret)
    for epoch in epochs:
        epoch.close()
