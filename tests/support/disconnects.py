"""Clients that leave at random moments, and an engine that is watched from within.

Shared by a test of a few and `bench/disconnects.py`, which does a thousand.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.core.events import Counted, Delta, Event, Finished
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.ledger.prices import Rates
from headrace.serving.engine import EngineInfo, LateEngine
from support.money import Books, nothing_is_left
from support.serving import Api

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
RATES = Rates(input=1_000_000_000, output=4_000_000_000)
_AT_ONCE = 8


class Witness:
    """An engine that writes down how many tokens it has made for whom, as it makes them.

    Each request's last text ends in a number, by which its receipt is found again.
    """

    def __init__(self, engine: LateEngine) -> None:
        self._engine = engine
        self.made: dict[str, int] = {}
        self.late: dict[str, int] = {}

    @property
    def model(self) -> Model:
        return self._engine.model

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def start(self) -> None:
        await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    def ready(self) -> bool:
        return self._engine.ready()

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        name = request.messages[-1].text().split()[-1]
        self.made[name] = 0
        async with aclosing(self._engine.stream(request)) as events:
            async for event in events:
                if isinstance(event, Delta | Counted):
                    self.made[name] = event.output_tokens
                elif isinstance(event, Finished):
                    self.made[name] = event.usage.output
                yield event

    def late_tokens(self, request: Request) -> int:
        late = self._engine.late_tokens(request)
        self.late[request.messages[-1].text().split()[-1]] = late
        return late

    async def count_tokens(self, request: Request) -> int:
        return await self._engine.count_tokens(request)

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        return await self._engine.embed(texts)


class _Client(msgspec.Struct, frozen=True):
    """What one client asks for, and when it leaves."""

    name: str
    dialect: str
    stream: bool
    after_s: float


class Tally(msgspec.Struct):
    """What came of many hang-ups. `wrong` are calls not billed to the token."""

    clients: int = 0
    calls: int = 0
    cancelled: int = 0
    billed_tokens: int = 0
    unbilled_tokens: int = 0
    unbilled_most: int = 0
    wrong: list[str] = []


async def hang_ups(
    api: Api, witness: Witness, *, clients: int, seed: int, longest_s: float, text: str
) -> Tally:
    """Let so many clients leave, and look what they are billed.

    Args:
        api: In front of the witness, whose model has the price `RATES`.
        witness: The engine.
        clients: How many.
        seed: Of dialects, moments and ways of asking.
        longest_s: The latest moment.
        text: What they say.
    """
    chance = random.Random(seed)
    room = asyncio.Semaphore(_AT_ONCE)

    async def leave(client: _Client) -> None:
        async with room:
            await _leave(api, client, witness.model.id, f"{text} {client.name}")

    leaving = [
        _Client(
            str(number),
            chance.choice(list(PATHS)),
            stream=chance.random() < 0.8,
            after_s=longest_s * chance.random() ** 2,
        )
        for number in range(clients)
    ]
    await asyncio.gather(*map(leave, leaving))
    async with asyncio.timeout(30):
        while len((books := Books(api)).opened) > len(books.closed):
            await asyncio.sleep(0.01)
    books.check()
    nothing_is_left(api)
    return _counted(books, witness, clients)


async def _leave(api: Api, client: _Client, model: str, text: str) -> None:
    """Ask, take what comes for a while, and be gone."""
    body: dict[str, Any] = {"model": model, "stream": client.stream}
    if client.dialect == "openai_responses":
        body |= {"input": text, "max_output_tokens": 400, "store": False}
    else:
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 400}
    encoded = msgspec.json.encode(body)
    lines = (
        f"POST {PATHS[client.dialect]} HTTP/1.1",
        "host: localhost",
        f"x-api-key: {api.key}",
        f"headrace-conversation-id: {client.name}",
        f"content-length: {len(encoded)}",
        "",
        "",
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write("\r\n".join(lines).encode() + encoded)
    try:
        async with asyncio.timeout(client.after_s):
            while await reader.read(4096):
                continue
    except TimeoutError:
        pass
    writer.transport.abort()


def _counted(books: Books, witness: Witness, clients: int) -> Tally:
    tally = Tally(clients)
    names = {opened.id: opened.conversation_id or "" for opened in books.opened}
    for closed in books.closed:
        name, usage = names[closed.id], closed.usage
        assert usage is not None
        late = witness.late.get(name, 0)
        tally.calls += 1
        tally.cancelled += closed.stop == "cancelled"
        tally.billed_tokens += usage.output
        tally.unbilled_tokens += closed.unbilled_tokens
        tally.unbilled_most = max(tally.unbilled_most, closed.unbilled_tokens)
        price = usage.input * RATES.input + usage.output * RATES.output
        exact = (usage.output, closed.unbilled_tokens, closed.price_nano * 1_000_000)
        if exact != (witness.made.get(name, 0), late, price):
            tally.wrong.append(f"{name}: {closed}, made {witness.made.get(name)}, late {late}")
    return tally
