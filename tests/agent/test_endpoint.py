"""Endpoints of three dialects, whole, cut off and talking nonsense."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.agent.client import Client
from headrace.agent.endpoint import Dialect, Endpoint
from headrace.core.errors import InvalidRequest
from headrace.core.events import Event, Failed, Finished, Started, fold
from headrace.core.messages import Text, ToolCall, user
from headrace.core.requests import Request, Tool
from headrace.store.database import Database
from support.coding import Bench
from support.serving import Api, scripted, served_api

DIALECTS: tuple[Dialect, ...] = ("anthropic", "openai_chat", "openai_responses")
LOOK = Tool("look", {"type": "object", "properties": {"at": {"type": "string"}}})


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Api]:
    engine = scripted(
        tmp_path / "script.json",
        {
            "match": {"user": "call"},
            "steps": [
                {"text": "Let me see. "},
                {"tool_call": {"name": "look", "arguments": {"at": "it"}}},
            ],
        },
        {"match": {"user": "cut"}, "steps": [{"text": "Half"}, {"cut": True}]},
        {
            "match": {"user": "busy"},
            "steps": [{"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 7}}],
        },
    )
    async with served_api(sqlite_database, tmp_path, [engine]) as api:
        yield api


async def collect(client: Client, text: str) -> list[Event]:
    request = Request(model="scripted", messages=(user(text),), tools=(LOOK,))
    return [event async for event in client.stream(request)]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_each_dialect_carries_answers_and_failures(api: Api, dialect: Dialect) -> None:
    client = Client(Endpoint(base_url=api.url, key=api.key, dialect=dialect))
    events = await collect(client, "call")
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].stop == "tool_calls"
    text, called = fold(events).parts
    assert isinstance(text, Text)
    assert isinstance(called, ToolCall)
    assert called.name == "look"
    *_, cut = await collect(client, "cut")
    assert isinstance(cut, Failed)
    assert cut.kind == "engine_failed"
    (busy,) = await collect(client, "busy")
    assert busy == Failed("overloaded", "Busy.", 7.0)
    assert [model.id for model in await client.models()] == ["scripted"]


async def test_keys_see_neither_receipts_nor_prices(api: Api) -> None:
    client = Client(Endpoint(base_url=api.url, key=api.key, ours=True))
    assert await client.cost_nano("x") is None
    assert await client.cost_nano(None) is None
    assert await client.rates("scripted") is None


@asynccontextmanager
async def saying(*pieces: bytes) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server that answers each request with these bytes, and hangs up."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heads


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
CHUNK = b'data: {"model":"m","choices":[{"delta":{"content":"Half"}}]}\n\n'


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD,),
        (HEAD, CHUNK),
        (HEAD, b"data: {not json\n\n"),
        (HEAD, b"\x00\xff" * 500),
        (b"nonsense\r\n\r\n",),
        (b"",),
        (WHOLE + b"content-length: 0\r\n\r\n",),
        (WHOLE + b"content-length: %d\r\n\r\n" % len(CHUNK), CHUNK),
    ],
)
async def test_what_is_not_whole_is_no_answer(dialect: Dialect, pieces: tuple[bytes, ...]) -> None:
    async with saying(*pieces) as (url, _):
        *_, last = await collect(Client(Endpoint(base_url=url, dialect=dialect)), "hi")
    assert isinstance(last, Failed)


async def test_keys_and_headers_go_where_each_dialect_wants_them() -> None:
    async with saying(b"HTTP/1.1 429 Slow\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n") as (
        url,
        heads,
    ):
        for dialect in DIALECTS:
            endpoint = Endpoint(
                base_url=f"{url}/v1/", key="sk-secret", dialect=dialect, headers={"X-Team": "a"}
            )
            assert "sk-secret" not in repr(endpoint)
            (failed,) = await collect(Client(endpoint), "hi")
            assert isinstance(failed, Failed)
            assert (failed.kind, failed.retry_after_s) == ("rate_limited", 9.0)
    texts = [head.decode() for head in heads]
    assert [text.split()[1] for text in texts] == [
        "/v1/messages", "/v1/chat/completions", "/v1/responses",
    ]  # fmt: skip
    assert "x-api-key: sk-secret" in texts[0]
    assert "authorization" not in texts[0]
    assert "anthropic-version" in texts[0]
    assert all("authorization: Bearer sk-secret" in text for text in texts[1:])
    assert all("x-team: a" in text for text in texts)


@pytest.mark.parametrize(
    ("dialect", "base", "url"),
    [
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "http://h/x/v1", "http://h/x/v1/messages"),
        ("openai_chat", "http://h:1", "http://h:1/v1/chat/completions"),
        ("openai_chat", "http://h/v1beta/openai/", "http://h/v1beta/openai/chat/completions"),
        ("openai_responses", "http://h/v1", "http://h/v1/responses"),
    ],
)
def test_addresses(dialect: Dialect, base: str, url: str) -> None:
    assert Endpoint(base_url=base, dialect=dialect).url() == url


async def test_windows_that_servers_tell_are_read() -> None:
    body = b'{"data":[{"id":"a","max_model_len":4096},{"id":"b","meta":{"n_ctx":512}},{"id":"c"}]}'
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with saying(reply + body) as (url, _):
        models = await Client(Endpoint(base_url=url, dialect="openai_chat")).models()
    assert [(one.id, one.context_tokens) for one in models] == [("a", 4096), ("b", 512), ("c", 0)]
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]") as (url, _):
        with pytest.raises(InvalidRequest):
            await Client(Endpoint(base_url=url, dialect="openai_chat")).models()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_session_works_through_each_dialect(
    sqlite_database: Database, tmp_path: Path, dialect: Dialect
) -> None:
    engine = scripted(
        tmp_path / "script.json",
        {"steps": [{"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 0}}]},
        {"steps": [{"tool_call": {"name": "Read", "arguments": {"path": "a"}}}]},
        {"steps": [{"text": "Half"}, {"cut": True}]},
        {"steps": [{"text": 'One more:\n{"name": "Edit", "arguments": {"path": "a"}}'}]},
        {"steps": [{"text": "Fixed."}]},
    )
    async with served_api(sqlite_database, tmp_path, [engine]) as api:
        bench = Bench(tmp_path)
        endpoint = Endpoint(
            base_url=api.url, key=api.key, dialect=dialect, ours=dialect == "anthropic"
        )
        bench.session.begin(bench.session.begun, client=Client(endpoint))
        assert await bench.session.turn("Fix it.") == "done"
        assert bench.read.used == bench.edit.used == [{"path": "a"}]
        assert bench.kinds()[2:] == [
            "said", "broke", "answered", "used", "broke", "answered", "used", "answered", "turned",
        ]  # fmt: skip
