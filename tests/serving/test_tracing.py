"""Traces, as a collector receives them over OTLP/HTTP."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pyreqwest.client import ClientBuilder

from headrace.config.routing import LIMITS
from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.messages import Message, Text
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.ledger.journal import Journal
from headrace.ledger.meter import Meter
from headrace.serving import tracing
from headrace.serving.ask import Ask, Asked
from headrace.serving.engines.remote import Remote, RemoteEngine
from headrace.serving.engines.remote_key import Key
from headrace.serving.gateway import Gateway
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.queue import FairQueue
from headrace.serving.router import Breaker, Route, Router, Target
from headrace.serving.tracing import Tracer
from headrace.serving.tracing_otel import OtelTracer
from headrace.store.database import Database
from headrace.up.traces import open_tracer
from support.callers import make_caller
from support.running import clean_environment
from support.serving import Api, scripted, served_api
from support.upstream import Answer, Upstream

CLOCK = SystemClock()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "the words of a person"
BUSY = {
    "match": {"user": "busy"},
    "steps": [{"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 2}}],
}


class Traced(msgspec.Struct):
    """An API whose traces go to a collector; read them when it has stopped."""

    api: Api
    collector: Upstream
    upstream: Upstream

    async def ask(self, model: str, text: str = SECRET, *, stream: bool = False, **headers: str):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
        async with ClientBuilder().build() as client:
            request = client.post(f"{self.api.url}/v1/chat/completions")
            request = request.headers({"authorization": f"Bearer {self.api.key}", **headers})
            reply = await request.body_bytes(msgspec.json.encode(body)).build().send()
            await reply.bytes()
            return reply

    def spans(self) -> list[Span]:
        """All spans that came, the oldest first."""
        return spans_of(self.collector)


def spans_of(collector: Upstream) -> list[Span]:
    assert all(seen.path == "/v1/traces" for seen in collector.seen)
    found = [
        span
        for seen in collector.seen
        for resource in ExportTraceServiceRequest.FromString(seen.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


@pytest.fixture
async def upstreams() -> AsyncGenerator[tuple[Upstream, Upstream]]:
    """A collector, and an upstream that is broken."""
    collector = Upstream(Answer(headers={"content-type": "application/x-protobuf"}))
    upstream = Upstream(Answer((b"{}",), status=500))
    await collector.start()
    await upstream.start()
    yield collector, upstream
    await upstream.stop()
    await collector.stop()


def attributes(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        assert kind is not None
        value = getattr(each.value, kind)
        found[each.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


async def traced(
    upstreams: tuple[Upstream, Upstream], database: Database, folder: Path, *asks: Mapping[str, Any]
) -> Traced:
    collector, upstream = upstreams
    engine = scripted(folder / "script.json", BUSY, model={"id": "parrot"})
    remote = Remote("broken", "openai_chat", upstream.url, Key(None, "broken", set()))
    far = RemoteEngine(remote, "far-1", Model("far", "Far", 1_000), LIMITS, CLOCK)
    endpoint = collector.url.removesuffix("/v1")
    settings = load_settings({"data": folder, "otlp_endpoint": endpoint})
    async with served_api(database, folder, [engine, far], settings) as api:
        made = Traced(api, collector, upstream)
        for ask in asks:
            await made.ask(**ask)
    return made


async def test_a_call_is_a_span_with_figures_below_the_client_s(
    upstreams: tuple[Upstream, Upstream], sqlite_database: Database, tmp_path: Path
):
    asked = {"model": "parrot", "stream": True, "traceparent": TRACEPARENT}
    made = await traced(upstreams, sqlite_database, tmp_path, asked)
    call, attempt = made.spans()
    assert (call.name, call.kind) == ("chat parrot", Span.SPAN_KIND_SERVER)
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    found = attributes(call)
    assert found.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert found.pop("headrace.queue.wait") == 0
    [key] = await made.api.keys.list(made.api.home.owner)
    [receipt] = await made.api.receipts()
    assert receipt.usage is not None
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "headrace",
        "gen_ai.request.model": "parrot",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": receipt.id,
        "gen_ai.response.model": "parrot",
        "gen_ai.response.finish_reasons": ["end"],
        "gen_ai.usage.input_tokens": receipt.usage.input,
        "gen_ai.usage.output_tokens": receipt.usage.output,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "headrace.dialect": "openai_chat",
        "headrace.key.id": key.id,
    }
    assert (attempt.name, attempt.kind) == ("chat parrot", Span.SPAN_KIND_CLIENT)
    assert (attempt.trace_id.hex(), attempt.parent_span_id) == (TRACE, call.span_id)
    assert attributes(attempt)["gen_ai.provider.name"] == "scripted"


async def test_a_failing_upstream_is_seen_and_told_of_the_trace(
    upstreams: tuple[Upstream, Upstream], sqlite_database: Database, tmp_path: Path
):
    asked = {"model": "far", "traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    made = await traced(upstreams, sqlite_database, tmp_path, asked)
    call, attempt = made.spans()
    assert attributes(call)["error.type"] == "engine_failed"
    assert attributes(call)["gen_ai.response.finish_reasons"] == ["failed"]
    assert call.status.code == attempt.status.code == Status.STATUS_CODE_ERROR
    found = attributes(attempt)
    address = made.upstream.url.removeprefix("http://").removesuffix("/v1")
    assert f"{found['server.address']}:{found['server.port']}" == address
    assert found["error.type"] == "engine_failed"
    [seen] = made.upstream.seen
    assert seen.headers["traceparent"] == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert seen.headers["tracestate"] == "vendor=1"


async def test_a_fall_back_is_a_second_span_below_the_call(
    upstreams: tuple[Upstream, Upstream], tmp_path: Path
):
    collector, _ = upstreams
    tracer = OtelTracer(collector.url.removesuffix("/v1"))
    main, spare = (target(tmp_path, name, *turns) for name, turns in (("a", [BUSY]), ("b", [])))
    journal = Journal.open(tmp_path / "journal", "control", CLOCK)
    gateway = Gateway(
        Router([Route(main.engine.model, (main,), (spare,))]),
        Pool((), memory_bytes_max=1, clock=CLOCK),
        meter=Meter(journal),
        metrics=Metrics(),
        clock=CLOCK,
        running_max=1,
        tracer=tracer,
    )
    said = Message("user", (Text("busy"),))
    ask = Ask.of(Asked(Request(model="parrot", messages=(said,))), "anthropic")
    caller = make_caller()
    for each in (main, spare):
        await each.engine.start()
    async with gateway.generate(caller, ask) as generation:
        assert [item async for item in generation.items]
    # Whatever this task does next stands in no trace.
    assert tracing.onward() == {}
    await tracer.close()
    journal.close()
    call, first, second = spans_of(collector)
    assert "error.type" not in attributes(call)
    assert [attributes(span)["headrace.target"] for span in (first, second)] == ["a", "b"]
    assert attributes(first)["error.type"] == "overloaded"
    assert "error.type" not in attributes(second)
    assert first.parent_span_id == second.parent_span_id == call.span_id


def target(folder: Path, name: str, *turns: object) -> Target:
    queue = FairQueue(1, clock=CLOCK, waiting_max=1, waiting_per_key_max=1, wait_s_max=1)
    engine = scripted(folder / f"{name}.json", *turns, model={"id": "parrot"})
    return Target(name, engine, queue, Breaker(CLOCK))


async def test_calls_without_a_trace_begin_one_each(
    upstreams: tuple[Upstream, Upstream], sqlite_database: Database, tmp_path: Path
):
    made = await traced(
        upstreams,
        sqlite_database,
        tmp_path,
        {"model": "parrot"},
        {"model": "parrot", "text": "busy"},
    )
    calls = [span for span in made.spans() if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.parent_span_id for span in calls] == [b"", b""]
    assert calls[0].trace_id != calls[1].trace_id
    assert attributes(calls[1])["error.type"] == "overloaded"


async def test_spans_hold_no_content_and_no_secrets(
    upstreams: tuple[Upstream, Upstream], sqlite_database: Database, tmp_path: Path
):
    made = await traced(upstreams, sqlite_database, tmp_path, {"model": "parrot"})
    sent = b"".join(seen.body for seen in made.collector.seen)
    assert made.spans()
    assert SECRET.rpartition(" ")[2].encode() not in sent
    assert made.api.key.encode() not in sent


async def test_without_a_collector_the_client_s_trace_still_goes_on_upstream(
    upstreams: tuple[Upstream, Upstream], sqlite_database: Database, tmp_path: Path
):
    _, upstream = upstreams
    remote = Remote("broken", "openai_chat", upstream.url, Key(None, "broken", set()))
    far = RemoteEngine(remote, "far-1", Model("far", "Far", 1_000), LIMITS, CLOCK)
    async with served_api(sqlite_database, tmp_path, [far]) as api:
        made = Traced(api, upstream, upstream)
        await made.ask("far", traceparent=TRACEPARENT)
        await made.ask("far")
    assert [seen.headers.get("traceparent") for seen in upstream.seen] == [TRACEPARENT, None]


async def test_a_trace_that_is_none_is_not_taken_for_one():
    tracing.accept({"traceparent": f"{TRACEPARENT}\r\nx: y"})
    assert tracing.onward() == {}
    tracing.accept({"traceparent": TRACEPARENT, "tracestate": "caf\xe9"})
    assert tracing.onward() == {"traceparent": TRACEPARENT}


async def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path):
    settings = load_settings({"data": tmp_path, "otlp_endpoint": "http://127.0.0.1:9"})
    tracer = open_tracer(settings)
    trace = tracer.begin("chat", call_id="1", model="m", dialect="anthropic", key_id="k")
    del trace
    await tracer.close()


def test_nobody_asks_for_traces_so_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert type(open_tracer(load_settings({"data": tmp_path}))) is Tracer


@pytest.mark.parametrize("by", ["HEADRACE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_wanted_but_not_installed_says_what_to_install(tmp_path: Path, by: str):
    without = "import sys; sys.modules['opentelemetry'] = None\n"
    run = "sys.argv = ['headrace', 'up', '--yes', '--no-browser']\n"
    run += "from headrace.__main__ import main\nsys.exit(main())"
    (tmp_path / "home").mkdir()
    script = tmp_path / "script.json"
    script.write_text('{"model": {"id": "parrot"}}')
    done = subprocess.run(
        [sys.executable, "-c", without + run],
        env=clean_environment(tmp_path / "home")
        | {by: "http://127.0.0.1:9", "HEADRACE_DATA": str(tmp_path / "data")}
        | {"HEADRACE_MODEL": f"scripted:{script}", "HEADRACE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'headrace[scale]'" in done.stderr
