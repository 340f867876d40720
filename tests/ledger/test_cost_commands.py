"""`headrace prices` and `headrace machines` against a Headrace that runs."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support.http import exchange
from support.running import Running, clean_environment, running, write_script

SCRIPT = {
    "model": {"id": "parrot"},
    "token_delay_ms": 1,
    "turns": [{"steps": [{"text": "A headrace brings the water to the mill wheel."}]}],
}
CONFIG = """
[upstreams.openai]
dialect = "openai_chat"
url = "https://api.openai.com/v1"

[upstreams.own]
dialect = "openai_chat"
url = "http://127.0.0.1:9/v1"
machine = "gpu-1"

[models.mini]
targets = [ { upstream = "openai", model = "gpt-4o-mini" } ]
context_tokens = 128_000

[models.mine]
targets = [ { upstream = "own", model = "mine" } ]
context_tokens = 8_192
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("costs")
    (folder / "headrace.toml").write_text(CONFIG)
    script = write_script(folder / "parrot.json", SCRIPT)
    with running(folder / "data", script, config=str(folder / "headrace.toml")) as started:
        yield started


def _say(house: Running, *words: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        env=clean_environment(house.data.parent / "home") | {"HEADRACE_DATA": str(house.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def _json(house: Running, *words: str) -> Any:
    return json.loads(_say(house, *words, "--json"))


def test_prices_are_listed_from_the_first_start_on(house: Running) -> None:
    shown = _say(house, "prices", "list")
    assert "openai/gpt-4o-mini" in shown
    assert "mine is free of charge: nobody has set its price" in shown
    (mini,) = [one for one in _json(house, "prices", "list")["prices"] if one["target"] == "mini"]
    assert (mini["side"], mini["origin"]) == ("price", "list")


async def test_a_price_is_set_and_a_call_is_charged_by_it(house: Running) -> None:
    shown = _say(house, "prices", "set", "parrot", "--input", "2", "--output", "4")
    assert "parrot" in shown
    _say(house, "machines", "set", "local", "--rent-per-hour", "3.6")
    await _call(house)
    receipt = _receipt(house)
    used = receipt["usage"]
    assert receipt["price_nano"] == used["input"] * 2_000 + used["output"] * 4_000
    # A nano-dollar for a microsecond.
    assert receipt["machine_ns"] > 0
    assert receipt["cost_nano"] == round(receipt["machine_ns"] / 1_000)


def test_all_rates_may_be_said_at_once(house: Running) -> None:
    rates = {"input": "1", "output": "2", "above": {"1000": {"input": "3"}}, "batch_percent": 50}
    made = _json(house, "prices", "set", "mine", "--rates", json.dumps(rates))
    assert made["rates"] == {
        "input": "1",
        "output": "2",
        "batch_percent": 50,
        "above": {"1000": {"input": "3", "output": "2", "image": "0", "call": "0"}},
    }
    assert " and more above" in _say(house, "prices", "list")
    said = _say(house, "prices", "set", "mine", "--rates", "{}", "--input", "1", fails=True)
    assert "leave the other ones out" in said
    assert "not JSON" in _say(house, "prices", "set", "mine", "--rates", "{", fails=True)


def test_a_later_price_is_among_all_of_them(house: Running) -> None:
    later = ("--from", "2099-01-01", "--cost", "--input", "1", "--output", "1")
    made = _json(house, "prices", "set", "own/mine", *later)
    assert made["effective_ns"] == 4_070_908_800 * 10**9
    assert "own/mine" not in _say(house, "prices", "list")
    assert "2099-01-01" in _say(house, "prices", "list", "--all")
    said = _say(house, "prices", "set", "mine", "--from", "soon", fails=True)
    assert "'soon' is not a date" in said


def test_machines_and_their_terms(house: Running) -> None:
    shown = _say(
        house, "machines", "set", "gpu-1", "--rent-per-hour", "2.49", "--load-watts", "700"
    )
    assert "$2.49" in shown
    found = {one["name"]: one["terms"] for one in _json(house, "machines", "list")["machines"]}
    assert found["gpu-1"] == {"rent_per_hour": "2.49", "load_watts": "700"}
    assert "known: local, gpu-1" in _say(house, "machines", "set", "moon", fails=True)


def test_training_becomes_an_asset_once(house: Running) -> None:
    digest = "sha256:" + "d" * 64
    asset = ("machines", "asset", digest, "--cost", "12.5", "--tokens", "1000")
    assert "is an asset now" in _say(house, *asset)
    assert "an asset already" in _say(house, *asset, fails=True)
    assert "not an amount" in _say(house, *asset[:4], "much", *asset[5:], fails=True)


def test_commands_need_a_headrace_that_runs(tmp_path: Path) -> None:
    for words in (("prices", "list"), ("machines", "list")):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *words],
            env=clean_environment(tmp_path) | {"HEADRACE_DATA": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "headrace up" in done.stderr


async def _call(house: Running) -> None:
    body = {"model": "parrot", "messages": [{"role": "user", "content": "What is it?"}]}
    headers = {"authorization": f"Bearer {house.key}", "content-type": "application/json"}
    status, _, _ = await exchange(
        house.url, "POST", "/v1/chat/completions", headers, json.dumps(body).encode()
    )
    assert status == 200


def _receipt(house: Running) -> Any:
    """The call's receipt, once it has reached the rows."""
    for _ in range(100):
        found = house.receipts()
        if found and found[0]["stop"] is not None:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("there is no receipt")
