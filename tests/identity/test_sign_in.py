import asyncio

import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import (
    Conflict,
    InvalidRequest,
    RateLimited,
    Unauthenticated,
)
from headrace.core.scope import Scope
from headrace.identity.accounts import AccountChange, Accounts, NewAccount
from headrace.identity.keys import KeyRing
from headrace.identity.passwords import Passwords
from headrace.identity.sessions import Sessions
from headrace.identity.sign_in import SignIn
from headrace.store.accounts import Home
from headrace.store.database import Database

PEPPER = b"p" * 32
GOOD, OTHER = "seven lamps burn in the harbour", "nine clocks strike in the valley"
_S = 1_000_000_000


@pytest.fixture
def sessions(database: Database, clock: ManualClock) -> Sessions:
    return Sessions(database, PEPPER, clock)


@pytest.fixture
def people(database: Database, ring: KeyRing, sessions: Sessions, clock: ManualClock) -> Accounts:
    return Accounts(database, ring, sessions, clock)


@pytest.fixture
def sign_in(database: Database, sessions: Sessions, clock: ManualClock) -> SignIn:
    return SignIn(database, sessions, Passwords(memory_kib=64, rounds=1), clock)


@pytest.fixture
async def ada(people: Accounts, sign_in: SignIn, home: Home) -> Scope:
    made = await people.create(home.owner, NewAccount("person", "Ada", email="ada@example.org"))
    scope = Scope(home.organisation_id, made.id)
    await sign_in.choose(scope, None, GOOD, session=None, client="10.0.0.1")
    return scope


async def _try(sign_in: SignIn, email: str, client: str, password: str = "wrong") -> type[object]:
    try:
        await sign_in.open(email, password, client, None)
    except (Unauthenticated, RateLimited) as error:
        return type(error)
    return str


async def test_who_guesses_many_people_s_passwords_is_held_up(
    sign_in: SignIn, ada: Scope, clock: ManualClock
):
    del ada
    networks = ("10.0.0.7", "2001:db8:1:2::%x")
    for network in networks:
        tried = [
            await _try(sign_in, f"{n}@{network[:4]}.example", network.replace("%x", f"{n:x}"))
            for n in range(52)
        ]
        assert tried == [Unauthenticated] * 50 + [RateLimited] * 2, network
    # From elsewhere, also from the next network of IPv6, people come in.
    assert await _try(sign_in, "ada@example.org", "10.0.0.8", GOOD) is str
    assert await _try(sign_in, "ada@example.org", "2001:db8:1:3::1", GOOD) is str
    assert await _try(sign_in, "ada@example.org", "10.0.0.7", GOOD) is RateLimited
    clock.move(6 * _S)
    assert await _try(sign_in, "ada@example.org", "10.0.0.7", GOOD) is str


async def test_parallel_guesses_count_one_by_one(sign_in: SignIn, ada: Scope):
    del ada
    tried = await asyncio.gather(
        *(_try(sign_in, "ada@example.org", f"10.0.1.{n}") for n in range(30))
    )
    assert tried.count(Unauthenticated) == 10
    assert tried.count(RateLimited) == 20


async def test_failures_are_logged_without_what_was_typed(
    sign_in: SignIn, ada: Scope, caplog: pytest.LogCaptureFixture
):
    del ada
    for email in ("ada@example.org", "hunter2@example.org"):
        assert await _try(sign_in, email, "10.1.2.3", "correct horse") is Unauthenticated
    assert caplog.text.count("failed, from '10.1.2.3'") == 2
    for word in ("ada", "hunter2", "correct"):
        assert word not in " ".join(caplog.messages)


async def test_right_passwords_do_not_count(sign_in: SignIn, ada: Scope):
    del ada
    for _ in range(15):
        assert await _try(sign_in, "ada@example.org", "10.0.0.1", GOOD) is str


async def test_the_current_password_is_asked_for_and_guessed_ten_times_at_most(
    sign_in: SignIn, ada: Scope
):
    for current in (None, "", "wrong", OTHER):
        with pytest.raises(Unauthenticated, match="current"):
            await sign_in.choose(ada, current, OTHER, session=None, client="c")
    for _ in range(6):
        with pytest.raises(Unauthenticated):
            await sign_in.choose(ada, "wrong", OTHER, session=None, client="c")
    with pytest.raises(RateLimited):
        await sign_in.choose(ada, GOOD, OTHER, session=None, client="c")


async def test_two_changes_of_one_password_at_once_are_one(sign_in: SignIn, ada: Scope):
    results = await asyncio.gather(
        *(sign_in.choose(ada, GOOD, f"{OTHER} {n}", session=None, client="c") for n in range(4)),
        return_exceptions=True,
    )
    assert [each for each in results if each is None] == [None]
    # Whoever comes late finds that the current password is another one by now.
    refused = (Conflict, Unauthenticated)
    assert all(each is None or isinstance(each, refused) for each in results)


async def test_an_address_takes_its_password_along(
    sign_in: SignIn, people: Accounts, ada: Scope, home: Home
):
    await people.change(home.owner, ada.account_id, AccountChange(email="countess@example.org"))
    assert await _try(sign_in, "ada@example.org", "c", GOOD) is Unauthenticated
    assert await _try(sign_in, "countess@example.org", "c", GOOD) is str
    await people.change(home.owner, ada.account_id, AccountChange(email=None))
    assert await _try(sign_in, "countess@example.org", "c", GOOD) is Unauthenticated
    with pytest.raises(InvalidRequest, match="address"):
        await sign_in.choose(ada, None, OTHER, session=None, client="c")


async def test_a_hash_of_other_parameters_is_renewed_on_the_way_in(
    database: Database, sessions: Sessions, sign_in: SignIn, ada: Scope, clock: ManualClock
):
    from headrace.store import credentials  # noqa: PLC0415 - beside its one use

    def kept() -> str | None:
        found = database.read_now(lambda connection: credentials.of_account(connection, ada))
        return None if found is None else found.secret_hash

    before = kept()
    stronger = SignIn(database, sessions, Passwords(memory_kib=128, rounds=1), clock)
    assert await _try(stronger, "ada@example.org", "c", GOOD) is str
    assert kept() != before
    assert await _try(sign_in, "ada@example.org", "c", GOOD) is str


async def test_services_have_no_password(sign_in: SignIn, home: Home):
    with pytest.raises(InvalidRequest, match="people"):
        await sign_in.choose(home.chat, None, GOOD, session=None, client="c")
