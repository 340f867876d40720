"""`headrace limits` against a Headrace with two workers, which count together."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import InvalidRequest
from headrace.ledger.limit_commands import main
from support.running import Running, clean_environment, running, write_script

_CONFIG = """
workers = 2
[upstreams.far]
dialect = "openai_chat"
url = "http://127.0.0.1:{port}/v1"
[models.far-away]
targets = [{{ upstream = "far", model = "m" }}]
context_tokens = 1000
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """Behind its workers stands an upstream that takes calls and never answers."""
    folder = tmp_path_factory.mktemp("limits")
    config = folder / "headrace.toml"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config.write_text(_CONFIG.format(port=silent.getsockname()[1]))
        script = write_script(folder / "parrot.json", {"model": {"id": "parrot"}})
        with running(folder / "data", script, config=str(config), drain_s="0") as started:
            yield started


def _say(house: Running, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "limits", *words],
        env=clean_environment(house.data.parent / "home") | {"HEADRACE_DATA": str(house.data)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _ask(house: Running, method: str, path: str, body: object = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{house.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {house.run_file.credential}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def _call(house: Running, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return _ask(house, "POST", "/v1/chat/completions", body)[0]


def _hang(house: Running) -> None:
    with suppress(OSError):
        _call(house, "far-away")


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        with suppress(OSError):  # while no worker listens
            if holds():
                return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def _used(house: Running) -> int:
    (limit,) = _ask(house, "GET", "/admin/limits")[1]["limits"]
    return limit["used"]


def test_places_bind_all_processes_and_are_freed_by_a_kill(house: Running):
    organisation = _ask(house, "GET", "/admin/me")[1]["organisation"]["id"]
    assert "no limits" in _say(house, "list")
    made = json.loads(_say(house, "set", "organisation", organisation, "concurrent", "2", "--json"))
    assert (made["kind"], made["period"], made["maximum"], made["used"]) == (
        "concurrent",
        "now",
        2,
        0,
    )
    hanging = [threading.Thread(target=_hang, args=(house,)) for _ in range(2)]
    for thread in hanging:
        thread.start()
    _until(lambda: _used(house) == 2)
    assert {_call(house, model) for model in ("parrot", "far-away") * 2} == {429}
    running_now = _ask(house, "GET", "/admin/traffic")[1]["running"]
    assert {one["model_id"] for one in running_now} <= {"far-away"}
    for pid in house.engine_pids():
        if b"workers.main" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    for thread in hanging:
        thread.join()
    _until(lambda: _used(house) == 0)
    _until(lambda: _call(house, "parrot") == 200)
    assert _say(house, "list").splitlines()[1].split()[-1] == "0"
    assert _say(house, "remove", organisation, "concurrent") == "removed\n"
    assert _ask(house, "GET", "/admin/limits")[1] == {"limits": []}


@pytest.mark.parametrize("what", ["requests", "tokens/minute", "concurrent/day", "requests/now"])
def test_what_is_no_limit_is_told(house: Running, what: str):
    with pytest.raises(InvalidRequest, match="is no limit"):
        main(["set", "key", "x", what, "1", "--data", str(house.data)])
