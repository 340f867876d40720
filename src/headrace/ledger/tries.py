"""What earlier tries of a piece of work were charged, whose receipts name it."""

from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.ledger import reader
from headrace.ledger.chain import Position
from headrace.ledger.projection import name_of
from headrace.ledger.records import GenerationClosed, GenerationOpened, decode
from headrace.store import generations


def charged(connection: Connection, directory: Path, work_id: str) -> int:
    """Nano-dollars that the calls of a piece of work were charged.

    Args:
        connection: To the database.
        directory: Holds the journals, which know calls that are no rows yet.
        work_id: `idempotency_id` of its calls.

    Raises:
        StoreError: A journal cannot be read.
    """
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
