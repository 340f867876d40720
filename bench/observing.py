"""What watching costs on the road of a call: CPU µs of the thread, median of rounds.

    python bench/observing.py

Prints a table: a free queue, counting, the line of the log as text and as JSON, a trace switched
off and one that is made and sent nowhere.
"""

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.events import Finished
from headrace.core.models import Usage
from headrace.core.scope import Lineage, Scope
from headrace.identity.keys import Caller
from headrace.serving import access_log, tracing
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.gateway import Call
from headrace.serving.metrics import Metrics
from headrace.serving.queue import FairQueue
from headrace.serving.router import Breaker, Route, Target
from headrace.serving.tracing import Tracer
from headrace.serving.tracing_otel import OtelTracer
from headrace.up import logs

CLOCK = SystemClock()
ROUNDS = 5
CALLS = 4_000
USAGE = Usage(input=1_204, cached=1_180, output=61)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = a_call(folder)
        rows = {
            "a free place in the queue": queueing(),
            "counting": measured(lambda: count(Metrics())),
            "a line of the log, text": measured(lambda: line(folder, call, log_format="text")),
            "a line of the log, JSON": measured(lambda: line(folder, call, log_format="json")),
            "no line of the log": measured(lambda: line(folder, call, access_log="false")),
            "a trace, off": measured(lambda: trace(Tracer(), call)),
            # Nobody listens at port 9: spans are made, queued and thrown away.
            "a trace, on": measured(lambda: trace(OtelTracer("http://127.0.0.1:9"), call)),
        }
    print("| for each call | CPU µs |\n|---|---|")
    for what, cost_us in rows.items():
        print(f"| {what} | {cost_us:.2f} |")


def a_call(folder: Path) -> Call:
    (folder / "script.json").write_text('{"model": {"id": "parrot"}}')
    engine = ScriptedEngine(folder / "script.json", CLOCK)
    target = Target("parrot", engine, a_queue(), Breaker(CLOCK))
    key_id = "019aa0e5-6a0e-7000-8000-000000000000"
    lineage = Lineage("o", None, "a", key_id)
    caller = Caller(key_id, Scope("o", "a"), "api", "person", lineage, "owner")
    call = Call(caller, Route(engine.model, (target,)), "anthropic", CLOCK)
    call.see(Finished("end", USAGE))
    return call


def a_queue() -> FairQueue:
    return FairQueue(64, clock=CLOCK, waiting_max=256, waiting_per_key_max=64, wait_s_max=60)


def queueing() -> float:
    async def enter() -> list[float]:
        queue, found = a_queue(), list[float]()
        for _ in range(ROUNDS):
            began_ns = time.thread_time_ns()
            for _ in range(CALLS):
                async with queue.place("key"):
                    pass
            found.append((time.thread_time_ns() - began_ns) / CALLS / 1_000)
        return found

    return statistics.median(asyncio.run(enter()))


def measured(prepare: Callable[[], Callable[[], None]]) -> float:
    """CPU µs of this thread for one run of what `prepare` returns."""
    run = prepare()
    found: list[float] = []
    for _ in range(ROUNDS):
        began_ns = time.thread_time_ns()
        for _ in range(CALLS):
            run()
        found.append((time.thread_time_ns() - began_ns) / CALLS / 1_000)
    return statistics.median(found)


def count(metrics: Metrics) -> Callable[[], None]:
    return lambda: metrics.record(
        model="parrot",
        key_id="key",
        dialect="anthropic",
        priority="interactive",
        outcome="end",
        usage=USAGE,
        waited_ms=0,
        first_token_ms=95,
        duration_ms=812,
    )


def line(folder: Path, call: Call, **settings: str) -> Callable[[], None]:
    (folder / "logs").mkdir(exist_ok=True)
    logs.start_logging(load_settings({"data": folder, "access_log": "true", **settings}))

    def write() -> None:
        if access_log.wanted():
            access_log.write(
                request_id=call.id,
                key_id=call.key_id,
                dialect=call.dialect,
                status=200,
                duration_ms=812.4,
                call=call,
            )

    return write


def trace(tracer: Tracer, call: Call) -> Callable[[], None]:
    logging.disable(logging.CRITICAL)  # nobody listens, which the exporter tells

    def make() -> None:
        tracing.accept({"content-type": "application/json"})
        made = tracer.begin(
            "chat", call_id=call.id, model="parrot", dialect=call.dialect, key_id=call.key_id
        )
        with made.attempt(call.target):
            tracing.onward()
        made.end(
            answered="parrot",
            usage=USAGE,
            stop="end",
            error_kind=None,
            streamed=True,
            first_token_ms=95,
            waited_ms=0,
        )

    return make


if __name__ == "__main__":
    main()
