"""The admin pages of traffic and of models: calls of all processes, and who answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyreqwest.client import ClientBuilder
from sqlalchemy import Connection
from starlette.types import ASGIApp

from headrace.config.settings import load_settings
from headrace.core.clock import ManualClock, SystemClock
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.edge.routes import create_app
from headrace.serving.admin.models import model_routes
from headrace.serving.admin.traffic import traffic_routes
from headrace.serving.app import not_found
from headrace.serving.metrics import Metrics
from headrace.store import generations, traffic
from headrace.store.database import Database
from headrace.store.generations import Ending, Generation
from headrace.store.sessions import Visitor
from support.asgi import request
from support.people import move_in
from support.serving import Api, scripted, served_api

SLOW = {"match": {"user": "slow"}, "steps": [{"text": "tick " * 500, "token_delay_ms": 20}]}
S = 1_000_000_000


class _Owner:
    """The owner is at the door."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        del credential
        return Visitor(self._scope, "owner")


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncIterator[Api]:
    engine = scripted(tmp_path / "script.json", SLOW, model={"id": "parrot"})
    settings = load_settings({"data": tmp_path})
    async with served_api(sqlite_database, tmp_path, [engine], settings) as made:
        yield made


def app_of(api: Api, pages: list[bytes]) -> ASGIApp:
    async def workers_pages() -> list[bytes]:
        return pages

    clock = SystemClock()
    routes = [
        *traffic_routes(api.database, api.gateway, clock),
        *model_routes(api.gateway, workers_pages),
    ]
    return create_app(
        routes,
        doorman=_Owner(api.home.owner),
        allowed_hosts=frozenset(),
        not_found=not_found(clock),
    )


async def look(api: Api, path: str, pages: list[bytes] | None = None) -> Any:
    await api.projector.catch_up()
    headers = [("authorization", "Bearer x")]
    reply = await request(app_of(api, pages or []), "GET", path, headers=headers)
    assert reply.status == 200, reply.body
    return reply.json()


async def ask(api: Api, text: str) -> None:
    body = {"model": "parrot", "messages": [{"role": "user", "content": text}]}
    async with ClientBuilder().build() as client:
        sent = client.post(f"{api.url}/v1/chat/completions").body_json(body)
        await sent.header("authorization", f"Bearer {api.key}").build().send()


async def begin(api: Api, text: str) -> asyncio.StreamWriter:
    """A call that runs until its connection, which this gives, is let go."""
    address = urlsplit(api.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    body = json.dumps({"model": "parrot", "messages": [{"role": "user", "content": text}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {api.key}"
    writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return writer


async def test_traffic_tells_what_runs_and_what_came(api: Api):
    await ask(api, "hello you")
    connection = await begin(api, "slow")
    while not (found := await look(api, "/admin/traffic"))["running"]:
        await asyncio.sleep(0.01)
    models = (await look(api, "/admin/models"))["models"]
    connection.transport.abort()
    [key] = await api.keys.list(api.home.owner)
    [running] = found["running"]
    begun = (running["account_id"], running["key_id"], running["model_id"], running["purpose"])
    assert begun == (api.home.owner_id, key.id, "parrot", "api")
    assert [one["stop"] for one in found["recent"]] == [None, "end"]
    rates = found["rates"]
    assert rates["calls_per_minute"] == 1
    assert rates["output_tokens_per_s"] == pytest.approx(2 / 60)
    assert (rates["running_here"], rates["waiting_here"], rates["span_s"]) == (1, 0, 60)
    assert [target["running"] for target in models[0]["targets"]] == [1]


async def test_models_tell_who_answers_in_all_processes(api: Api):
    page = Metrics().page() + (
        b'headrace_target_running{target="parrot"} 2.0\n'
        b'headrace_target_waiting{priority="batch",target="parrot"} 3.0\n'
        b'headrace_target_waiting{priority="interactive",target="parrot"} 1.0\n'
        b'headrace_target_circuit_open{target="parrot"} 1.0\n'
    )
    [alone] = (await look(api, "/admin/models"))["models"]
    [model] = (await look(api, "/admin/models", [page]))["models"]
    [target] = alone["targets"]
    assert (alone["id"], alone["context_tokens"] > 0) == ("parrot", True)
    assert target == {
        "id": "parrot",
        "upstream": None,
        "machine": "local",
        "fallback": False,
        "healthy": True,
        "rest_s": 0.0,
        "running": 0,
        "waiting": 0,
        "places": target["places"],
        "loaded": True,
    }
    assert model["targets"] == [target | {"running": 2, "waiting": 4, "healthy": False}]


def _id_of(time_ns: int) -> str:
    """As of that time; asking for a real one would move the time of all ids made later."""
    text = f"{time_ns // 1_000_000:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def call(clock: ManualClock, scope: Scope) -> Generation:
    return Generation(
        id=_id_of(clock.now_ns()),
        organisation_id=scope.organisation_id,
        account_id=scope.account_id,
        worker="api1",
        key_id="key-1",
        purpose="api",
        model_id="parrot",
        release_digest="",
        engine="scripted",
        dialect="openai_chat",
        started_ns=clock.now_ns(),
    )


def ending(one: Generation, duration_ms: int, error_kind: str | None = None) -> Ending:
    return Ending(
        id=one.id,
        stop="failed" if error_kind else "end",
        usage=Usage(input=100, output=10),
        cost_nano=0,
        first_token_ms=1,
        duration_ms=duration_ms,
        error_kind=error_kind,
    )


async def test_rates_count_calls_by_their_end(database: Database, monkeypatch: pytest.MonkeyPatch):
    people = await database.write(move_in)
    clock = ManualClock(2_000_000_000 * S)
    began: list[Generation] = []
    for scope in (people.member, people.member, people.colleague, people.stranger):
        began.append(call(clock, scope))
        clock.move(50 * S)
    # They began 200, 150, 100 and 50 s ago.
    ended = [
        ending(began[0], 180_000),
        ending(began[1], 10_000),
        ending(began[2], 90_000, "engine_failed"),
        ending(began[3], 40_000),
    ]

    def work(connection: Connection) -> None:
        generations.project(connection, began, ended)

    await database.write(work)

    def lately(scope: Scope) -> traffic.Lately:
        now_ns = clock.now_ns()
        return database.read_now(
            lambda connection: traffic.lately(connection, scope, now_ns=now_ns, span_s=60)
        )

    assert lately(people.owner) == traffic.Lately(60, 2, 1, 200, 20)
    assert lately(people.member) == traffic.Lately(60, 1, 0, 100, 10)
    assert lately(people.stranger) == traffic.Lately(60, 1, 0, 100, 10)
    assert await database.read(lambda c: traffic.running(c, people.owner, limit=5)) == ()
    monkeypatch.setattr(traffic, "_LOOKED_AT_MAX", 1)
    assert lately(people.stranger).span_s == 50
