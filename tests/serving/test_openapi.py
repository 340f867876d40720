"""The API's own description: whole, valid, and true to what is served."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from headrace.chat.pages import STATIC
from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.edge.routes import Rule, RuledRoute
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.pool import Place
from headrace.store.database import Database
from headrace.up.house import House, open_house
from headrace.up.models import Served
from headrace.up.openapi import make_document, operations
from headrace.wire import anthropic, openai_batches, openai_chat, openai_embeddings
from headrace.wire import openai_moderations as moderations
from headrace.wire import openai_responses as responses
from support.serving import scripted, served_api

HELLO = [{"role": "user", "content": "Hello there, you"}]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(make_document())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    script = tmp_path / "script.json"
    script.write_text("{}")
    settings, clock = load_settings({"data": tmp_path / "data"}), SystemClock()
    served = Served((Place(ScriptedEngine(script, clock)),), None, (), 0)
    async with open_house(settings, served, clock, "http://127.0.0.1:4747") as opened:
        yield opened


def is_built_file(route: RuledRoute) -> bool:
    return (STATIC / route.path.removeprefix("/")).is_file()


async def test_it_describes_every_route_and_no_other(house: House):
    served = {
        (method, route.path.replace(":path", "")): route.rule
        for route in house.routes
        if not is_built_file(route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(each.method, each.path): each.rule for each in operations()} == served


def test_it_is_valid_openapi(document: dict[str, Any]):
    validate(document)


def test_every_type_in_it_is_used(document: dict[str, Any]):
    text = json.dumps(document)
    assert [
        name
        for name in document["components"]["schemas"]
        if f'"#/components/schemas/{name}"' not in text
    ] == []


def test_every_operation_tells_who_may_call_it_and_what_may_go_wrong(document: dict[str, Any]):
    for each in operations():
        told = document["paths"][each.path][each.method.lower()]
        assert bool(told["security"]) == (each.rule is not Rule.PUBLIC)
        statuses = {int(status) for status in told["responses"]}
        assert {403, 500} < statuses
        if each.rule is not Rule.PUBLIC:
            assert 401 in statuses
        if each.body is not None:
            assert {400, 413} <= statuses


def test_streams_are_described(document: dict[str, Any]):
    streamed = {
        path
        for path, methods in document["paths"].items()
        for told in methods.values()
        for reply in told["responses"].values()
        if "text/event-stream" in reply.get("content", {})
    }
    assert streamed == {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/responses/{response_id}",
        "/v1/messages",
        "/chat/conversations/{conversation}/messages/{message}/stream",
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "stream_options": {"include_usage": True}}),
        ("/v1/responses", {"input": "Hello"}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    ],
)
async def test_streams_are_what_it_says(
    document: dict[str, Any],
    sqlite_database: Database,
    tmp_path: Path,
    path: str,
    body: dict[str, Any],
):
    reply = document["paths"][path]["post"]["responses"]["200"]["content"]
    stream = reply["text/event-stream"]["schema"]["properties"]
    whole = reply["application/json"]["schema"]
    async with served_api(sqlite_database, tmp_path, [scripted(tmp_path / "s.json")]) as api:
        headers = {"authorization": f"Bearer {api.key}"}
        bodies = [
            json.dumps(body | {"model": "scripted", "stream": streamed}).encode()
            for streamed in (True, False)
        ]
        told = [(await post(api.url, path, headers, each)) for each in bodies]
    lines = [line[6:] for line in told[0].splitlines() if line.startswith("data: {")]
    assert len(lines) > 3
    for schema, text in [(stream["data"]["anyOf"][0]["contentSchema"], line) for line in lines] + [
        (whole, told[1])
    ]:
        rooted = schema | {"components": document["components"]}
        validator: Any = Draft202012Validator(rooted)
        validator.validate(json.loads(text))


async def post(url: str, path: str, headers: dict[str, str], body: bytes) -> str:
    def send() -> str:
        request = urllib.request.Request(f"{url}{path}", body, headers, method="POST")
        with urllib.request.urlopen(request) as reply:
            return reply.read().decode()

    return await asyncio.to_thread(send)


def test_its_examples_are_taken_by_the_decoders(document: dict[str, Any]):
    examples = {
        path: msgspec.json.encode(content["example"])
        for path, methods in document["paths"].items()
        for told in methods.values()
        for content in told.get("requestBody", {}).get("content", {}).values()
        if "example" in content
    }
    openai_chat.decode_request(examples.pop("/v1/chat/completions"))
    responses.decode_request(examples.pop("/v1/responses"))
    responses.decode_request(examples.pop("/v1/responses/input_tokens"))
    openai_embeddings.decode_request(examples.pop("/v1/embeddings"))
    moderations.decode_request(examples.pop("/v1/moderations"))
    openai_batches.decode_create(examples.pop("/v1/batches"))
    anthropic.decode_request(examples["/v1/messages"])
    anthropic.decode_count_request(examples.pop("/v1/messages/count_tokens"))
    (line,) = json.loads(examples.pop("/v1/messages/batches"))["requests"]
    assert line["params"] == json.loads(examples.pop("/v1/messages"))
    # The others are read straight into the type that describes them.
    shapes = {each.path: each.body for each in operations() if each.example is not None}
    assert "/admin/keys" in examples
    for path, example in examples.items():
        msgspec.json.decode(example, type=shapes[path])


def test_a_start_does_not_pay_for_it():
    code = "import sys, headrace.up.house; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"headrace.edge.openapi", "headrace.serving.openapi.openai"} & set(loaded)
