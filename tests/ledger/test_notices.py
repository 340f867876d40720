"""Shares of budgets that are reached: noticed once, told until somebody takes it."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.ids import new_id
from headrace.ledger.notices import SIGNATURE_HEADER, Notices, Told, signature
from headrace.store import budgets, spend
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.generations import Ending, Generation, Settled
from support.budgets import OWNER, settle_in

_SECRET = b"s" * 32


class Receiver:
    """A web server that answers as it is told, and keeps what it hears."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.heard.append((headers | {"": head[0]}, body))
        status = self.statuses.pop(0) if self.statuses else 204
        lines = f"HTTP/1.1 {status} So\r\nlocation: {self.url}/elsewhere\r\ncontent-length: 0\r\n"
        writer.write(f"{lines}connection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


class Desk(msgspec.Struct):
    database: Database
    clock: ManualClock
    notices: Notices

    async def budget(self, limit_nano: int, url: str | None) -> Budget:
        made = Budget(
            id=new_id(self.clock),
            organisation_id="acme",
            node_kind="account",
            node_id="ada",
            period="day",
            limit_nano=limit_nano,
            hard=False,
            warn_percent=(50, 100),
            webhook_url=url,
            created_ns=self.clock.now_ns(),
        )
        await self.database.write(lambda connection: budgets.add(connection, OWNER, made))
        await self.notices.reload()
        return made

    async def spend(self, nano: int) -> None:
        """A call of ada's reaches the rows."""
        begun = Generation(
            id=new_id(self.clock),
            organisation_id="acme",
            account_id="ada",
            worker="control",
            key_id="key-ada",
            purpose="api",
            model_id="tiny",
            release_digest="sha256:0",
            engine="scripted",
            dialect="openai",
            started_ns=self.clock.now_ns(),
        )
        ending = Ending(
            id=begun.id,
            stop="end",
            usage=None,
            cost_nano=0,
            first_token_ms=None,
            duration_ms=None,
            error_kind=None,
            price_nano=nano,
        )
        await self.database.write(
            lambda connection: spend.add(connection, [Settled(begun, ending)], [])
        )
        await self.notices.reload()  # or it would wait for a journal to move on

    def again(self) -> None:
        """The process ends, and another one begins."""
        self.notices = Notices(self.database, self.clock, _SECRET)


@pytest.fixture
async def desk(database: Database) -> Desk:
    await database.write(settle_in)
    clock = ManualClock()
    return Desk(database, clock, Notices(database, clock, _SECRET))


async def test_each_share_is_told_once_and_signed(desk: Desk, receiver: Receiver):
    one = await desk.budget(1_000, receiver.url + "/hook?to=chat")
    for nano, count in ((499, 0), (1, 1), (100, 1), (2_000, 2)):
        await desk.spend(nano)
        await desk.notices.look()
        await desk.notices.deliver()
        await desk.notices.deliver()
        assert len(receiver.heard) == count
    headers, body = receiver.heard[0]
    assert headers[""] == "POST /hook?to=chat HTTP/1.1"
    told = msgspec.json.decode(body, type=Told)
    assert (told.budget_id, told.percent, told.spent_nano) == (one.id, 50, 500)
    time_s = int(headers[SIGNATURE_HEADER].split(",")[0].removeprefix("t="))
    assert headers[SIGNATURE_HEADER] == f"t={time_s},v1={signature(_SECRET, time_s, body)}"
    assert msgspec.json.decode(receiver.heard[1][1], type=Told).percent == 100
    desk.clock.move(86_400_000_000_000)
    await desk.spend(600)
    await desk.notices.look()
    await desk.notices.deliver()
    assert len(receiver.heard) == 3, "another window"


async def test_it_is_told_again_until_it_is_taken(desk: Desk, receiver: Receiver):
    await desk.budget(1_000, receiver.url)
    receiver.statuses = [500, 302]
    await desk.spend(500)
    await desk.notices.look()
    for _ in range(3):
        await desk.notices.deliver()
        await desk.notices.deliver()  # its pause is not over
        desk.again()
        await desk.notices.reload()
    assert [headers[""] for headers, _ in receiver.heard] == ["POST / HTTP/1.1"] * 3
    assert len({msgspec.json.decode(body, type=Told).id for _, body in receiver.heard}) == 1
    await desk.notices.deliver()
    assert len(receiver.heard) == 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", f"http://{'127.0.0.1' * 9}/", "http://a../"]
)
async def test_nobody_listens(desk: Desk, caplog: pytest.LogCaptureFixture, url: str):
    await desk.budget(1_000, url)
    await desk.spend(500)
    await desk.notices.look()
    await desk.notices.deliver()
    assert "was not told, try 1 of 24" in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_the_log_is_told_where_there_is_no_webhook(
    desk: Desk, caplog: pytest.LogCaptureFixture
):
    await desk.budget(1_000, None)
    await desk.spend(1_200)
    with caplog.at_level(logging.WARNING):
        await desk.notices.look()
        desk.again()
        await desk.notices.reload()
        await desk.notices.look()
    told = [line for line in caplog.messages if "is spent" in line]
    assert len(told) == 2
    assert "50 % is spent, $0.0000012 of $0.000001" in told[0]
