"""API workers: real processes that answer for upstreams, and pass the rest on."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from headrace.ledger import reader
from headrace.ledger.records import GenerationClosed, decode
from headrace.net import operator
from support.running import Running
from support.upstream import streamed, upstream


@contextmanager
def upstream_in_thread(*texts: str) -> Generator[str]:
    """An upstream of Chat Completions in an event loop of its own; gives its address."""
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    done = asyncio.Event()

    async def serve() -> None:
        async with upstream(*[streamed("openai_chat", *texts)] * 100) as up:
            ready.append(up.url)
            await done.wait()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(loop.run_until_complete, serve())
        try:
            while not ready and not running.done():
                time.sleep(0.01)
            yield ready[0]
        finally:
            loop.call_soon_threadsafe(done.set)
            running.result()
            loop.close()


@pytest.fixture
def two_workers(tmp_path: Path) -> Generator[Running]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"model": {"id": "parrot"}}))
    with ExitStack() as stack:
        url = stack.enter_context(upstream_in_thread("Hello", " there"))
        config = tmp_path / "headrace.toml"
        config.write_text(
            f"""
            workers = 2
            [upstreams.far]
            dialect = "openai_chat"
            url = "{url}"
            read_tool_calls = false
            [models.far-away]
            targets = [{{ upstream = "far", model = "m" }}]
            context_tokens = 1000
            """
        )
        running = Running(tmp_path / "data", f"scripted:{script}", config=str(config))
        stack.callback(running.stop)
        yield running


def say(running: Running, model: str, key: str | None = None) -> str:
    client = OpenAI(base_url=f"{running.url}/v1", api_key=key or running.key, max_retries=0)
    with client:
        chunks = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def get(running: Running, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{running.url}{path}") as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def worker_pids(running: Running) -> list[int]:
    found = [(pid, Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in running.engine_pids()]
    return [pid for pid, command in found if b"headrace.up.workers.main" in command]


def test_workers_answer_for_upstreams_and_pass_the_rest_on(two_workers: Running):
    assert len(worker_pids(two_workers)) == 2
    assert {say(two_workers, "far-away") for _ in range(6)} == {"Hello there"}
    assert {say(two_workers, "parrot") for _ in range(2)} == {"Hello"}
    assert get(two_workers, "/readyz") == (200, '{"status":"ready"}')
    assert "<html" in get(two_workers, "/")[1]
    page = get(two_workers, "/metrics")[1]
    by_model = [line for line in page.splitlines() if line.startswith("headrace_requests_total")]
    assert sorted((line.split('model="')[1].split('"')[0], line[-3:]) for line in by_model) == [
        ("far-away", "6.0"),
        ("parrot", "2.0"),
    ]


def test_every_worker_writes_receipts(two_workers: Running):
    for _ in range(8):
        say(two_workers, "far-away")
    journals = sorted(path.name for path in (two_workers.data / "journal").glob("api*.jsonl"))
    names = {name.partition(".")[0].partition("-")[0] for name in journals}
    assert names == {"api1", "api2"}
    closed = sum(
        path.read_bytes().count(b'"generation.closed"')
        for path in (two_workers.data / "journal").glob("api*.jsonl")
    )
    assert closed == 8


def test_a_revoked_key_opens_nothing_in_any_worker(two_workers: Running):
    def admin(method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            f"{two_workers.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {two_workers.run_file.credential}"},
        )
        with urllib.request.urlopen(request) as reply:
            return reply.read()

    made = json.loads(admin("POST", "/admin/keys", {"name": "short"}))
    assert {say(two_workers, "far-away", key=made["secret"]) for _ in range(4)} == {"Hello there"}
    admin("DELETE", f"/admin/keys/{made['id']}")
    for _ in range(6):
        with pytest.raises(Exception, match="revoked"):
            say(two_workers, "far-away", key=made["secret"])


BUDGET_NANO = 4_000_000


def test_a_hard_budget_holds_across_workers_and_can_be_used(two_workers: Running):
    run = two_workers.run_file
    price = {"side": "price", "target": "far-away", "rates": {"input": "1", "output": "4"}}
    operator.ask(run, "POST", "/admin/prices", price)
    organisation = json.loads(operator.ask(run, "GET", "/admin/me"))["organisation"]["id"]
    budget = {
        "node_kind": "organisation",
        "node_id": organisation,
        "period": "once",
        "limit_nano": BUDGET_NANO,
        "hard": True,
    }
    operator.ask(run, "POST", "/admin/budgets", budget)
    with ThreadPoolExecutor(8) as pool:
        spends = [pool.submit(spend, two_workers) for _ in range(8)]
        assert sum(each.result() for each in spends) > 0
    charged = {"api1": 0, "api2": 0}
    for worker in charged:
        for record in reader.read(two_workers.data / "journal", worker, None):
            said = decode(record)
            if isinstance(said, GenerationClosed):
                charged[worker] += said.price_nano
    assert all(charged.values())
    # What is left is less than one call must be able to come to: 1,000 tokens in and 8 out.
    assert BUDGET_NANO - 1_032_000 <= sum(charged.values()) <= BUDGET_NANO


def spend(running: Running) -> int:
    """Call until the budget is spent; how many calls were answered."""
    answered = 0
    body = {
        "model": "far-away",
        "stream": True,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    headers = {"authorization": f"Bearer {running.key}", "content-type": "application/json"}
    url = f"{running.url}/v1/chat/completions"
    while True:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as reply:
                reply.read()
            answered += 1
        except urllib.error.HTTPError as error:
            told = json.loads(error.read())["error"]
            if told["code"] == "insufficient_quota":
                return answered
            assert told["code"] == "rate_limit_exceeded", told
            time.sleep(0.05)


def test_a_killed_worker_is_started_again_and_its_calls_are_closed(two_workers: Running):
    first, other = worker_pids(two_workers)
    os.kill(first, signal.SIGKILL)
    for _ in range(200):
        pids = worker_pids(two_workers)
        if len(pids) == 2 and first not in pids:
            break
        time.sleep(0.05)
    assert other in worker_pids(two_workers)
    assert len(worker_pids(two_workers)) == 2
    assert {say(two_workers, "far-away") for _ in range(4)} == {"Hello there"}


def test_a_body_that_is_too_large_is_told_in_the_clients_dialect(two_workers: Running):
    request = urllib.request.Request(
        f"{two_workers.url}/v1/messages",
        method="POST",
        data=b" " * (33 << 20),
        headers={"x-api-key": two_workers.key, "anthropic-version": "2023-06-01"},
    )
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request)
    if isinstance(caught.value, urllib.error.HTTPError):
        assert caught.value.code == 413
        assert json.loads(caught.value.read())["type"] == "error"


def test_workers_end_with_the_control_process(two_workers: Running):
    pids = worker_pids(two_workers)
    two_workers.kill()
    for pid in pids:
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{pid}").exists()


def test_a_stop_drains_the_workers(two_workers: Running):
    pids = worker_pids(two_workers)
    assert two_workers.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
