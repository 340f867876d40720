"""What earlier tries of a piece of work were charged, whose receipts name it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.ledger import reader
from headrace.ledger.chain import Position
from headrace.ledger.projection import name_of
from headrace.ledger.records import GenerationClosed, GenerationOpened, decode
from headrace.store import generations
from headrace.store.database import Database

Charged = Callable[[str], Awaitable[int]]
"""What the calls of a piece of work were charged until now, in nano-dollars."""


class Tries:
    """Knows what was charged for work that is tried again.

    Args:
        database: Holds the receipts.
        directory: Holds the journals, which know calls that are no rows yet.
    """

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    async def charged(self, work_id: str) -> int:
        """Nano-dollars that the calls whose `idempotency_id` this is were charged.

        Raises:
            StoreError: The database or a journal cannot be read.
        """
        return await self._database.read(
            lambda connection: _charged(connection, self._directory, work_id)
        )


def _charged(connection: Connection, directory: Path, work_id: str) -> int:
    # The journals first: what becomes a row meanwhile is then seen twice, and not missed.
    tails = [_tail(connection, directory, name, work_id) for name in reader.workers(directory)]
    prices = generations.of_work(connection, work_id)
    for begun in (tail.begun for tail in tails):
        prices |= {identifier: prices.get(identifier, 0) for identifier in begun}
    for ended in (tail.ended for tail in tails):
        prices |= {identifier: price for identifier, price in ended.items() if identifier in prices}
    return sum(prices.values())


class _Tail(NamedTuple):
    """What a journal says beyond its rows: calls of the work, and what any calls were charged."""

    begun: set[str]
    ended: dict[str, int]


def _tail(connection: Connection, directory: Path, worker: str, work_id: str) -> _Tail:
    known = generations.position(connection, name_of(worker))
    after = None if known is None else msgspec.json.decode(known, type=Position)
    tail = _Tail(set(), {})
    for record in reader.read(directory, worker, after):
        said = decode(record)
        if isinstance(said, GenerationOpened):
            if said.idempotency_id == work_id:
                tail.begun.add(said.id)
        elif isinstance(said, GenerationClosed) and said.price_nano:
            tail.ended.setdefault(said.id, said.price_nano)
    return tail
