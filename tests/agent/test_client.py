"""The API client against the real API, and against servers that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.core.errors import EngineUnavailable, Unauthenticated
from headrace.core.events import Delta, Event, Failed, Finished, Started, fold
from headrace.core.messages import Text, Thinking, ToolCall, user
from headrace.core.requests import Request
from headrace.store.database import Database
from support.serving import Api, scripted, served_api

ASK = Request(model="scripted", messages=(user("hi"),))
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def client_of(url: str, key: str, *, read_timeout_s: float = 600) -> Client:
    return Client(Endpoint(base_url=url, key=key, ours=True), read_timeout_s=read_timeout_s)


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Api]:
    engine = scripted(
        tmp_path / "script.json",
        {
            "match": {"user": "call"},
            "steps": [
                {"thinking": "Hm."},
                {"text": "Let me see. "},
                {"tool_call": {"name": "look", "arguments": {"at": "it"}}},
            ],
        },
        {"match": {"user": "cut"}, "steps": [{"text": "Half"}, {"cut": True}]},
        {
            "match": {"user": "busy"},
            "steps": [{"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 7}}],
        },
        {"match": {"user": "silent"}, "steps": [{"delay_ms": 60_000}]},
        {"match": {"user": "endless"}, "steps": [{"text": "la " * 9999, "token_delay_ms": 5}]},
    )
    async with served_api(sqlite_database, tmp_path, [engine]) as api:
        yield api


def asking(text: str) -> Request:
    return Request(model="scripted", messages=(user(text),))


async def collect(client: Client, request: Request) -> list[Event]:
    return [event async for event in client.stream(request)]


async def test_an_answer_arrives_whole(api: Api) -> None:
    events = await collect(client_of(api.url, api.key), asking("call"))
    first, last = events[0], events[-1]
    assert isinstance(first, Started)
    assert isinstance(last, Finished)
    assert last.stop == "tool_calls"
    assert last.usage.output > 3
    thought, text, call = fold(events).parts
    assert (thought, text) == (Thinking("Hm."), Text("Let me see. "))
    assert isinstance(call, ToolCall)
    assert call.name == "look"
    (receipt,) = await api.receipts()
    assert first.generation_id == receipt.id


async def test_failures_arrive_as_the_last_event(api: Api) -> None:
    client = client_of(api.url, api.key)
    *_, failed = await collect(client, asking("cut"))
    assert isinstance(failed, Failed)
    assert failed.kind == "engine_failed"
    (busy,) = await collect(client, asking("busy"))
    assert busy == Failed("overloaded", "Busy.", 7.0)
    (missing,) = await collect(client, Request(model="none", messages=(user("hi"),)))
    assert isinstance(missing, Failed)
    assert missing.kind == "model_not_found"
    (refused,) = await collect(client_of(api.url, "hr-wrong"), ASK)
    assert isinstance(refused, Failed)
    assert refused.kind == "unauthenticated"
    (odd,) = await collect(client_of(api.url, "a\r\nb"), ASK)
    assert isinstance(odd, Failed)
    assert odd.kind == "invalid_request"


async def test_models_and_readiness(api: Api) -> None:
    client = client_of(api.url, api.key)
    (model,) = await client.models()
    assert (model.id, model.context_tokens) == ("scripted", 8192)
    assert model.abilities.tools
    assert await client.ready()
    with pytest.raises(Unauthenticated):
        await client_of(api.url, "hr-wrong").models()
    nowhere = client_of("http://127.0.0.1:9", "x")
    assert not await nowhere.ready()
    with pytest.raises(EngineUnavailable):
        await nowhere.models()


@pytest.mark.parametrize("text", ["silent", "endless"])
async def test_closing_cancels_the_call_at_once(api: Api, text: str) -> None:
    """Also while the model reads the prompt and not one header has come."""
    task = asyncio.create_task(collect(client_of(api.url, api.key), asking(text)))
    await asyncio.sleep(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(1):
        while (await api.receipts())[-1].stop is None:
            await asyncio.sleep(0.01)
    assert (await api.receipts())[-1].stop == "cancelled"


async def test_closing_the_generator_cancels_too(api: Api) -> None:
    stream = client_of(api.url, api.key).stream(asking("endless"))
    async for event in stream:
        if isinstance(event, Delta):
            break
    await stream.aclose()
    async with asyncio.timeout(1):
        while (await api.receipts())[-1].stop is None:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def server(serve: Serve) -> AsyncGenerator[str]:
    """A server that does with each connection what it is told."""

    served = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()
        served.set()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        await served.wait()


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "engine_failed"),
        (b"HTTP/1.1 200 OK\r\n", "engine_failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nevent: ping\n", "engine_failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "engine_failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ndata: {\n\n", "engine_failed"),
        (b"SSH-2.0-OpenSSH_9\r\n", "engine_failed"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "engine_failed"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy", "overloaded"),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "engine_failed"),
    ],
)
async def test_a_broken_server_is_a_failure_in_words(sent: bytes, kind: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with server(serve) as url:
        (failed,) = await collect(client_of(url, "hr-x"), ASK)
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert failed.message


async def test_a_silent_server_times_out() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass

    async with server(serve) as url:
        (failed,) = await collect(client_of(url, "hr-x", read_timeout_s=0.05), ASK)
    assert isinstance(failed, Failed)
    assert failed.kind == "timed_out"
