"""A call whose target fails before its first token goes to the next one, and only then."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from headrace.config.routing import LIMITS
from headrace.core.clock import SystemClock
from headrace.core.errors import (
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    Overloaded,
    TimedOut,
)
from headrace.core.events import Delta, Event, Failed, Finished
from headrace.core.messages import Text, user
from headrace.core.models import Abilities, Model, Usage
from headrace.core.requests import Request
from headrace.ledger.journal import Journal
from headrace.ledger.meter import Meter
from headrace.ledger.reader import read
from headrace.ledger.records import GenerationClosed, decode
from headrace.serving.ask import Ask, Asked
from headrace.serving.engine import Passage, Passed
from headrace.serving.engines.remote import Remote, RemoteEngine
from headrace.serving.engines.remote_key import Key
from headrace.serving.gateway import Gateway
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.queue import FairQueue
from headrace.serving.router import Breaker, Route, Router, Target
from support.callers import make_caller
from support.serving import scripted
from support.upstream import Answer, refused, streamed, upstream

CLOCK = SystemClock()
BUSY = {"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 2}}
CALLER = make_caller()


def target(folder: Path, name: str, *steps: object, first_token_s: float | None = None) -> Target:
    queue = FairQueue(4, clock=CLOCK, waiting_max=8, waiting_per_key_max=8, wait_s_max=60)
    turns = [{"match": {"user": ""}, "steps": list(steps)}]
    engine = scripted(folder / f"{name}.json", *turns, model={"id": "model"})
    return Target(name, engine, queue, Breaker(CLOCK), first_token_s=first_token_s)


def remote(folder: Path, name: str, url: str) -> Target:
    model = Model("model", "M", 1000, Abilities(embeddings=True))
    upstream = Remote(name, "openai_chat", url, Key(None, name))
    engine = RemoteEngine(upstream, "theirs", model, LIMITS, CLOCK)
    return msgspec.structs.replace(target(folder, name), engine=engine)


@asynccontextmanager
async def gateway_of(
    folder: Path, main: Target, *fallbacks: Target
) -> AsyncGenerator[tuple[Gateway, Journal]]:
    route = Route(main.engine.model, (main,), fallbacks)
    journal = Journal.open(folder / "journal", "control", CLOCK)
    for each in (main, *fallbacks):
        await each.engine.start()
    try:
        yield (
            Gateway(
                Router([route]),
                Pool((), memory_bytes_max=1, clock=CLOCK),
                meter=Meter(journal),
                metrics=Metrics(),
                clock=CLOCK,
                running_max=8,
            ),
            journal,
        )
    finally:
        journal.close()


async def answer(gateway: Gateway) -> list[Event]:
    ask = Ask.of(Asked(Request(model="model", messages=(user("Hello"),))), "openai_chat")
    async with gateway.generate(CALLER, ask) as generation:
        items = [item async for item in generation.items]
    assert not any(isinstance(item, Passed) for item in items)
    return [item for item in items if not isinstance(item, Passed)]


def said(events: Sequence[Event]) -> str:
    return "".join(
        event.part.text
        for event in events
        if isinstance(event, Delta) and isinstance(event.part, Text)
    )


def closings(journal: Journal) -> list[GenerationClosed]:
    found = [decode(record) for record in read(journal.directory, "control", None)]
    return [each for each in found if isinstance(each, GenerationClosed)]


async def test_a_refusal_goes_to_the_fall_back(tmp_path: Path):
    main, spare = target(tmp_path, "main", BUSY), target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, journal):
        events = await answer(gateway)
        assert said(events) == "Here."
        assert isinstance(events[-1], Finished)
        (closed,) = closings(journal)
        assert closed.stop == "end"
        assert closed.release_digest == spare.engine.info.digest


async def test_a_failure_before_the_first_token_goes_to_the_fall_back(tmp_path: Path):
    main = target(tmp_path, "main", {"cut": True})
    spare = target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, _):
        assert said(await answer(gateway)) == "Here."


async def test_a_failure_after_the_first_token_is_the_end(tmp_path: Path):
    main = target(tmp_path, "main", {"text": "Half "}, {"cut": True})
    spare = target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, journal):
        events = await answer(gateway)
        assert said(events).strip() == "Half"
        assert isinstance(events[-1], Failed)
        (closed,) = closings(journal)
        assert closed.stop == "failed"
        assert closed.release_digest is None


async def test_a_target_that_is_too_slow_is_left_for_the_next(tmp_path: Path):
    main = target(tmp_path, "main", {"delay_ms": 60_000}, {"text": "Late."}, first_token_s=0.05)
    spare = target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, _):
        assert said(await answer(gateway)) == "Here."
        assert main.queue.running == 0


async def test_alone_it_is_told_that_it_was_too_slow(tmp_path: Path):
    main = target(tmp_path, "main", {"delay_ms": 60_000}, {"text": "Late."}, first_token_s=0.05)
    async with gateway_of(tmp_path, main) as (gateway, journal):
        with pytest.raises(TimedOut, match=r"0\.05 s"):
            await answer(gateway)
        (closed,) = closings(journal)
        assert closed.error_kind == "timed_out"


async def test_a_request_that_is_wrong_goes_nowhere_else(tmp_path: Path):
    wrong = {"error": {"kind": "invalid_request", "message": "No."}}
    main, spare = target(tmp_path, "main", wrong), target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, _):
        with pytest.raises(InvalidRequest, match="No"):
            await answer(gateway)
        assert main.breaker.closed()


async def test_a_target_that_is_only_busy_is_asked_again(tmp_path: Path):
    main, spare = target(tmp_path, "main", BUSY), target(tmp_path, "spare", {"text": "Here."})
    async with gateway_of(tmp_path, main, spare) as (gateway, _):
        for _ in range(8):
            assert said(await answer(gateway)) == "Here."
        assert main.breaker.closed()


async def test_a_target_that_keeps_failing_is_not_asked_any_more(tmp_path: Path):
    main, spare = (
        target(tmp_path, "main", {"cut": True}),
        target(tmp_path, "spare", {"text": "Here."}),
    )
    async with gateway_of(tmp_path, main, spare) as (gateway, _):
        for _ in range(5):
            assert said(await answer(gateway)) == "Here."
        assert not main.breaker.closed()
        assert said(await answer(gateway)) == "Here."


async def test_answers_that_break_count_as_failures(tmp_path: Path):
    main = target(tmp_path, "main", {"text": "Half "}, {"cut": True})
    async with gateway_of(tmp_path, main) as (gateway, _):
        for _ in range(5):
            assert isinstance((await answer(gateway))[-1], Failed)
        assert not main.breaker.closed()


async def test_what_the_first_target_could_not_carry_the_second_may(tmp_path: Path):
    said_to_no_avail = Asked(Request(model="model", messages=(user("Hello"),)), ignored=("seed",))
    async with upstream(streamed("openai_chat", "Here.")) as up:
        main, spare = target(tmp_path, "main", BUSY), remote(tmp_path, "spare", up.url)
        body = b'{"model":"model","messages":[],"stream":true}'
        passage = Passage(body, {}, "", stream=True)
        async with gateway_of(tmp_path, main, spare) as (gateway, _):
            ask = Ask("openai_chat", "model", lambda: said_to_no_avail, passage)
            async with gateway.generate(CALLER, ask) as generation:
                items = [item async for item in generation.items]
            assert all(isinstance(item, Passed) for item in items)
            assert generation.call.not_carried == ()


async def test_embeddings_fall_back_too(tmp_path: Path):
    made = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 3}}
    answers = refused(503, {"error": {"message": "Busy."}}), refused(200, made)
    async with upstream(answers[0]) as busy, upstream(answers[1]) as up:
        main, spare = remote(tmp_path, "main", busy.url), remote(tmp_path, "spare", up.url)
        async with gateway_of(tmp_path, main, spare) as (gateway, journal):
            with gateway.admit(CALLER, "model", ability="embeddings", dialect="x") as call:
                assert await gateway.embed(call, ["one"]) == [(1.0,)]
            (closed,) = closings(journal)
            assert (closed.stop, closed.usage) == ("end", Usage(3))
            assert closed.engine == "spare"


async def test_counting_takes_a_place_too(tmp_path: Path):
    request = Request(model="model", messages=(user("Hello"),))
    async with (
        upstream(Answer(end="silent")) as up,
        gateway_of(tmp_path, remote(tmp_path, "main", up.url)) as (gateway, _),
    ):
        counts = [asyncio.create_task(gateway.count_tokens(CALLER, request)) for _ in range(8)]
        await up.asked(8)
        with pytest.raises(Overloaded):
            await gateway.count_tokens(CALLER, request)
        for count in counts:
            count.cancel()
        await asyncio.wait(counts)
        await gateway.drain(1)
        with pytest.raises(EngineUnavailable, match="stopping"):
            await gateway.count_tokens(CALLER, request)


async def test_the_last_refusal_is_the_one_told(tmp_path: Path):
    main, spare = target(tmp_path, "main", BUSY), target(tmp_path, "spare", BUSY)
    async with gateway_of(tmp_path, main, spare) as (gateway, journal):
        with pytest.raises(HeadraceError, match="Busy"):
            await answer(gateway)
        (closed,) = closings(journal)
        assert closed.error_kind == "overloaded"
