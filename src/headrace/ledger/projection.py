"""Projector: turns the journals into rows, in batches, each record once.

A batch and how far it reaches are one transaction, so a crash at any instant leaves both or
neither. The database never runs ahead of the disk: the journal is synced up to the end of a
batch before the batch is written, or a power cut could leave rows whose records are gone.
"""

import asyncio
import logging
from itertools import islice

import msgspec
from sqlalchemy import Connection

from headrace.ledger import reader
from headrace.ledger.chain import Position
from headrace.ledger.journal import Journal
from headrace.ledger.records import (
    CLOSED,
    INTERRUPTED,
    GenerationClosed,
    Said,
    decode,
)
from headrace.ledger.rows import write
from headrace.ledger.segments import path_of, sync_path
from headrace.store import generations
from headrace.store.database import Database

_BATCH_RECORDS = 4_000
# Small batches cost several times as much for each record.
_GATHER_S = 0.5
_POLL_OTHERS_S = 0.25
_POLL_ALONE_S = 5.0
_RETRY_S = 1.0
_RETRY_S_MAX = 60.0

_log = logging.getLogger(__name__)


class Batch(msgspec.Struct, frozen=True):
    """Records of one worker's journal, ready to be written; `full`: more may stand behind."""

    name: str
    before: str | None
    after: str
    worker: str
    said: tuple[Said, ...]
    full: bool


class Projector:
    """Keeps the rows of all journals in a folder up to date.

    Args:
        database: Where the rows go.
        journal: This process's own journal; its folder holds those of other workers too.
    """

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._directory = journal.directory
        self._positions: dict[str, str | None] = {}

    async def run(self) -> None:
        """Follow the journals until cancelled, about half a second behind."""
        appended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._journal.watch(lambda: _wake(loop, appended))
        retry_s = _RETRY_S
        while True:
            appended.clear()
            try:
                alone = await self.catch_up() <= 1
            except Exception:  # noqa: BLE001 - receipts may wait, but must come at last
                _log.exception("receipts wait: the journal cannot be brought into the database")
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S_MAX)
                continue
            retry_s = _RETRY_S
            try:
                # Not `wait_for`, which before Python 3.12 may miss a cancel in this very moment.
                async with asyncio.timeout(_POLL_ALONE_S if alone else _POLL_OTHERS_S):
                    await appended.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_GATHER_S)

    async def catch_up(self) -> int:
        """Bring the rows up to the journals' present ends; returns how many journals there are.

        Raises:
            StoreError: A chain is broken, or the disk or database refuses.
        """
        workers = await asyncio.to_thread(reader.workers, self._directory)
        for worker in workers:
            while await self._advance(worker):
                pass
        return len(workers)

    async def close_open(self) -> int:
        """Close the generations that this worker's dead predecessor left open.

        Called once, before the first request: whoever holds the journal knows that no other
        process runs them. What they used is not known. Returns how many there were.
        """
        await self.catch_up()
        worker = self._journal.worker
        left = await self._database.read(
            lambda connection: generations.unfinished(connection, worker)
        )
        for identifier in left:
            closed = GenerationClosed(id=identifier, stop=INTERRUPTED)
            self._journal.append(CLOSED, closed)
        if left:
            await self._journal.durable(self._journal.last)
            await self.catch_up()
        return len(left)

    async def _advance(self, worker: str) -> bool:
        """Write one batch; whether there may be more to write."""
        name = name_of(worker)
        if name not in self._positions:
            self._positions[name] = await self._database.read(
                lambda connection: generations.position(connection, name)
            )
        batch = await asyncio.to_thread(self._collect, worker, self._positions[name])
        if batch is None:
            return False
        if await self._database.write(lambda connection: _write(connection, batch)):
            self._positions[name] = batch.after
        else:
            del self._positions[name]  # another process was faster; look again
            return True
        return batch.full

    def _collect(self, worker: str, before: str | None) -> Batch | None:
        after = None if before is None else msgspec.json.decode(before, type=Position)
        records = list(islice(reader.read(self._directory, worker, after), _BATCH_RECORDS))
        if not records:
            return None
        said = tuple(one for one in map(decode, records) if one is not None)
        reached = records[-1].position
        sync_path(path_of(self._directory, worker, reached.segment))
        encoded = msgspec.json.encode(reached).decode()
        full = len(records) == _BATCH_RECORDS
        return Batch(name_of(worker), before, encoded, worker, said, full)


def name_of(worker: str) -> str:
    """The name of the projection of a worker's journal."""
    return f"generation:{worker}"


def _write(connection: Connection, batch: Batch) -> bool:
    if not generations.move(connection, batch.name, batch.before, batch.after):
        return False
    write(connection, batch.worker, batch.said)
    return True


def _wake(loop: asyncio.AbstractEventLoop, appended: asyncio.Event) -> None:
    if not appended.is_set() and not loop.is_closed():
        loop.call_soon_threadsafe(appended.set)
