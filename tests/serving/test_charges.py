"""What calls are charged: held before they run, settled once, whatever ends them."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from headrace.core.errors import StoreError
from headrace.core.models import Usage
from headrace.ledger.chain import Position
from headrace.ledger.machines import Terms
from headrace.ledger.prices import Rates
from headrace.ledger.records import CLOSED
from headrace.store.database import Database
from headrace.store.key import KeyScopes
from headrace.store.limits import RateLimit
from support.http import exchange
from support.money import (
    DOLLAR_NANO,
    RATES,
    Books,
    nothing_is_left,
    set_budget,
    set_limit,
    set_price,
)
from support.serving import Api, scripted, served_api

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
INPUT, OUTPUT = 1_000, 4_000
"""Nano-dollars for one token."""


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Api]:
    turns = (
        {"match": {"user": "busy"}, "steps": [{"error": {"kind": "overloaded", "message": "B"}}]},
        {"match": {"user": "slow"}, "steps": [{"text": "tick " * 400, "token_delay_ms": 4}]},
        {"match": {"user": "cut"}, "steps": [{"text": "one two three"}, {"cut": True}]},
        {"match": {"user": "long"}, "steps": [{"text": "word " * 5_000}]},
    )
    engine = scripted(
        tmp_path / "script.json",
        *turns,
        model={"id": "parrot", "context_tokens": 8192},
        late_tokens=3,
        embedding_dimensions=8,
    )
    async with served_api(sqlite_database, tmp_path, [engine]) as made:
        await set_price(made, "parrot")
        yield made


async def ask(
    api: Api, text: str, path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any
) -> tuple[int, dict[str, str], Any]:
    """One call that is not streamed."""
    said = text if path == RESPONSES else [{"role": "user", "content": text}]
    body = {"model": "parrot", "input" if path == RESPONSES else "messages": said} | fields
    given = {"authorization": f"Bearer {api.key}"} | (headers or {})
    status, told, content = await exchange(api.url, "POST", path, given, msgspec.json.encode(body))
    return status, told, msgspec.json.decode(unchunked(told, content))


def unchunked(headers: dict[str, str], content: bytes) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return content
    size, _, rest = content.partition(b"\r\n")
    length = int(size, 16)
    return rest[:length] + (unchunked(headers, rest[length + 2 :]) if length else b"")


async def hang_up(api: Api, text: str, until: bytes) -> None:
    """A streamed call whose client leaves."""
    body = msgspec.json.encode(
        {"model": "parrot", "stream": True, "messages": [{"role": "user", "content": text}]}
    )
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {api.key}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    await reader.readuntil(until)
    writer.transport.abort()


async def closed(api: Api, calls: int = 1) -> Books:
    """The books once so many calls have ended."""
    async with asyncio.timeout(5):
        while len((books := Books(api)).closed) < calls:
            await asyncio.sleep(0.002)
    books.check()
    nothing_is_left(api)
    return books


async def test_a_call_is_charged_its_usage(api: Api):
    _, headers, reply = await ask(api, "Hello you", max_tokens=50)
    usage = reply["usage"]
    price = usage["prompt_tokens"] * INPUT + usage["completion_tokens"] * OUTPUT
    [receipt] = await api.receipts()
    assert (receipt.price_nano, receipt.loss_nano) == (price, 0)
    assert headers["headrace-price-usd"] == f"{price / DOLLAR_NANO:f}"
    books = await closed(api)
    account = api.home.owner.account_id
    assert [tuple(msgspec.to_builtins(entry)) for entry in books.closed[0].entries] == [
        (f"receivable:{account}", price),
        ("revenue:parrot", -price),
    ]
    assert books.opened[0].held_nano >= 50 * OUTPUT
    assert books.opened[0].price_id is not None


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_budget_puts_in_how_many_tokens_it_buys(api: Api, path: str):
    held_for_input = 1_024 + 200
    budget = held_for_input * INPUT + 100 * OUTPUT
    await set_budget(api, budget)
    status, _, reply = await ask(api, "long", path)
    assert status == 200
    books = await closed(api)
    made = books.closed[0].usage or Usage()
    assert 100 <= made.output < 160, reply
    assert books.closed[0].stop == "length"
    assert books.closed[0].price_nano <= books.opened[0].held_nano <= budget


async def test_what_no_budget_can_pay_for_is_refused_and_nothing_is_written(api: Api):
    await set_budget(api, 1_000 * INPUT)
    status, headers, reply = await ask(api, "Hello", max_tokens=1_000)
    assert (status, reply["error"]["code"]) == (429, "insufficient_quota")
    assert headers["x-should-retry"] == "false"
    status, _, reply = await ask(api, "Hello", MESSAGES, max_tokens=1_000)
    assert (status, reply["error"]["type"]) == (402, "billing_error")
    assert not Books(api).opened
    nothing_is_left(api)


@pytest.mark.parametrize("how", [{"background": True}, {"background": True, "stream": True}])
async def test_the_background_is_refused_like_the_foreground(api: Api, how: dict[str, Any]):
    await set_budget(api, 1_000 * INPUT)
    status, headers, reply = await ask(api, "Hello", RESPONSES, max_output_tokens=1_000, **how)
    assert (status, reply["error"]["code"]) == (429, "insufficient_quota")
    assert headers["x-should-retry"] == "false"
    assert not Books(api).opened
    nothing_is_left(api)


async def test_the_background_takes_its_place_in_a_limit_once(api: Api):
    place = ("organisation", api.home.organisation_id)
    await set_limit(api, RateLimit(*place, "requests", "minute", 2))
    for _ in range(2):
        assert (await ask(api, "Hello", RESPONSES, background=True))[0] == 200
    status, _, reply = await ask(api, "Hello", RESPONSES, background=True)
    assert (status, reply["error"]["code"]) == (429, "rate_limit_exceeded")
    await closed(api, 2)


async def test_a_budget_is_never_overshot_and_can_be_used_up(api: Api):
    each = 10 * INPUT + 10 * OUTPUT
    budget = 60 * each
    await set_budget(api, budget)

    async def spend() -> int:
        spent = 0
        for _ in range(400):
            status, _, _ = await ask(api, "one two three four five six seven")
            if status != 200:
                return spent
            spent += 1
        return spent

    await asyncio.gather(*(spend() for _ in range(16)))
    books = Books(api)
    books.check()
    assert books.charged_nano <= budget
    # What is left is less than the least that a call must be able to come to.
    assert budget - books.charged_nano < 1_300 * INPUT + 16 * OUTPUT
    nothing_is_left(api)


async def test_a_call_that_fails_before_its_first_token_is_charged_nothing(api: Api):
    assert (await ask(api, "busy"))[0] == 503
    books = await closed(api)
    assert (books.closed[0].price_nano, books.closed[0].entries) == (0, ())


async def test_a_stream_that_is_cut_is_charged_what_was_made(api: Api):
    await ask(api, "cut")
    books = await closed(api)
    assert books.closed[0].stop == "failed"
    usage = books.closed[0].usage or Usage()
    assert usage.output == 3
    assert books.closed[0].price_nano == usage.input * INPUT + 3 * OUTPUT


async def test_a_hang_up_is_charged_to_the_token_and_the_rest_is_a_loss(api: Api):
    await api.terms.machines.set("local", Terms(rent_per_hour="3600"))
    await api.terms.reload()
    await hang_up(api, "slow", b"tick")
    [end] = (await closed(api)).closed
    assert end.usage is not None
    assert (end.stop, end.unbilled_tokens) == ("cancelled", 3)
    assert 1 <= end.usage.output < 400
    assert end.price_nano == end.usage.input * INPUT + end.usage.output * OUTPUT
    assert end.machine_ns > 0
    assert end.loss_nano > 0
    assert {entry.account for entry in end.entries} == {
        f"receivable:{api.home.owner.account_id}",
        "revenue:parrot",
        "cogs:parrot",
        "capacity:local",
        "loss:unbilled",
    }


async def test_a_machines_time_is_shared_by_its_calls(api: Api):
    await api.terms.machines.set("local", Terms(rent_per_hour="3.60"))
    await api.terms.reload()
    before_ns = api.terms.share_clock.busy_ns("local")
    await asyncio.gather(*(ask(api, "Hello there", max_tokens=9) for _ in range(8)))
    busy_ns = api.terms.share_clock.busy_ns("local") - before_ns
    books = await closed(api, 8)
    shares = sum(end.machine_ns for end in books.closed)
    assert 0 <= busy_ns - shares <= 8
    assert all(end.cost_nano > 0 for end in books.closed)


async def test_embeddings_are_charged(api: Api):
    body = {"model": "parrot", "input": ["one two", "three"]}
    given = {"authorization": f"Bearer {api.key}"}
    status, headers, _ = await exchange(
        api.url, "POST", "/v1/embeddings", given, msgspec.json.encode(body)
    )
    assert status == 200
    books = await closed(api)
    assert books.closed[0].price_nano == 3 * INPUT
    assert headers["headrace-price-usd"] == "0.000003"


async def test_limits_tell_how_they_stand_and_refuse(api: Api):
    place = ("organisation", api.home.organisation_id)
    limit = RateLimit(*place, "requests", "minute", 3)  # pyright: ignore[reportArgumentType]
    running = RateLimit(*place, "concurrent", "now", 5)  # pyright: ignore[reportArgumentType]
    await set_limit(api, limit)
    await set_limit(api, running)
    status, headers, _ = await ask(api, "Hello")
    assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "2")
    body = {"model": "parrot", "messages": [{"role": "user", "content": "Hi"}]}
    given = {"x-api-key": api.key, "anthropic-version": "2023-06-01"}
    counted = await exchange(
        api.url, "POST", f"{MESSAGES}/count_tokens", given, msgspec.json.encode(body)
    )
    assert counted[0] == 200
    status, headers, _ = await ask(api, "Hello", MESSAGES, max_tokens=9)
    assert (status, headers["anthropic-ratelimit-requests-remaining"]) == (200, "0")
    status, headers, reply = await ask(api, "Hello")
    assert (status, reply["error"]["code"]) == (429, "rate_limit_exceeded")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert int(headers["retry-after"]) <= 60
    nothing_is_left(api, running)


async def test_receipts_name_the_conversation_and_the_purpose(api: Api):
    names = {
        "headrace-conversation-id": "talk-1",
        "session-id": "other",
        "headrace-purpose": "review",
    }
    await ask(api, "Hello", headers=names)
    await ask(api, "Hello", headers={"x-claude-code-session-id": "s:1", "thread-id": "t"})
    await ask(api, "Hello", headers={"headrace-conversation-id": "not one!"})
    receipts = await api.receipts()
    assert [each.conversation_id for each in receipts] == ["talk-1", "s:1", None]
    assert [each.purpose for each in receipts] == ["review", "api", "api"]


async def test_a_key_opens_what_its_scopes_name(api: Api):
    scopes = KeyScopes(models=("other-*",), routes=("messages",), purposes=())
    made = await api.keys.create(api.home.owner, "narrow", scopes=scopes)
    given = {"authorization": f"Bearer {made.secret}"}
    status, _, reply = await ask(api, "Hello", headers=given)
    assert (status, "routes" in reply["error"]["message"]) == (403, True)
    status, _, reply = await ask(api, "Hello", MESSAGES, headers=given, max_tokens=9)
    assert (status, "models" in reply["error"]["message"]) == (403, True)
    assert not Books(api).opened


async def test_work_of_an_idempotency_key_is_charged_once(api: Api):
    given = {"idempotency-key": "k"}
    await ask(api, "cut", headers=given, max_tokens=30)
    await ask(api, "cut", headers=given, max_tokens=30)
    books = await closed(api, 2)
    usage = books.closed[0].usage or Usage()
    assert books.charged_nano == usage.input * INPUT + usage.output * OUTPUT
    assert books.closed[1].loss_nano == books.charged_nano
    assert len({opened.idempotency_id for opened in books.opened}) == 1
    await ask(api, "cut", headers={"idempotency-key": "l"}, max_tokens=30)
    assert Books(api).charged_nano == 2 * books.charged_nano


async def test_a_price_holds_for_calls_that_began_under_it(api: Api):
    running = asyncio.create_task(ask(api, "slow", max_tokens=50))
    while not Books(api).opened:
        await asyncio.sleep(0.002)
    await set_price(api, "parrot", Rates(input=RATES.input * 10, output=RATES.output * 10))
    await running
    books = await closed(api)
    usage = books.closed[0].usage or Usage()
    assert books.closed[0].price_nano == usage.input * INPUT + usage.output * OUTPUT


async def test_where_the_journal_takes_nothing_nothing_runs_and_nothing_is_held(api: Api):
    await set_budget(api, DOLLAR_NANO)
    api.journal.close()
    status, _, _ = await ask(api, "Hello")
    assert status >= 500
    nothing_is_left(api)


async def test_what_cannot_be_settled_is_not_acknowledged_and_stays_held(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    await set_budget(api, DOLLAR_NANO)
    append = api.journal.append

    def refuse(kind: str, data: msgspec.Struct) -> Position:
        if kind == CLOSED:
            raise StoreError("no room")
        return append(kind, data)

    monkeypatch.setattr(api.journal, "append", refuse)
    status, _, _ = await ask(api, "Hello", max_tokens=9)
    assert status >= 500
    [hold] = api.terms.reservations._running  # pyright: ignore[reportPrivateUsage]
    assert hold.nano == Books(api).opened[0].held_nano
    assert not api.terms.share_clock.running("local")


async def test_a_charge_may_be_forced_to_the_disk_after_the_last_byte(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    waited: list[Position] = []
    durable = api.journal.durable

    async def watched(position: Position) -> None:
        waited.append(position)
        await durable(position)

    monkeypatch.setattr(api.journal, "durable", watched)
    await ask(api, "Hello", max_tokens=9)
    assert len(waited) == 1
    api.gateway._meter = api.terms.meter(  # pyright: ignore[reportPrivateUsage]
        charge_before_last_byte=False
    )
    await ask(api, "Hello", max_tokens=9)
    assert len(waited) == 1
    assert len((await closed(api, 2)).closed) == 2


async def test_a_line_of_a_batch_has_the_price_of_batches(api: Api):
    half = Rates(input=RATES.input, output=RATES.output, batch_percent=50)
    await set_price(api, "parrot", half)
    given = {"x-api-key": api.key, "anthropic-version": "2023-06-01"}
    params = {
        "model": "parrot",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hello you"}],
    }
    body = {"requests": [{"custom_id": "a", "params": params}]}
    path = "/v1/messages/batches"
    status, _, _ = await exchange(api.url, "POST", path, given, msgspec.json.encode(body))
    assert status == 200
    books = await closed(api)
    usage = books.closed[0].usage or Usage()
    assert books.closed[0].price_nano * 2 == usage.input * INPUT + usage.output * OUTPUT
    assert books.opened[0].tier == "batch"
    assert books.opened[0].idempotency_id is not None


async def test_embeddings_and_stored_responses_pass_the_same_admission(api: Api):
    await set_budget(api, 10 * INPUT)
    status, _, reply = await ask(api, "Hello", RESPONSES, max_output_tokens=100)
    assert (status, reply["error"]["code"]) == (429, "insufficient_quota")
    given = {"authorization": f"Bearer {api.key}"}
    embedded = {"model": "parrot", "input": "word " * 100}
    status, _, _ = await exchange(
        api.url, "POST", "/v1/embeddings", given, msgspec.json.encode(embedded)
    )
    assert status == 429
    assert not Books(api).opened
