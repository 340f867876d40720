"""What operators and hostile clients see."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai import AsyncOpenAI, InternalServerError
from pyreqwest.client import ClientBuilder

from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.events import Counted, Event
from headrace.core.requests import Request
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.store.database import Database
from support.serving import Api, scripted, served_api

SLOW = {"match": {"user": "slow"}, "steps": [{"text": "tick " * 300, "token_delay_ms": 10}]}


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Api]:
    engine = scripted(tmp_path / "script.json", SLOW, model={"id": "parrot"})
    flags = {"data": tmp_path, "running_requests_max": 2, "body_bytes_max": 10_000}
    async with served_api(sqlite_database, tmp_path, [engine], load_settings(flags)) as made:
        yield made


async def send(
    api: Api, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with ClientBuilder().build() as client:
        request = client.request(method, f"{api.url}{path}")
        for name, value in headers.items():
            request = request.header(name.replace("_", "-"), value)
        if body is not None:
            request = request.body_bytes(body)
        reply = await request.build().send()
        found = {name.lower(): reply.get_header(name) or "" for name in reply.headers}
        return reply.status, found, bytes(await reply.bytes())


async def test_health_readiness_and_figures_are_open_on_this_machine(api: Api):
    assert (await send(api, "GET", "/healthz"))[0] == 200
    assert (await send(api, "GET", "/readyz"))[0] == 200
    await ask(api, "hello you")
    page = (await send(api, "GET", "/metrics"))[2].decode()
    [key] = await api.keys.list(api.home.owner)
    counted = (
        f'dialect="openai_chat",key="{key.id}",model="parrot",outcome="end",priority="interactive"'
    )
    assert f"headrace_requests_total{{{counted}}} 1.0" in page
    assert f'headrace_tokens_total{{key="{key.id}",kind="output",model="parrot"}} 2.0' in page
    assert "headrace_time_to_first_token_seconds_bucket" in page
    assert 'headrace_target_waiting{priority="interactive",target="parrot"} 0.0' in page
    assert 'headrace_target_circuit_open{target="parrot"} 0.0' in page
    assert api.key not in page


async def test_behind_a_proxy_figures_are_for_holders_of_a_key(api: Api):
    forwarded = {"x_forwarded_for": "203.0.113.9"}
    assert (await send(api, "GET", "/metrics", None, **forwarded))[0] == 401
    known = {**forwarded, "authorization": f"Bearer {api.key}"}
    assert (await send(api, "GET", "/metrics", None, **known))[0] == 200


async def test_while_it_stops_it_says_so_and_takes_no_more(api: Api):
    await api.gateway.drain(0)
    assert (await send(api, "GET", "/readyz"))[0] == 503
    with pytest.raises(InternalServerError) as refused:
        await ask(api, "hello")
    assert refused.value.status_code == 503
    assert "stopping" in refused.value.message


async def test_more_calls_than_the_limit_are_refused_with_a_time_to_come_back(api: Api):
    running = [asyncio.create_task(ask(api, "slow")) for _ in range(2)]
    while "running 2.0" not in (await send(api, "GET", "/metrics"))[2].decode():
        await asyncio.sleep(0.01)
    with pytest.raises(InternalServerError) as refused:
        await ask(api, "hello")
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_when_the_journal_cannot_be_written_no_call_is_made_and_readiness_tells(api: Api):
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, api.journal._descriptor)  # pyright: ignore[reportPrivateUsage]
    os.close(full)
    for _ in range(3):  # more than may run at once: none of them keeps a place
        with pytest.raises(InternalServerError, match="journal") as failed:
            await ask(api, "hello")
        assert failed.value.status_code == 503
    status, _, shown = await send(api, "GET", "/readyz")
    assert (status, b"journal" in shown) == (503, True)
    async with asyncio.timeout(1):
        await api.gateway.drain(60)


async def test_a_client_that_stops_reading_holds_no_place_for_ever(
    sqlite_database: Database, tmp_path: Path
):
    much = " ".join(["x" * 100_000] * 300)  # more than any buffer on the way takes
    engine = scripted(tmp_path / "script.json", {"steps": [{"text": much}]}, model={"id": "parrot"})
    settings = load_settings({"data": tmp_path, "heartbeat_s": "0.03"})
    async with served_api(sqlite_database, tmp_path, [engine], settings) as api:
        body = b'{"model":"parrot","stream":true,"messages":[{"role":"user","content":"go"}]}'
        with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0)) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {api.key}"
            client.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            async with asyncio.timeout(20):
                while not any(each.stop for each in await api.receipts()):
                    await asyncio.sleep(0.05)
        [receipt] = await api.receipts()
    assert receipt.stop == "cancelled"


class Faulty(ScriptedEngine):
    """An engine with a mistake in it, which shows after the first words or before them."""

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        async for event in super().stream(request):
            if request.messages[-1].text() == "late":
                yield event
            raise ZeroDivisionError


@pytest.mark.parametrize(("when", "status"), [("late", 200), ("early", 500)])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_mistake_in_an_engine_ends_in_an_error_of_the_dialect_and_a_receipt(
    sqlite_database: Database, tmp_path: Path, path: str, when: str, status: int
):
    (tmp_path / "script.json").write_text('{"model": {"id": "parrot"}}')
    engine = Faulty(tmp_path / "script.json", SystemClock())
    question = {
        "model": "parrot",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": when}],
    }
    async with served_api(sqlite_database, tmp_path, [engine]) as api:
        body, secret = json.dumps(question).encode(), f"Bearer {api.key}"
        got, headers, shown = await send(api, "POST", path, body, authorization=secret)
        [receipt] = await api.receipts()
    assert got == status
    assert b"its log says more" in shown
    assert (b"event: error" in shown) == (path == "/v1/messages" and when == "late")
    assert (receipt.stop, receipt.error_kind) == ("failed", "internal")
    assert headers["headrace-generation-id"] == receipt.id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"model": "parrot", "messages": NaN}', 400),
        (b'{"model": "parrot", "messages": "hello"}', 400),
        (b'{"model": "parrot", "messages": []}', 400),
        (b'{"model": "parrot", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"a":' * 2_000, 413),
        (b"x" * 10_001, 413),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_bad_bodies_get_a_clear_error_in_the_dialect(
    api: Api, path: str, body: bytes, status: int
):
    got, headers, shown = await send(api, "POST", path, body, authorization=f"Bearer {api.key}")
    error: Any = json.loads(shown)
    assert got in {status, 400}
    assert error["error"]["message"]
    assert ("type" in error) == (path == "/v1/messages")
    request_id = headers.get("request-id") or headers.get("x-request-id")
    assert request_id is not None
    assert request_id.startswith("req_")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/messages/nothing"])
async def test_unknown_api_paths_answer_in_the_dialect(api: Api, path: str):
    status, _, shown = await send(api, "POST", path, b"{}")
    assert status == 404
    assert ("type" in json.loads(shown)) == (path.startswith("/v1/messages"))


async def test_no_secret_reaches_the_log(api: Api, caplog: pytest.LogCaptureFixture):
    caplog.set_level(0)
    await ask(api, "hello")
    await send(api, "POST", "/v1/messages", b"{", authorization="Bearer hr-canary-canary")
    assert api.key not in caplog.text
    assert "canary" not in caplog.text


async def ask(api: Api, text: str) -> str | None:
    async with AsyncOpenAI(base_url=f"{api.url}/v1", api_key=api.key, max_retries=0) as client:
        reply = await client.chat.completions.create(
            model="parrot", messages=[{"role": "user", "content": text}]
        )
    return reply.choices[0].message.content
