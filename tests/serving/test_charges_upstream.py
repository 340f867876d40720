"""What calls to upstreams are charged and cost, when they tell it and when they are cut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.config.routing import Limits
from headrace.core.clock import SystemClock
from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.ids import new_id
from headrace.core.models import Abilities, Model, Usage
from headrace.core.scope import Scope
from headrace.ledger import reader
from headrace.ledger.journal import Journal
from headrace.ledger.prices import Rates
from headrace.ledger.projection import Projector
from headrace.ledger.records import GenerationClosed, balanced, decode
from headrace.ledger.terms import Process, Terms
from headrace.ledger.verify import verify
from headrace.serving.ask import Ask, peek, size_of
from headrace.serving.dialects import AnthropicMessages, Dialect, OpenAIChat, OpenAIResponses
from headrace.serving.engines.remote import Remote, RemoteEngine
from headrace.serving.engines.remote_key import Key
from headrace.serving.gateway import Gateway
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.queue import FairQueue
from headrace.serving.router import Breaker, Route, Router, Target
from headrace.store import budgets
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.home import bootstrap
from support.callers import make_caller
from support.upstream import USAGE, Answer, Upstream, frames, said, streamed, upstream

CLOCK = SystemClock()
INPUT, OUTPUT = 1_000, 4_000
RATES = Rates(input=INPUT * 1_000_000, output=OUTPUT * 1_000_000)
COST = Rates(input=400_000_000, output=2_000_000_000)
LIMITS = Limits(connect_s=5, first_token_s=5, silence_s=5, timeout_s=5)
DIALECTS: dict[str, Dialect] = {
    "openai_chat": OpenAIChat(),
    "openai_responses": OpenAIResponses(CLOCK),
    "anthropic": AnthropicMessages(),
}


class House(msgspec.Struct):
    """A gateway to upstreams, and its ledger."""

    gateway: Gateway
    terms: Terms
    scope: Scope
    journal: Journal
    database: Database
    relayed: bool = True

    async def budget(self, limit_nano: int) -> None:
        made = Budget(
            id=new_id(CLOCK),
            organisation_id=self.scope.organisation_id,
            node_kind="organisation",
            node_id=self.scope.organisation_id,
            period="once",
            limit_nano=limit_nano,
            hard=True,
            warn_percent=(),
            webhook_url=None,
            created_ns=CLOCK.now_ns(),
        )
        await self.database.write(lambda connection: budgets.add(connection, self.scope, made))
        await self.terms.reload()

    async def call(self, dialect: str, *, leave_after: int | None = None, **fields: Any) -> bytes:
        """Pass a call on; leave after so many pieces."""
        text: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello there"}]}
        if dialect == "openai_responses":
            text = {"input": "Hello there", "store": False}
        body = msgspec.json.encode({"model": "model", "stream": True} | text | fields)
        found = peek(body, {}, "", dialect=dialect, depth_max=64)
        assert found is not None
        passage = found[1] if self.relayed else None
        read = partial(DIALECTS[dialect].decode, body, {}, depth_max=64)
        ask = Ask(dialect, found[0], read, passage, size=size_of(body))
        got = b""
        async with self.gateway.generate(make_caller(scope=self.scope), ask) as generation:
            pieces = 0
            async for item in generation.items:
                got += getattr(item, "data", b"")
                pieces += 1
                if pieces == leave_after:
                    break
        return got

    def ends(self) -> list[GenerationClosed]:
        found = [decode(record) for record in reader.read(self.journal.directory, "control", None)]
        ends = [each for each in found if isinstance(each, GenerationClosed)]
        assert all(balanced(end.entries) for end in ends)
        assert not self.terms.reservations._running  # pyright: ignore[reportPrivateUsage]
        return ends


@asynccontextmanager
async def house(
    database: Database, folder: Path, *upstreams: Upstream, dialect: str = "openai_chat"
) -> AsyncGenerator[House]:
    async with AsyncExitStack() as stack:
        home = await database.write(lambda connection: bootstrap(connection, CLOCK))
        journal = Journal.open(folder / "journal", "control", CLOCK)
        stack.callback(journal.close)
        terms = Terms.of(
            database,
            journal,
            CLOCK,
            scope=home.owner,
            data=folder,
            machines=("local",),
            first_targets={},
            process=Process(),
        )
        await terms.prices.set("price", "model", RATES)
        targets: list[Target] = []
        for number, each in enumerate(upstreams):
            name = f"up{number}"
            await terms.prices.set("cost", f"{name}/theirs", COST)
            engine = RemoteEngine(
                Remote(name, dialect, each.url, Key(None, name)),
                "theirs",
                Model("model", "M", 100_000, Abilities(embeddings=True)),
                LIMITS,
                CLOCK,
            )
            await engine.start()
            stack.push_async_callback(engine.stop)
            queue = FairQueue(4, clock=CLOCK, waiting_max=8, waiting_per_key_max=8, wait_s_max=60)
            target = Target(f"{name}/theirs", engine, queue, Breaker(CLOCK), upstream=name)
            targets.append(target)
        await terms.reload()
        stack.push_async_callback(terms.close)
        gateway = Gateway(
            Router([Route(targets[0].engine.model, (targets[0],), tuple(targets[1:]))]),
            Pool((), memory_bytes_max=1, clock=CLOCK),
            meter=terms.meter(charge_before_last_byte=True),
            metrics=Metrics(),
            clock=CLOCK,
            running_max=8,
        )
        yield House(gateway, terms, home.owner, journal, database)


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_what_an_upstream_tells_is_charged_and_owed(
    sqlite_database: Database, tmp_path: Path, dialect: str
):
    async with (
        upstream(streamed(dialect, "a", "b", "c")) as server,
        house(sqlite_database, tmp_path, server, dialect=dialect) as made,
    ):
        await made.call(dialect, max_tokens=20)
        [end] = made.ends()
    assert end.usage is not None
    assert (end.usage.input, end.usage.output) == (USAGE.input, USAGE.output)
    assert end.price_nano == USAGE.input * INPUT + USAGE.output * OUTPUT
    assert end.cost_nano == USAGE.input * 400 + USAGE.output * 2_000
    assert not end.estimated
    assert {entry.account: entry.amount_nano for entry in end.entries} == {
        f"receivable:{made.scope.account_id}": end.price_nano,
        "revenue:model": -end.price_nano,
        "cogs:model": end.cost_nano,
        "payable:up0": -end.cost_nano,
    }


FIELDS = {"openai_chat": "max_completion_tokens", "openai_responses": "max_output_tokens"}


@pytest.mark.parametrize("dialect", list(FIELDS))
@pytest.mark.parametrize("null", [False, True])
async def test_an_upstream_is_told_how_many_tokens_a_budget_buys(
    sqlite_database: Database, tmp_path: Path, dialect: str, *, null: bool
):
    field = FIELDS[dialect]
    async with (
        upstream(streamed(dialect, "a")) as server,
        house(sqlite_database, tmp_path, server, dialect=dialect) as made,
    ):
        await made.budget(2_000 * INPUT + 100 * OUTPUT)
        await made.call(dialect, **({field: None} if null else {}))
        sent = server.seen[0]
        assert 100 <= sent.json()[field] <= 350
        assert sent.body.count(field.encode()) == 1
        await made.call(dialect, **{field: 7})
        assert server.seen[1].json()[field] == 7
        made.ends()


async def test_only_what_a_budget_buys_limits_an_answer(sqlite_database: Database, tmp_path: Path):
    async with (
        upstream(streamed("openai_chat", "a")) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        await made.budget(2_000 * INPUT + 100 * OUTPUT)
        await made.call("openai_chat", max_tokens=-1, n_predict=-1)
        sent = server.seen[0].json()
        assert 100 <= sent["max_completion_tokens"] <= 350
        assert "max_tokens" not in sent
        assert "n_predict" not in sent


FOREIGN = {
    "openai_chat": "max_output_tokens",
    "openai_responses": "max_completion_tokens",
    "anthropic": "n_predict",
}


@pytest.mark.parametrize("dialect", list(FOREIGN))
async def test_a_limit_that_its_upstream_does_not_know_limits_no_price(
    sqlite_database: Database, tmp_path: Path, dialect: str
):
    usage = Usage(input=10, output=9_000)
    async with (
        upstream(Answer(tuple(frames(dialect, said("a", usage=usage))), stream=True)) as server,
        house(sqlite_database, tmp_path, server, dialect=dialect) as made,
    ):
        await made.call(dialect, **{FOREIGN[dialect]: 1})
        [end] = made.ends()
    assert (end.price_nano, end.loss_nano) == (10 * INPUT + 9_000 * OUTPUT, 0)


async def test_nobody_breaks_the_books_with_numbers(sqlite_database: Database, tmp_path: Path):
    usage = Usage(input=-5, cached=-1, output=10**25, reasoning=10**30)
    async with (
        upstream(
            Answer(tuple(frames("openai_chat", said("a", usage=usage))), stream=True)
        ) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        with pytest.raises(InvalidRequest):
            await made.call("openai_chat", n=10**15)
        await made.call("openai_chat")
        await Projector(sqlite_database, made.journal).catch_up()
        [end] = made.ends()
        folder = made.journal.directory
        found = await sqlite_database.read(lambda c: verify(c, folder, lambda _: None))
    assert end.usage == Usage(output=2**31 - 1, reasoning=2**31 - 1)
    assert end.price_nano > 0
    assert found.problems == []


async def test_two_answers_share_what_a_budget_buys(sqlite_database: Database, tmp_path: Path):
    async with (
        upstream(streamed("openai_chat", "a")) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        await made.budget(2_000 * INPUT + 100 * OUTPUT)
        await made.call("openai_chat", n=2)
        assert 50 <= server.seen[0].json()["max_completion_tokens"] <= 175


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_stream_cut_before_its_counts_is_charged_by_our_own(
    sqlite_database: Database, tmp_path: Path, dialect: str
):
    cut = frames(dialect, said(*"abcdefgh")[:-1])
    async with (
        upstream(Answer(tuple(cut), stream=True, end="cut")) as server,
        house(sqlite_database, tmp_path, server, dialect=dialect) as made,
    ):
        with pytest.raises(HeadraceError):
            await made.call(dialect, max_tokens=20)
        [end] = made.ends()
    assert end.usage is not None
    assert (end.stop, end.estimated) == ("failed", True)
    assert 8 <= end.usage.output <= 10
    assert end.usage.input > 0
    assert end.price_nano == end.usage.input * INPUT + end.usage.output * OUTPUT
    assert end.cost_nano > 0


async def test_who_leaves_is_charged_what_had_come(sqlite_database: Database, tmp_path: Path):
    pieces = frames("openai_chat", said(*"abcdefgh"))
    async with (
        upstream(Answer(tuple(pieces[:6]), stream=True, end="stall")) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        task = asyncio.create_task(made.call("openai_chat"))
        await server.asked()
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        await server.hung_up()
        [end] = made.ends()
    assert end.usage is not None
    assert (end.stop, end.estimated) == ("cancelled", True)
    assert 4 <= end.usage.output <= 6
    assert end.price_nano > 0


async def test_who_leaves_after_the_counts_is_charged_exactly(
    sqlite_database: Database, tmp_path: Path
):
    async with (
        upstream(streamed("openai_chat", "a", "b")) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        got = b""
        pieces = 0
        while b"[DONE]" not in got:
            pieces += 1
            got = await made.call("openai_chat", leave_after=pieces)
        told = [end for end in made.ends() if end.usage and end.usage.output == USAGE.output]
    assert told
    assert not any(end.estimated for end in told if end.usage and end.usage.input == USAGE.input)


async def test_a_fall_back_that_had_told_its_use_costs_as_well(
    sqlite_database: Database, tmp_path: Path
):
    wasted = frames("anthropic", said("a")[:1])
    broken = Answer((*wasted, b'event: error\ndata: {"type":"error","error":{}}\n\n'), stream=True)
    async with (
        upstream(broken) as first,
        upstream(streamed("anthropic", "a", "b", "c")) as second,
        house(sqlite_database, tmp_path, first, second, dialect="anthropic") as made,
    ):
        made.relayed = False
        await made.call("openai_chat", max_tokens=20)
        [end] = made.ends()
    assert end.price_nano == USAGE.input * INPUT + USAGE.output * OUTPUT
    owed = {entry.account: -entry.amount_nano for entry in end.entries}
    assert owed["payable:up0"] == USAGE.input * 400
    assert owed["payable:up1"] == USAGE.input * 400 + USAGE.output * 2_000
    assert end.cost_nano == owed["payable:up0"] + owed["payable:up1"]


async def test_embeddings_whose_tokens_are_not_told_are_charged_by_their_length(
    sqlite_database: Database, tmp_path: Path
):
    vector = msgspec.json.encode({"data": [{"index": 0, "embedding": [0.5]}]})
    async with (
        upstream(Answer((vector,), framing="length")) as server,
        house(sqlite_database, tmp_path, server) as made,
    ):
        caller = make_caller(scope=made.scope)
        with made.gateway.admit(
            caller, "model", ability="embeddings", dialect="openai_embeddings"
        ) as call:
            await made.gateway.embed(call, ["four letters each"])
        [end] = made.ends()
    assert end.usage == Usage(input=4)
    assert (end.price_nano, end.estimated) == (4 * INPUT, True)
