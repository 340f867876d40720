"""Idempotency keys: one answer for one key, whatever happens to the first call."""

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from pyreqwest.client import ClientBuilder
from sqlalchemy import Connection
from starlette.types import Message, Send

from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict, EngineFailed, InvalidRequest
from headrace.core.scope import Scope
from headrace.ledger.charge import Once
from headrace.serving.idempotency import Idempotency, Keyed
from headrace.store import idempotent_replies as rows_of_keys
from headrace.store.database import Database
from headrace.store.idempotent_replies import Claim
from support.callers import make_caller
from support.people import move_in
from support.serving import Api, scripted, served_api

_DAY_S = 86_400
_NS_PER_S = 1_000_000_000
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream"), (b"request-id", b"req_1")],
}
CHUNKS = [b"data: \xff\x00\n\n", b": ping\n\n", b"data: [DONE]\n\n"]


class Desk:
    """Idempotency keys on a database, and how often an answer was made."""

    def __init__(self, database: Database, bytes_max: int = 1_000) -> None:
        self.clock = ManualClock()
        self.scope: Scope = database.write_now(move_in).member
        self.idempotency = Idempotency(
            database,
            b"p" * 32,
            self.clock,
            kept_s=_DAY_S,
            bytes_max=bytes_max,
            charged=self.charged,
        )
        self.charged_nano: dict[str, int] = {}
        self.answers = 0
        self.tries: list[Once] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def charged(self, work_id: str) -> int:
        return self.charged_nano.get(work_id, 0)

    async def ask(self, *, body: bytes = b"{}", answer: str = "stream", **other: str) -> "Sent":
        scope = Scope(self.scope.organisation_id, self.scope.account_id)
        caller = make_caller(other.get("key_id", "key"), scope)
        asked = Keyed(other.get("key", "k-1"), caller, other.get("target", "/v1/messages"), body)
        sent = Sent([])
        await self.idempotency.run(asked, sent, getattr(self, answer))
        return sent

    async def stream(self, send: Send, once: Once) -> bool:
        self.answers += 1
        self.tries.append(once)
        await send(START)
        for chunk in CHUNKS:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self.go_on.wait()
        await send({"type": "http.response.body", "body": b""})
        return True

    async def broken_stream(self, send: Send, once: Once) -> bool:
        await self.stream(send, once)
        return False

    async def refusal(self, send: Send, once: Once) -> bool:
        del once
        self.answers += 1
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b"later"})
        return True

    async def failure(self, send: Send, once: Once) -> bool:
        del once
        self.answers += 1
        del send
        raise EngineFailed("it broke")


class Sent(msgspec.Struct):
    """A `send` that keeps what was sent."""

    messages: list[Message]

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


@pytest.fixture
def desk(sqlite_database: Database) -> Desk:
    return Desk(sqlite_database)


async def test_the_same_request_gets_the_same_bytes_and_no_second_answer(desk: Desk):
    first = await desk.ask()
    desk.clock.move((_DAY_S - 1) * _NS_PER_S)
    again = await desk.ask()
    assert desk.answers == 1
    assert first.body == again.body == b"".join(CHUNKS)
    assert first.messages[0] == START
    assert again.headers == {**first.headers, b"idempotent-replayed": b"true"}
    assert not again.messages[-1].get("more_body", False)


async def test_after_its_time_a_key_is_a_new_one_and_its_row_is_reaped(
    desk: Desk, sqlite_database: Database
):
    await desk.ask()
    desk.clock.move(_DAY_S * _NS_PER_S)
    await desk.idempotency.forget_expired()
    left = sqlite_database.read_now(
        lambda connection: connection.exec_driver_sql(
            "SELECT count(*) FROM idempotent_reply"
        ).scalar()
    )
    assert left == 0
    await desk.ask()
    assert desk.answers == 2


@pytest.mark.parametrize("other", [{"body": b"[]"}, {"target": "/v1/responses"}])
async def test_a_key_is_for_one_request(desk: Desk, other: dict[str, str]):
    await desk.ask()
    with pytest.raises(InvalidRequest, match="different request") as refused:
        await desk.ask(**other)  # pyright: ignore[reportArgumentType] - by keyword
    assert refused.value.param == "Idempotency-Key"
    assert desk.answers == 1


async def test_callers_do_not_share_keys(desk: Desk):
    await desk.ask()
    await desk.ask(key_id="another")
    assert desk.answers == 2


async def test_while_the_first_runs_a_second_one_conflicts(desk: Desk):
    desk.go_on.clear()
    running = asyncio.create_task(desk.ask())
    while desk.answers == 0:
        await asyncio.sleep(0)
    with pytest.raises(Conflict):
        await desk.ask()
    desk.go_on.set()
    first = await running
    assert (await desk.ask()).body == first.body
    assert desk.answers == 1


@pytest.mark.parametrize("answer", ["broken_stream", "refusal"])
async def test_what_did_not_end_well_is_sent_and_not_recorded(desk: Desk, answer: str):
    sent = await desk.ask(answer=answer)
    assert sent.body
    assert not sent.messages[-1].get("more_body", False)
    await desk.ask()
    assert desk.answers == 2


async def test_a_failure_is_raised_and_a_retry_runs(desk: Desk):
    with pytest.raises(EngineFailed):
        await desk.ask(answer="failure")
    await desk.ask()
    assert desk.answers == 2


async def test_an_error_told_after_a_failure_passes_through(desk: Desk):
    sent = Sent([])
    sends: list[Send] = []

    async def fail(send: Send, once: Once) -> bool:
        del once
        sends.append(send)
        raise EngineFailed("it broke")

    asked = Keyed("k", make_caller("key", desk.scope), "/", b"")
    with pytest.raises(EngineFailed):
        await desk.idempotency.run(asked, sent, fail)
    await sends[0]({"type": "http.response.body", "body": b"error"})
    assert [message["body"] for message in sent.messages] == [b"error"]


def _at_the_claim(desk: Desk) -> bool:
    return desk.answers == 0


def _at_the_answer(desk: Desk) -> bool:
    return desk.answers == 1


@pytest.mark.parametrize("moment", [_at_the_claim, _at_the_answer])
async def test_a_cancelled_call_leaves_no_claim(desk: Desk, moment: Callable[[Desk], bool]):
    desk.go_on.clear()
    running = asyncio.create_task(desk.ask())
    await asyncio.sleep(0)
    while not moment(desk):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    made = desk.answers
    desk.go_on.set()
    await desk.ask()
    assert desk.answers == made + 1


async def test_a_crash_locks_a_key_for_a_minute_at_most(desk: Desk):
    crashed = copy.copy(desk)
    crashed.go_on = asyncio.Event()
    running = asyncio.create_task(crashed.ask())
    while crashed.answers == 0:
        await asyncio.sleep(0)
    desk.clock.move(59 * _NS_PER_S)
    with pytest.raises(Conflict):
        await desk.ask()
    desk.clock.move(1 * _NS_PER_S)
    await desk.ask()
    assert desk.answers == 1
    # The first one was not dead after all: its late end changes nothing of the record.
    crashed.go_on.set()
    await running
    await desk.ask()
    assert desk.answers == 1


async def test_a_reply_over_the_limit_is_sent_whole_and_not_recorded(sqlite_database: Database):
    desk = Desk(sqlite_database, bytes_max=10)
    assert (await desk.ask()).body == b"".join(CHUNKS)
    await desk.ask()
    assert desk.answers == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "tab\t"])
async def test_what_is_no_key_is_refused(desk: Desk, key: str):
    with pytest.raises(InvalidRequest, match="printable"):
        await desk.ask(key=key)
    assert desk.answers == 0


async def test_what_clients_choose_as_key_is_not_kept(desk: Desk, sqlite_database: Database):
    await desk.ask(key="mother's maiden name")
    rows = sqlite_database.read_now(
        lambda connection: connection.exec_driver_sql("SELECT * FROM idempotent_reply").all()
    )
    assert "maiden" not in repr(rows)


async def test_the_record_is_there_before_the_last_bytes_leave(desk: Desk):
    class Gone(Exception):
        pass

    class Vanishing(Sent):
        async def __call__(self, message: Message) -> None:
            await super().__call__(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                raise Gone

    asked = Keyed("k-1", make_caller("key", desk.scope), "/v1/messages", b"{}")
    with pytest.raises(Gone):
        await desk.idempotency.run(asked, Vanishing([]), desk.stream)
    assert (await desk.ask()).body == b"".join(CHUNKS)
    assert desk.answers == 1


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_client_that_goes_while_its_reply_is_recorded_finds_it(desk: Desk, turns: int):
    async def answer(send: Send, once: Once) -> bool:
        good = await desk.stream(send, once)
        hang_up(turns)
        return good

    def hang_up(left: int) -> None:
        if left:
            loop.call_soon(hang_up, left - 1)
        else:
            asking.cancel()

    loop = asyncio.get_running_loop()
    asked = Keyed("k-1", make_caller("key", desk.scope), "/v1/messages", b"{}")
    asking = asyncio.create_task(desk.idempotency.run(asked, Sent([]), answer))
    await asyncio.wait([asking])
    assert (await desk.ask()).body == b"".join(CHUNKS)
    assert desk.answers == 1


async def die_in_the_midst(desk: Desk) -> None:
    """As a process does that is killed after the charge and before the reply is recorded."""

    class Killed(BaseException):
        pass

    async def answer(send: Send, once: Once) -> bool:
        del send
        desk.tries.append(once)
        desk.charged_nano[once.id] = 700
        raise Killed

    def release_nothing(connection: Connection, held: Claim, **_: object) -> None:
        del connection, held

    asked = Keyed("k-1", make_caller("key", desk.scope), "/v1/messages", b"{}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows_of_keys, "release", release_nothing)
        with pytest.raises(Killed):
            await desk.idempotency.run(asked, Sent([]), answer)


async def test_after_a_crash_the_next_try_knows_what_was_charged(desk: Desk):
    await die_in_the_midst(desk)
    with pytest.raises(Conflict):
        await desk.ask()
    await desk.idempotency.release_left()
    await desk.ask()
    first, second = desk.tries
    assert first.id == second.id
    assert (first.charged_nano, second.charged_nano, second.credit_nano) == (0, 700, 700)


async def test_another_request_under_a_key_that_is_free_again_is_other_work(desk: Desk):
    await die_in_the_midst(desk)
    desk.clock.move(61 * _NS_PER_S)
    await desk.ask(body=b"[]")
    first, second = desk.tries
    assert first.id != second.id
    assert second.charged_nano == 0


async def test_old_claims_are_forgotten_with_what_was_charged(desk: Desk):
    await die_in_the_midst(desk)
    desk.clock.move(2 * _DAY_S * _NS_PER_S)
    await desk.idempotency.forget_expired()
    await desk.ask()
    assert desk.tries[-1].charged_nano == 0


@pytest.fixture
async def api(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Api]:
    turns = (
        {"match": {"user": "cut"}, "times": 1, "steps": [{"text": "Half "}, {"cut": True}]},
        {"match": {"user": "slow"}, "steps": [{"text": "tick " * 40, "token_delay_ms": 10}]},
        {"match": {"user": "busy"}, "times": 1, "steps": [{"error": BUSY}]},
    )
    engine = scripted(tmp_path / "script.json", *turns, model={"id": "parrot"})
    async with served_api(sqlite_database, tmp_path, [engine]) as made:
        yield made


class Got(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


async def post(
    api: Api, path: str, text: str, *, key: str | None = "k", stream: bool = False
) -> Got:
    field = "input" if path == "/v1/responses" else "messages"
    said = text if path == "/v1/responses" else [{"role": "user", "content": text}]
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    body = {"model": "parrot", field: said, "stream": stream, limit: 100}
    given = {"authorization": f"Bearer {api.key}"}
    if key is not None:
        given["idempotency-key"] = key
    async with ClientBuilder().build() as client:
        request = client.post(f"{api.url}{path}").headers(given)
        reply = await request.body_bytes(msgspec.json.encode(body)).build().send()
        names = {name.lower(): reply.get_header(name) or "" for name in reply.headers}
        return Got(reply.status, names, bytes(await reply.bytes()))


BUSY = {"kind": "overloaded", "message": "Busy."}
PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
async def test_every_dialect_replays_its_reply_and_runs_no_second_call(
    api: Api, path: str, *, stream: bool
):
    first = await post(api, path, "Hello you", stream=stream)
    again = await post(api, path, "Hello you", stream=stream)
    assert (first.status, again.status) == (200, 200)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body
    assert first.headers["headrace-generation-id"] == again.headers["headrace-generation-id"]
    assert first.headers["content-type"] == again.headers["content-type"]
    assert len(await api.receipts()) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_another_body_is_refused_in_the_dialect(api: Api, path: str):
    await post(api, path, "Hello")
    other = await post(api, path, "Hello again")
    assert other.status == 400
    assert msgspec.json.decode(other.body)["error"]["type"] == "invalid_request_error"
    assert b"different request" in other.body
    assert len(await api.receipts()) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_second_call_meanwhile_gets_409_and_the_reply_later(api: Api, path: str):
    running = asyncio.create_task(post(api, path, "slow"))
    async with asyncio.timeout(5):
        while await rows(api) == 0:
            await asyncio.sleep(0.001)
    meanwhile = await post(api, path, "slow")
    assert meanwhile.status == 409
    assert "error" in msgspec.json.decode(meanwhile.body)
    first = await running
    assert (await post(api, path, "slow")).body == first.body
    assert len(await api.receipts()) == 1


@pytest.mark.parametrize(("text", "status"), [("cut", 200), ("busy", 503)])
async def test_after_a_failure_a_retry_runs(api: Api, text: str, status: int):
    path = "/v1/chat/completions"
    first = await post(api, path, text, stream=True)
    assert first.status == status
    again = await post(api, path, text, stream=True)
    assert (again.status, again.replayed) == (200, False)
    assert (await post(api, path, text, stream=True)).replayed
    assert len(await api.receipts()) == 2


async def test_a_client_that_hangs_up_leaves_its_key_free(api: Api):
    path = "/v1/chat/completions"
    body = b'{"model":"parrot","messages":[{"role":"user","content":"slow"}],"stream":true}'
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {api.key}\r\n"
    head += f"idempotency-key: k\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write(head.encode() + body)
    await reader.readuntil(b"tick")
    writer.close()
    async with asyncio.timeout(5):
        while await rows(api) == 1:
            await asyncio.sleep(0.001)
    assert not (await post(api, path, "Hello", stream=True)).replayed
    [cut, whole] = await api.receipts()
    assert (cut.stop, whole.stop) == ("cancelled", "end")


async def test_who_hangs_up_leaves_no_response_in_the_background_under_a_free_key(api: Api):
    """Or it would be charged, and so would the one that is made again."""
    asked = {"model": "parrot", "input": "slow", "background": True, "stream": True}
    body = msgspec.json.encode(asked)
    head = f"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nx-api-key: {api.key}\r\n"
    head += f"idempotency-key: k\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write(head.encode() + body)
    await reader.readuntil(b"tick")
    writer.close()
    async with asyncio.timeout(5):
        while await rows(api) == 1:
            await asyncio.sleep(0.001)
    [cut] = await api.receipts()
    assert cut.stop == "cancelled"


async def test_without_the_header_nothing_is_kept(api: Api):
    await post(api, "/v1/chat/completions", "Hello", key=None)
    assert await rows(api) == 0


async def rows(api: Api) -> int:
    """How many keys are claimed or have a reply."""
    counting = f"SELECT count(*) FROM idempotent_reply WHERE expires_ns > {time.time_ns()}"
    return await api.database.read(
        lambda connection: connection.exec_driver_sql(counting).scalar_one()
    )
