"""List prices: against the real data of the package, and when they change, and offline."""

import asyncio
import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import genai_prices
import msgspec
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo

from headrace.core.clock import ManualClock
from headrace.core.errors import EngineUnavailable
from headrace.core.models import Usage
from headrace.ledger.list_prices import FILE, Known, ListPrices
from headrace.ledger.list_prices_child import Question, Wanted, answer, converted
from headrace.ledger.price_book import PriceBook
from headrace.ledger.prices import PER_MILLION, Rates, amount
from headrace.store.database import Database
from support.people import People, move_in

OPENAI = Wanted("https://api.openai.com/v1", "gpt-4o-mini")
TARGETS = {
    "openai/gpt-4o-mini": OPENAI,
    "claude/sonnet": Wanted("https://api.anthropic.com/v1", "claude-sonnet-4-5"),
    "own/mine": Wanted("http://10.0.0.1:8000/v1", "mine"),
}
NOW_NS = 1_795_000_000_000_000_000


def _every_model() -> list[tuple[str, ModelInfo]]:
    return [(one.id, model) for one in get_snapshot().providers for model in one.models]


def test_every_price_of_the_package_becomes_whole_nano_dollars() -> None:
    now = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
    found = [converted(model.get_prices(now)) for _, model in _every_model()]
    assert len(found) > 1_000
    assert sum(rates is not None for rates in found) > len(found) * 0.9
    assert any(rates is not None and rates.above for rates in found)


def test_calls_come_to_what_the_package_says() -> None:
    now = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
    compared = 0
    for _, model in _every_model():
        price = model.get_prices(now)
        rates = converted(price)
        known = {key for key, value in vars(price).items() if value is not None}
        if rates is None or not known <= {"input_mtok", "output_mtok", "cache_read_mtok"}:
            continue
        for tokens in (1_000, 50_000, 300_000, 1_500_000):
            usage = Usage(input=tokens, cached=tokens // 4, output=tokens // 10)
            said = price.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input,
                    cache_read_tokens=usage.cached,
                    output_tokens=usage.output,
                )
            )["total_price"]
            exact = said * 10**9
            # Resellers' prices of more than nine digits lose what is beyond them.
            beyond = Decimal(tokens * 3) / PER_MILLION
            assert abs(amount(rates, usage) - exact) <= Decimal("0.5") + beyond
            compared += 1
    assert compared > 1_000


def test_a_model_is_found_by_its_upstreams_address() -> None:
    wanted = [*TARGETS.values(), Wanted("https://api.openai.com/v1", "no-such-model")]
    found = answer(Question(wanted, NOW_NS))
    assert found.version == genai_prices.__version__
    mini, sonnet, own, unknown = found.rates
    assert mini is not None
    assert (mini.input, mini.cached, mini.output) == (150_000_000, 75_000_000, 600_000_000)
    assert mini.batch is not None
    assert (mini.batch.input, mini.batch.output) == (75_000_000, 300_000_000)
    assert sonnet is not None
    assert sonnet.cache_written is not None
    assert sonnet.cache_written > sonnet.input
    assert (own, unknown) == (None, None)


def test_where_prices_change_with_the_hour_the_highest_counts() -> None:
    wanted = Wanted("https://api.deepseek.com/v1", "deepseek-chat")
    day = answer(Question([wanted], NOW_NS)).rates[0]
    assert day is not None
    _, model = get_snapshot().find_provider_model(wanted.model, None, None, wanted.url)
    today = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
    for hour in range(24):
        then = converted(model.get_prices(today.replace(hour=hour)))
        assert then is not None
        assert then.input <= day.input


@pytest.fixture
async def people(database: Database) -> People:
    return await database.write(move_in)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_NS)


async def test_versions_are_stored_once_and_named_by_what_they_say(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    listed = ListPrices(database, clock, people.owner, tmp_path, TARGETS)
    first = await listed.refresh()
    assert (first.targets, first.listed, first.changed) == (3, 2, 2)
    assert first.fetched_ns is None
    again = await listed.refresh()
    assert again.changed == 0
    book = PriceBook(database, clock, people.owner, {"mini": "openai/gpt-4o-mini"})
    await book.reload()
    price = book.price("mini", clock.now_ns())
    assert price is not None
    assert (price.origin, price.rates.input) == ("list", 150_000_000)
    assert price.id.startswith("list-")


async def test_on_another_day_a_start_looks_up_only_what_is_new(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    mini = {"openai/mini": OPENAI}
    await ListPrices(database, clock, people.owner, tmp_path, mini).refresh()
    before = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Known)
    clock.move(2 * 86_400 * 10**9)
    await ListPrices(database, clock, people.owner, tmp_path, mini).refresh(missing=True)
    assert msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Known) == before
    more = ListPrices(database, clock, people.owner, tmp_path, TARGETS)
    assert (await more.refresh(missing=True)).changed == 2
    partly = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Known)
    assert (partly.day_ns, len(partly.rates)) == (before.day_ns, 3)
    await more.refresh()
    whole = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Known)
    assert whole.day_ns == before.day_ns + 2 * 86_400 * 10**9


async def test_a_changed_price_is_a_new_version_from_now_on(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    targets = {"openai/mini": OPENAI}
    _keep(tmp_path, Rates(input=1))
    await ListPrices(database, clock, people.owner, tmp_path, targets).refresh()
    book = PriceBook(database, clock, people.owner)
    for rate in (2, 1):
        clock.move(10)
        _keep(tmp_path, Rates(input=rate))
        changed = await ListPrices(database, clock, people.owner, tmp_path, targets).refresh()
        assert changed.changed == 1
    await book.reload()
    found = [book.cost("openai/mini", NOW_NS + at) for at in (-1, 0, 10, 20)]
    assert [one and one.rates.input for one in found] == [None, 1, 2, 1]
    assert len({one.id for one in await book.versions()}) == 3


async def test_a_clock_set_back_does_not_hide_a_new_price(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    targets = {"openai/mini": OPENAI}
    _keep(tmp_path, Rates(input=1))
    await ListPrices(database, clock, people.owner, tmp_path, targets).refresh()
    clock.jump(NOW_NS - 3_600 * 10**9)
    _keep(tmp_path, Rates(input=2))
    await ListPrices(database, clock, people.owner, tmp_path, targets).refresh()
    book = PriceBook(database, clock, people.owner)
    await book.reload()
    found = book.cost("openai/mini", NOW_NS + 1)
    assert found is not None
    assert found.rates.input == 2


async def test_two_processes_that_find_the_same_write_one_version(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    _keep(tmp_path, Rates(input=1))
    both = [
        ListPrices(database, clock, people.owner, tmp_path, {"openai/mini": OPENAI})
        for _ in range(2)
    ]
    await asyncio.gather(*(one.refresh() for one in both))
    assert len(await PriceBook(database, clock, people.owner).versions()) == 1


async def test_without_a_network_the_known_prices_hold_and_the_error_says_why(
    database: Database,
    tmp_path: Path,
    people: People,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.closing(await asyncio.start_server(_hang_up, "127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        _keep(tmp_path, Rates(input=1))
        listed = ListPrices(database, clock, people.owner, tmp_path, {"openai/mini": OPENAI})
        await listed.refresh()
        with pytest.raises(EngineUnavailable, match="cannot be fetched") as refused:
            await listed.refresh(newest=True)
    assert refused.value.hint is not None
    book = PriceBook(database, clock, people.owner)
    await book.reload()
    assert book.cost("openai/mini", clock.now_ns()) is not None


async def test_no_upstreams_start_no_child(
    database: Database, tmp_path: Path, people: People, clock: ManualClock
) -> None:
    found = await ListPrices(database, clock, people.owner, tmp_path, {}).refresh()
    assert (found.targets, found.changed) == (0, 0)


def _keep(data: Path, rates: Rates) -> None:
    """What an earlier look at the newest prices found."""
    name = f"{OPENAI.url} {OPENAI.model}"
    known = Known(genai_prices.__version__, 0, NOW_NS, {name: rates})
    (data / FILE).write_bytes(msgspec.json.encode(known))


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
