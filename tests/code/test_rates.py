"""Rates of servers that are not ours: settings, the real list, and nobody."""

from pathlib import Path

import pytest

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.code.connect import Connection
from headrace.code.rates import Priced, find_rates
from headrace.core.clock import ManualClock
from headrace.core.errors import ConfigError
from headrace.core.models import Model
from headrace.ledger.prices import Rates

NOW_NS = 1_795_000_000_000_000_000
STATED = {"mine": Rates(input=5, output=7)}


async def find(
    state: Path, url: str, model: str = "gpt-4o-mini", budget_nano: int | None = None
) -> Priced:
    endpoint = Endpoint(base_url=url)
    connection = Connection(client=Client(endpoint), model=Model(model, model, 0), origin="a test")
    clock = ManualClock(NOW_NS)
    return await find_rates(connection, STATED, budget_nano=budget_nano, state=state, clock=clock)


async def test_settings_come_before_lists(tmp_path: Path):
    found = await find(tmp_path, "https://api.openai.com/v1", "mine")
    assert found == Priced(STATED["mine"], "your settings")


async def test_a_provider_has_its_list_prices_and_is_asked_for_them_once_a_day(tmp_path: Path):
    found = await find(tmp_path, "https://api.openai.com/v1", budget_nano=1)
    assert found.rates is not None
    assert (found.rates.input, found.rates.output) == (150_000_000, 600_000_000)
    assert "genai-prices" in (found.source or "")
    kept = tmp_path / "list_prices.json"
    kept.write_text(kept.read_text().replace("150000000", "151000000"))
    again = await find(tmp_path, "https://api.openai.com/v1")
    assert again.rates is not None
    assert again.rates.input == 151_000_000


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "http://10.1.2.3/v1", "http://[::1]:9", "http://gpu-box:8000"]
)
async def test_a_server_nearby_is_in_no_list(tmp_path: Path, url: str):
    assert await find(tmp_path, url) == Priced()
    assert not (tmp_path / "list_prices.json").exists()


async def test_who_is_in_no_list_has_no_price_and_no_budget(tmp_path: Path):
    assert await find(tmp_path, "https://models.example.com/v1") == Priced()
    with pytest.raises(ConfigError) as raised:
        await find(tmp_path, "https://models.example.com/v1", budget_nano=1)
    assert '{"prices":{"gpt-4o-mini":' in (raised.value.hint or "")
