import json
from collections.abc import Generator
from pathlib import Path

import pytest

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.code.self_test import measure
from headrace.core.clock import SystemClock
from headrace.core.models import Model
from support.running import Running, running, write_script

FILE = (
    "LIMIT = {limit}\nRETRIES = 3\n\n\ndef allowed(count):\n    if count > LIMIT:\n"
    "        return False\n    return count >= 0\n\n\ndef tries():\n    return RETRIES + 1\n"
)


def plays(user: str, *steps: object) -> object:
    return {"match": {"user": user}, "steps": steps}


def call(name: str, **arguments: str) -> object:
    return {"tool_call": {"name": name, "arguments": arguments}}


SCRIPT = {
    "model": {"id": "able-7b", "context_tokens": 16_384, "abilities": {"tools": True}},
    "turns": [
        plays("Count from", {"delay_ms": 120}, {"text": "1 2 3 4 5 6 7 8", "token_delay_ms": 15}),
        plays("Write add", {"text": "(a, b):\n    return a + b\n"}),
        plays("Read the file part", call("Read", path="part0.py part1.py part2.py")),
        plays("both at once", call("Read", path="a.py"), call("Read", path="b.py")),
        plays("test of module", call("Bash", command="pytest")),
        plays("LIMIT to 20. Answer", {"text": f"Here:\n```python\n{FILE.format(limit=20)}```"}),
        plays("LIMIT to 20. Use", call("Edit", path="a.py", old_string="10", new_string="20")),
        plays(
            "tries.. return RETRIES alone. Use",
            call("Edit", path="a.py", old_string=" + 1", new_string=""),
        ),
    ],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("house")
    with running(folder / "data", write_script(folder / "script.json", SCRIPT)) as started:
        yield started


async def test_an_able_model_is_measured(house: Running):
    client = Client(Endpoint(base_url=house.url, key=house.key, ours=True))
    told: list[str] = []
    profile = await measure(client, Model("able-7b", "Able", 16_384), SystemClock(), told.append)
    assert profile.context_tokens == 16_384
    assert profile.prefill_tokens_per_s is not None
    assert profile.decode_tokens_per_s is not None
    assert profile.decode_tokens_per_s < 200
    assert (profile.calls, profile.parallel_calls, profile.guided) == ("native", True, False)
    assert (profile.edit_format, profile.small) == ("edit", False)
    assert profile.continues_answers
    assert "whole files right: 1 of 3; edits right: 2 of 3" in told


async def test_a_window_that_nobody_tells_is_looked_for(house: Running):
    client = Client(Endpoint(base_url=house.url, key=house.key, ours=True))
    profile = await measure(client, Model("able-7b", "Able", 0), SystemClock(), lambda _: None)
    # It echoes what it was asked, and so knows the beginning of the longest prompt that is tried.
    assert profile.context_tokens is not None
    assert profile.context_tokens > 20_000


async def test_a_model_that_calls_nothing_gets_text_calls_and_guidance(tmp_path: Path):
    script = {"model": {"id": "mute"}, "turns": [plays(".", {"text": "I cannot."})]}
    (tmp_path / "script.json").write_text(json.dumps(script))
    with running(tmp_path / "data", f"scripted:{tmp_path / 'script.json'}") as house:
        client = Client(Endpoint(base_url=house.url, key=house.key, ours=True))
        profile = await measure(client, Model("mute", "Mute", 8192), SystemClock(), lambda _: None)
    assert (profile.calls, profile.small, profile.guided) == ("text", True, True)
    assert profile.edit_format == "whole"
    assert not profile.continues_answers
