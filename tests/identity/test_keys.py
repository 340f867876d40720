import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from headrace.core.clock import ManualClock
from headrace.core.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from headrace.core.scope import Lineage, Scope
from headrace.identity import delegation
from headrace.identity.keys import Caller, KeyRing
from headrace.identity.secrets import digest
from headrace.store import accounts
from headrace.store.accounts import Home
from headrace.store.database import Database
from headrace.store.home import bootstrap
from headrace.store.key import KeyScopes

PEPPER = b"p" * 32
_S = 1_000_000_000


async def test_a_key_opens_and_shows_its_secret_once(ring: KeyRing, home: Home):
    made = await ring.create(home.owner, "laptop")
    assert made.secret.startswith("hr-")
    assert len(made.secret) == 3 + 43
    assert made.secret not in repr(made)
    lineage = Lineage(home.organisation_id, None, home.owner_id, made.id)
    caller = Caller(made.id, home.owner, "api", "person", lineage, "owner")
    assert ring.find(made.secret) == caller
    (shown,) = await ring.list(home.owner)
    assert (shown.id, shown.last4) == (made.id, made.secret[-4:])


async def test_no_secret_is_in_the_database(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
):
    home = await sqlite_database.write(lambda connection: bootstrap(connection, clock))
    ring = KeyRing(sqlite_database, PEPPER, clock)
    made = await ring.create(home.owner, "laptop")
    stored = _content(tmp_path)
    assert made.secret[3:40].encode() not in stored
    assert digest(PEPPER, "key", made.secret).encode() in stored


def _content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("headrace.db*"))


@pytest.mark.parametrize(
    "secret", ["", "hr-", "sk-x", "hr-" + "x" * 43, "hr-" + "x" * 10_000, "hr-\x00", "hr-\udcff"]
)
async def test_unknown_secrets_are_refused(ring: KeyRing, secret: str):
    with pytest.raises(Unauthenticated) as caught:
        ring.find(secret)
    assert len(caught.value.message) < 100


async def test_a_revoked_key_is_refused_at_once_and_for_ever(
    ring: KeyRing, home: Home, database: Database, clock: ManualClock
):
    made = await ring.create(home.owner, "laptop")
    await ring.revoke(home.owner, made.id)
    with pytest.raises(Unauthenticated):
        ring.find(made.secret)
    fresh = KeyRing(database, PEPPER, clock)
    await fresh.reload()
    with pytest.raises(Unauthenticated):
        fresh.find(made.secret)
    await ring.revoke(home.owner, made.id)  # again is no error


async def test_reloads_never_bring_a_revoked_key_back(ring: KeyRing, home: Home):
    made = [await ring.create(home.owner, f"key {number}") for number in range(8)]

    async def revoke(identifier: str, secret: str) -> None:
        await ring.revoke(home.owner, identifier)
        with pytest.raises(Unauthenticated):
            ring.find(secret)

    async with asyncio.TaskGroup() as tasks:
        for key in made:
            tasks.create_task(ring.reload())
            tasks.create_task(revoke(key.id, key.secret))
            tasks.create_task(ring.reload())
    for key in made:
        with pytest.raises(Unauthenticated):
            ring.find(key.secret)


async def test_a_caller_who_hangs_up_does_not_stop_a_revocation(ring: KeyRing, home: Home):
    made = await ring.create(home.owner, "laptop")
    task = asyncio.create_task(ring.revoke(home.owner, made.id))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while True:
            try:
                ring.find(made.secret)
            except Unauthenticated:
                break
            await asyncio.sleep(0.01)


async def test_keys_made_at_once_all_work(ring: KeyRing, home: Home):
    made = await asyncio.gather(*(ring.create(home.owner, f"key {n}") for n in range(10)))
    assert {ring.find(key.secret).key_id for key in made} == {key.id for key in made}


async def test_a_key_expires(ring: KeyRing, home: Home, clock: ManualClock):
    made = await ring.create(home.owner, "brief", expires_ns=clock.now_ns() + _S)
    ring.find(made.secret)
    clock.move(_S)
    with pytest.raises(Unauthenticated, match="expired"):
        ring.find(made.secret)


async def test_nobody_revokes_what_he_may_not_see(ring: KeyRing, home: Home):
    made = await ring.create(home.owner, "laptop")
    with pytest.raises(NotFound):
        await ring.revoke(home.chat, made.id)
    with pytest.raises(NotFound):
        await ring.revoke(Scope("elsewhere", home.owner_id), made.id)
    for odd in ("", "nobody", "\x00", "\udcff", made.id + "\n"):
        with pytest.raises(NotFound):
            await ring.revoke(home.owner, odd)
    ring.find(made.secret)
    assert await ring.list(home.chat) == ()


async def test_rotating_keeps_the_id_and_kills_the_old_secret(
    ring: KeyRing, home: Home, clock: ManualClock
):
    first = await ring.rotate(home.chat, "the chat", "chat")
    clock.move(_S)
    second = await ring.rotate(home.chat, "the chat", "chat")
    assert first.id == second.id
    lineage = Lineage(home.organisation_id, None, home.chat_account_id, first.id)
    expected = Caller(first.id, home.chat, "chat", "service", lineage, "member")
    assert ring.find(second.secret) == expected
    with pytest.raises(Unauthenticated):
        ring.find(first.secret)
    assert len(await ring.list(home.chat)) == 1


async def test_last_use_is_written_lazily(ring: KeyRing, home: Home, clock: ManualClock):
    made = await ring.create(home.owner, "laptop")
    clock.move(5 * _S)
    ring.find(made.secret)
    used_ns = clock.now_ns()
    (shown,) = await ring.list(home.owner)
    assert shown.last_used_ns == used_ns


@pytest.mark.parametrize(
    ("name", "purpose", "expires_ns"),
    [
        ("", "api", None),
        ("  ", "api", None),
        ("x" * 101, "api", None),
        ("a\nb", "api", None),
        ("a\x1b[31m", "api", None),
        ("ok", "Not a word", None),
        ("ok", "", None),
        ("ok", "api", 1),
        ("ok", "api", 2**63),
    ],
)
async def test_unfit_keys_are_refused(
    ring: KeyRing, home: Home, name: str, purpose: str, expires_ns: int | None
):
    with pytest.raises(InvalidRequest):
        await ring.create(home.owner, name, purpose, expires_ns)


async def test_a_service_acts_for_a_person(ring: KeyRing, home: Home, clock: ManualClock):
    key = await ring.rotate(home.chat, "the chat", "chat")
    until_s = clock.now_ns() // _S + 60
    header = delegation.sign(PEPPER, key.id, home.owner_id, until_s)
    caller = ring.authenticate(key.secret, header)
    lineage = Lineage(home.organisation_id, None, home.owner_id, key.id)
    expected = Caller(key.id, home.owner, "chat", "service", lineage, "owner", None, home.owner_id)
    assert caller == expected
    assert ring.authenticate(key.secret).scope == home.chat
    clock.move(60 * _S)
    with pytest.raises(Forbidden, match="expired"):
        ring.authenticate(key.secret, header)


async def test_a_person_acts_for_nobody(ring: KeyRing, home: Home, clock: ManualClock):
    key = await ring.create(home.owner, "laptop")
    header = delegation.sign(PEPPER, key.id, home.chat_account_id, clock.now_ns() // _S + 60)
    with pytest.raises(Forbidden, match="service"):
        ring.authenticate(key.secret, header)


async def test_a_service_acts_for_open_accounts_of_its_organisation_only(
    ring: KeyRing, home: Home, database: Database, clock: ManualClock
):
    def neighbours(connection: Connection) -> None:
        accounts.add_organisation(connection, "other", name="Other", created_ns=2**62)
        scope = Scope("other", "stranger")
        accounts.add_person(connection, scope, role="owner", name="S", created_ns=2)
        closed = Scope(home.organisation_id, "closed")
        accounts.add_person(connection, closed, role="member", name="C", created_ns=2)
        connection.execute(text("UPDATE account SET closed_ns = 3 WHERE id = 'closed'"))

    await database.write(neighbours)
    key = await ring.rotate(home.chat, "the chat", "chat")
    for account_id in ("stranger", "closed", "nobody"):
        header = delegation.sign(PEPPER, key.id, account_id, clock.now_ns() // _S + 60)
        with pytest.raises(Forbidden):
            ring.authenticate(key.secret, header)


@given(st.text(), st.text())
def test_forged_statements_are_refused(value: str, tail: str):
    good = delegation.sign(PEPPER, "key", "ada", 2_000)
    for forged in (value, good + tail if tail else value, value + good if value else tail):
        with pytest.raises(Forbidden):
            delegation.verify(PEPPER, forged, key_id="key", now_s=1_000)


def test_a_statement_holds_for_its_key_account_time_and_pepper_only():
    good = delegation.sign(PEPPER, "key", "ada", 2_000)
    assert delegation.verify(PEPPER, good, key_id="key", now_s=1_000) == "ada"
    with pytest.raises(Forbidden):
        delegation.verify(PEPPER, good, key_id="other", now_s=1_000)
    with pytest.raises(Forbidden):
        delegation.verify(b"q" * 32, good, key_id="key", now_s=1_000)
    for before, after in (("ada", "eve"), ("2000", "9000"), ("v1", "v2")):
        with pytest.raises(Forbidden):
            delegation.verify(PEPPER, good.replace(before, after), key_id="key", now_s=1_000)


@pytest.mark.parametrize("purpose", ["terminal", "chat"])
async def test_the_houses_own_purposes_are_nobody_elses(ring: KeyRing, home: Home, purpose: str):
    with pytest.raises(InvalidRequest, match="Headrace makes for itself"):
        await ring.create(home.owner, "mine", purpose)
    made = await ring.rotate(home.owner, "the house's", purpose)
    again = await ring.rotate(home.owner, "the house's", purpose)
    assert again.id == made.id
    assert ring.find(again.secret).purpose == purpose


async def test_the_house_keeps_its_own_keys(ring: KeyRing, home: Home):
    own = await ring.rotate(home.owner, "commands", "terminal")
    with pytest.raises(InvalidRequest, match="itself needs"):
        await ring.revoke(home.owner, own.id)
    assert ring.find(own.secret).key_id == own.id


async def test_after_a_rotation_both_secrets_open_for_a_while(
    ring: KeyRing, home: Home, clock: ManualClock, database: Database
):
    made = await ring.create(home.owner, "laptop")
    renewed = await ring.renew(home.owner, made.id, grace_s=60)
    assert (renewed.id, renewed.name) == (made.id, "laptop")
    fresh = KeyRing(database, PEPPER, clock)
    await fresh.reload()
    for each in (ring, fresh):
        assert each.find(made.secret) == each.find(renewed.secret)
    clock.move(60 * _S)
    for each in (ring, fresh):
        each.find(renewed.secret)
        with pytest.raises(Unauthenticated, match="expired"):
            each.find(made.secret)
    (shown,) = await ring.list(home.owner)
    assert shown.last4 == renewed.secret[-4:]


async def test_only_the_last_secret_has_a_grace(ring: KeyRing, home: Home):
    first = await ring.create(home.owner, "laptop")
    second = await ring.renew(home.owner, first.id, grace_s=60)
    third = await ring.renew(home.owner, first.id, grace_s=60)
    ring.find(third.secret)
    ring.find(second.secret)
    with pytest.raises(Unauthenticated):
        ring.find(first.secret)
    await ring.revoke(home.owner, first.id)
    for each in (second, third):
        with pytest.raises(Unauthenticated):
            ring.find(each.secret)


async def test_a_grace_does_not_outlive_the_key(ring: KeyRing, home: Home, clock: ManualClock):
    made = await ring.create(home.owner, "brief", expires_ns=clock.now_ns() + _S)
    renewed = await ring.renew(home.owner, made.id, grace_s=60)
    clock.move(_S)
    for each in (made, renewed):
        with pytest.raises(Unauthenticated):
            ring.find(each.secret)
    with pytest.raises(NotFound):
        await ring.renew(home.owner, made.id, grace_s=60)


async def test_without_grace_the_former_secret_ends_at_once(ring: KeyRing, home: Home):
    made = await ring.create(home.owner, "laptop")
    await ring.renew(home.owner, made.id, grace_s=0)
    with pytest.raises(Unauthenticated):
        ring.find(made.secret)


async def test_what_may_not_be_rotated(ring: KeyRing, home: Home):
    made = await ring.create(home.owner, "laptop")
    house = await ring.rotate(home.chat, "the chat", "chat")
    for odd in (-1, 30 * 86_400 + 1, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest):
            await ring.renew(home.owner, made.id, grace_s=odd)
    with pytest.raises(InvalidRequest, match="each start"):
        await ring.renew(home.owner, house.id, grace_s=0)
    await ring.revoke(home.owner, made.id)
    for scope, identifier in ((home.owner, made.id), (home.chat, made.id), (home.owner, "\x00")):
        with pytest.raises(NotFound):
            await ring.renew(scope, identifier, grace_s=0)


async def test_scopes_are_kept_with_the_key(ring: KeyRing, home: Home):
    scopes = KeyScopes(models=("qwen*",), routes=("chat",), purposes=("ci",))
    made = await ring.create(home.owner, "runner", "ci", scopes=scopes)
    assert ring.find(made.secret).scopes == scopes
    renewed = await ring.renew(home.owner, made.id, grace_s=0)
    assert ring.find(renewed.secret).scopes == scopes
    assert (await ring.list(home.owner))[0].scopes == scopes
    with pytest.raises(InvalidRequest, match="must be among"):
        await ring.create(home.owner, "runner", "api", scopes=scopes)
