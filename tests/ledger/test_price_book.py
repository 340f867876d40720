"""Prices by their time: set ones before list ones, later ones when their time comes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from headrace.core.clock import ManualClock
from headrace.core.errors import InvalidRequest
from headrace.core.scope import Scope
from headrace.ledger.price_book import PriceBook, Timeline
from headrace.ledger.prices import Price, Rates
from headrace.store import prices
from headrace.store.database import Database
from headrace.store.prices import PriceVersion
from support.people import move_in

TARGET = "openai/gpt-mini"


@pytest.fixture
async def owner(database: Database) -> Scope:
    return (await database.write(move_in)).owner


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def _listed(identifier: str, at_ns: int, rate: int) -> PriceVersion:
    return PriceVersion(
        id=identifier,
        side="cost",
        target=TARGET,
        rates=msgspec.json.encode(Rates(input=rate)).decode(),
        origin="list",
        effective_ns=at_ns,
        created_ns=at_ns,
    )


async def _add(database: Database, scope: Scope, *versions: PriceVersion) -> None:
    def work(connection: Connection) -> None:
        prices.add(connection, scope, versions)

    await database.write(work)


def _rate(price: Price | None) -> int | None:
    return None if price is None else price.rates.input


async def test_nothing_is_charged_before_somebody_says_so(
    database: Database, clock: ManualClock, owner: Scope
) -> None:
    book = PriceBook(database, clock, owner, {"mini": TARGET})
    await book.reload()
    assert book.price("mini", clock.now_ns()) is None
    assert book.price("unknown", clock.now_ns()) is None
    assert book.cost(TARGET, clock.now_ns()) is None


async def test_a_model_has_its_first_targets_list_price_until_one_is_set(
    database: Database, clock: ManualClock, owner: Scope
) -> None:
    now_ns = clock.now_ns()
    await _add(database, owner, _listed("a", now_ns, 1), _listed("b", now_ns + 10, 2))
    book = PriceBook(database, clock, owner, {"mini": TARGET})
    await book.set("price", "mini", Rates(input=7), now_ns + 20)
    await _add(database, owner, _listed("c", now_ns + 30, 3))
    await book.reload()
    found = [_rate(book.price("mini", now_ns + at)) for at in (-1, 0, 9, 10, 20, 40)]
    assert found == [None, 1, 1, 2, 7, 7]
    costs = [_rate(book.cost(TARGET, now_ns + at)) for at in (-1, 0, 10, 20, 40)]
    assert costs == [None, 1, 2, 2, 3]
    price = book.price("mini", now_ns)
    assert price is not None
    assert (price.id, price.origin, price.target) == ("a", "list", TARGET)


async def test_a_cost_that_is_set_takes_the_place_of_later_list_prices(
    database: Database, clock: ManualClock, owner: Scope
) -> None:
    now_ns = clock.now_ns()
    await _add(database, owner, _listed("a", now_ns, 1), _listed("b", now_ns + 10, 2))
    book = PriceBook(database, clock, owner, {"mini": TARGET})
    await book.set("cost", TARGET, Rates(input=5), now_ns + 5)
    await book.reload()
    assert [_rate(book.cost(TARGET, now_ns + at)) for at in (0, 5, 10)] == [1, 5, 5]
    # What it is charged at stays the list price: a discount of ours is not a customer's.
    assert [_rate(book.price("mini", now_ns + at)) for at in (0, 5, 10)] == [1, 1, 2]


async def test_of_two_from_one_time_the_later_one_holds(
    database: Database, clock: ManualClock, owner: Scope
) -> None:
    book = PriceBook(database, clock, owner)
    at_ns = clock.now_ns() + 100
    await book.set("price", "tiny", Rates(input=1), at_ns)
    clock.move(1_000_000)
    with pytest.raises(InvalidRequest):
        await book.set("price", "tiny", Rates(input=9), at_ns)
    at_ns = clock.now_ns() + 100
    await book.set("price", "tiny", Rates(input=2), at_ns)
    clock.move(10)
    await book.set("price", "tiny", Rates(input=3), at_ns)
    await book.reload()
    assert _rate(book.price("tiny", at_ns)) == 3


async def test_old_calls_are_never_priced_again(
    database: Database, clock: ManualClock, owner: Scope
) -> None:
    book = PriceBook(database, clock, owner)
    with pytest.raises(InvalidRequest, match="in the past"):
        await book.set("price", "tiny", Rates(input=1), clock.now_ns() - 1)
    with pytest.raises(InvalidRequest, match="in the past"):
        await book.set("cost", TARGET, Rates(input=1), clock.now_ns() - 1)
    assert await book.versions() == ()


async def test_prices_are_of_one_organisation(database: Database, clock: ManualClock) -> None:
    people = await database.write(move_in)
    book = PriceBook(database, clock, people.owner)
    await book.set("price", "tiny", Rates(input=1))
    other = PriceBook(database, clock, people.stranger)
    await other.reload()
    assert other.price("tiny", clock.now_ns()) is None
    assert await other.versions() == ()


@given(
    st.lists(st.integers(0, 50), max_size=8),
    st.lists(st.integers(-1, 60), min_size=1, max_size=30),
)
def test_a_timeline_says_what_a_search_says(starts: list[int], asked: list[int]) -> None:
    versions = [
        Price(str(index), "t", Rates(input=index), start) for index, start in enumerate(starts)
    ]
    timeline = Timeline(versions)
    for at_ns in asked:
        begun = [one for one in versions if one.effective_ns <= at_ns]
        expected = max(begun, key=lambda one: (one.effective_ns, int(one.id)), default=None)
        assert timeline.at(at_ns) is expected
