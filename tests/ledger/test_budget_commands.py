"""`headrace budgets` against a running Headrace, and what callers of its API are told."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest

from headrace.config.secrets import load_or_create
from headrace.core.errors import InvalidRequest
from headrace.ledger.budget_commands import main
from support.running import Running, clean_environment, running, write_script


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("budgets")
    script = write_script(folder / "parrot.json", {"model": {"id": "parrot"}})
    with running(folder / "data", script, budget_wait_s="0.2") as started:
        yield started


def _say(house: Running, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "budgets", *words],
        env=clean_environment(house.data.parent / "home") | {"HEADRACE_DATA": str(house.data)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _ask(
    house: Running, method: str, path: str, body: object = None
) -> tuple[int, Any, dict[str, str]]:
    request = urllib.request.Request(
        f"{house.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {house.run_file.credential}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read()), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


def test_a_budget_is_set_spent_and_ended(house: Running):
    rates = {"input": "10", "output": "10000"}
    price = {"side": "price", "target": "parrot", "rates": rates}
    assert _ask(house, "POST", "/admin/prices", price)[0] == 201
    organisation = _ask(house, "GET", "/admin/me")[1]["organisation"]["id"]
    assert "no budgets" in _say(house, "list")
    made = json.loads(_say(house, "set", "organisation", organisation, "day", "0.6", "--json"))
    assert (made["limit_nano"], made["hard"]) == (600_000_000, True)
    chat = {"model": "parrot", "messages": [{"role": "user", "content": "Hello"}]}
    status, told, _ = _ask(house, "POST", "/v1/chat/completions", chat)
    assert (status, told["usage"]["completion_tokens"] > 0) == (200, True)
    (state,) = json.loads(_say(house, "list", "--json"))["budgets"]
    assert 0 < state["spent_nano"] <= state["limit_nano"]
    assert state["held_nano"] == 0
    dear = chat | {"max_tokens": 100}
    status, told, headers = _ask(house, "POST", "/v1/chat/completions", dear)
    assert (status, told["error"]["code"]) == (429, "insufficient_quota")
    assert headers["x-should-retry"] == "false"
    refused = "of this organisation for this day is not enough for this call"
    assert refused in told["error"]["message"]
    status, told, _ = _ask(house, "POST", "/v1/messages", dear)
    assert (status, told["error"]["type"]) == (402, "billing_error")
    soft = _say(house, "set", "organisation", organisation, "day", "0.1", "--soft", "--warn", "50")
    assert soft.splitlines()[1].split()[-3] == "soft"
    assert _ask(house, "POST", "/v1/chat/completions", dear)[0] == 200
    assert _say(house, "end", made["id"]) == "ended\n"
    assert "no budgets" in _say(house, "list")


def test_the_key_of_webhooks_is_shown(house: Running):
    assert _say(house, "webhook-key").strip() == load_or_create(house.data, "webhook").hex()


@pytest.mark.parametrize("words", [["much"], ["1", "--warn", "half"], ["1e99"]])
def test_what_is_no_budget_is_told(house: Running, words: list[str]):
    with pytest.raises(InvalidRequest):
        main(["set", "key", "x", "day", *words, "--data", str(house.data)])
