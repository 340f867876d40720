"""Clients that repeat their requests under one idempotency key, through hang-ups and crashes.

Shared by a test of some and `bench/idempotency.py`, which does ten thousand.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from headrace.ledger import reader
from headrace.ledger.records import GenerationClosed, GenerationOpened, decode
from headrace.net import operator
from support.running import Running, write_script

DUPLICATES = 20
SCRIPT = {
    "model": {"id": "parrot"},
    "turns": [{"match": {"user": "."}, "steps": [{"text": "word " * 12, "token_delay_ms": 2}]}],
}
_RATES = {"input": "1", "output": "4"}
_AT_ONCE = 32
_PAUSE_S = 0.02


class Tally(msgspec.Struct):
    """What came of it. `charged` counts keys by what they were charged, in nano-dollars."""

    requests: int = 0
    hang_ups: int = 0
    kills: int = 0
    generations: int = 0
    charged: dict[int, int] = {}
    differing: int = 0


class Retries:
    """A Headrace that is killed again and again, and clients that do not give up.

    Args:
        folder: Where it keeps its data.
        keys: How many idempotency keys, each sent by `DUPLICATES` clients.
        kills: How often it dies.
        seed: Of hang-ups and deaths.
    """

    def __init__(self, folder: Path, *, keys: int, kills: int, seed: int) -> None:
        self._data = folder / "data"
        self._script = write_script(folder / "script.json", SCRIPT)
        self._keys = keys
        self._kills = kills
        self._chance = random.Random(seed)
        self._running = Running(self._data, self._script)
        self._key = self._running.key
        self._url = self._running.url
        self._bodies: dict[str, set[bytes]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.tally = Tally()

    async def run(self) -> Tally:
        """Do it all."""
        price = {"side": "price", "target": "parrot", "rates": _RATES}
        await asyncio.to_thread(
            operator.ask, self._running.run_file, "POST", "/admin/prices", price
        )
        killer = asyncio.create_task(self._kill())
        names = [f"key-{number}" for number in range(self._keys)] * DUPLICATES
        self._chance.shuffle(names)
        await asyncio.gather(*map(self._client, names))
        killer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killer
        await asyncio.to_thread(self._running.stop)
        self._count()
        return self.tally

    async def _kill(self) -> None:
        for number in range(self._kills):
            # By requests: whoever counts seconds comes too late on a fast machine.
            part = (number + self._chance.random()) / self._kills
            while self.tally.requests < part * self._keys * DUPLICATES:
                await asyncio.sleep(_PAUSE_S)
            starting = asyncio.create_task(asyncio.to_thread(self._start_again))
            await asyncio.shield(starting)

    def _start_again(self) -> None:
        self._running.kill()
        self.tally.kills += 1
        self._running = Running(self._data, self._script)
        self._url = self._running.url

    async def _client(self, name: str) -> None:
        """Ask until there is an answer."""
        async with self._room:
            while not await self._try(name):
                await asyncio.sleep(_PAUSE_S)

    async def _try(self, name: str) -> bool:
        self.tally.requests += 1
        body = {"model": "parrot", "messages": [{"role": "user", "content": "Tell"}]}
        given = {"authorization": f"Bearer {self._key}", "idempotency-key": name}
        patience_s = self._chance.choice((30.0, 30.0, 30.0, self._chance.uniform(0, 0.06)))
        try:
            async with asyncio.timeout(patience_s):
                status, reply = await _post(self._url, given, msgspec.json.encode(body))
        except TimeoutError:
            self.tally.hang_ups += 1
            return False
        except (OSError, ValueError, IndexError):
            return False  # it died meanwhile
        if status != 200:
            return False
        self._bodies.setdefault(name, set()).add(reply)
        return True

    def _count(self) -> None:
        charged: Counter[str] = Counter()
        work: dict[str, str] = {}
        for record in reader.read(self._data / "journal", "control", None):
            said = decode(record)
            if isinstance(said, GenerationOpened):
                assert said.idempotency_id is not None
                work[said.id] = said.idempotency_id
            elif isinstance(said, GenerationClosed):
                charged[work[said.id]] += said.price_nano
        self.tally.generations = len(work)
        self.tally.charged = dict(Counter(charged.values()))
        self.tally.differing = sum(len(bodies) != 1 for bodies in self._bodies.values())


async def _post(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """One call on a connection of its own, which is dropped however this ends."""
    given = {"host": "localhost", "connection": "close", "content-length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in (given | dict(headers)).items()]
    head = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *lines, "", ""])
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        writer.write(head.encode() + body)
        answer = await reader.read()
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    first, _, content = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), content
