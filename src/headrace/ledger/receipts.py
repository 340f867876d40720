"""Receipts: rows of the database, completed by what the journal says beyond them.

So a receipt is there as soon as its call is, also before the projector has seen it.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from headrace.core.errors import NotFound
from headrace.core.scope import Scope
from headrace.ledger import chain, reader
from headrace.ledger.chain import Position
from headrace.ledger.projection import name_of
from headrace.ledger.records import (
    CLOSED,
    INTERRUPTED,
    Entry,
    GenerationClosed,
    GenerationOpened,
    decode,
)
from headrace.ledger.rows import ending_of, generation_of
from headrace.store import generations
from headrace.store.generations import Ending, Generation
from headrace.store.visibility import sees_figures

_NS_PER_MS = 1_000_000
# Two clocks tell when a call ended: its own, and that of its record.
_EARLIER_NS = 2_000_000_000
_SEARCHED_BYTES = 64 * 1024 * 1024


def find(connection: Connection, directory: Path, scope: Scope, identifier: str) -> Generation:
    """One receipt. `directory` holds the journals.

    Raises:
        NotFound: There is none that `scope` may see.
    """
    row = generations.get(connection, scope, identifier)
    if row is not None and row.stop is not None:
        return row
    tail = _Tail(connection, directory, scope)
    found = tail.complete(row) if row is not None else tail.begun.get(identifier)
    if found is None:
        raise NotFound(f"there is no receipt {identifier}")
    return found


def recent(
    connection: Connection, directory: Path, scope: Scope, *, limit: int
) -> tuple[Generation, ...]:
    """The newest receipts that `scope` may see, newest first."""
    rows = generations.recent(connection, scope, limit=limit)
    tail = _Tail(connection, directory, scope)
    found = {row.id: tail.complete(row) for row in rows} | tail.begun
    newest = sorted(found.values(), key=lambda one: one.id, reverse=True)
    return tuple(newest[:limit])


def entries(directory: Path, call: Generation) -> tuple[Entry, ...] | None:
    """What a call that has ended wrote into the books, as its journal has it.

    None while it runs, and where it does not stand about the time of its end: the clock was put
    right meanwhile.
    """
    if call.stop is None:
        return None
    if call.stop == INTERRUPTED:
        return ()  # nobody knows what it used
    ended_ns = call.started_ns + (call.duration_ms or 0) * _NS_PER_MS
    mark = f'"data":{{"id":"{call.id}",'.encode()
    from_ns = ended_ns - _EARLIER_NS
    for line in reader.lines_from(directory, call.worker, from_ns, bytes_max=_SEARCHED_BYTES):
        record = chain.glance(line) if mark in line else None
        if record is not None and record.kind == CLOSED:
            said = decode(record)
            return said.entries if isinstance(said, GenerationClosed) else None
    return None


class _Tail:
    """What the journals say behind the last projected record."""

    def __init__(self, connection: Connection, directory: Path, scope: Scope) -> None:
        self.begun: dict[str, Generation] = {}
        self._ended: dict[str, Ending] = {}
        sees_all = sees_figures(connection, scope)
        for worker in reader.workers(directory):
            for one in _behind(connection, directory, worker):
                if isinstance(one, Ending):
                    self._ended.setdefault(one.id, one)
                elif one.organisation_id == scope.organisation_id and (
                    sees_all or one.account_id == scope.account_id
                ):
                    self.begun.setdefault(one.id, one)
        self.begun = {one.id: self.complete(one) for one in self.begun.values()}

    def complete(self, row: Generation) -> Generation:
        """The row with its ending, if the journal knows one."""
        ending = self._ended.get(row.id) if row.stop is None else None
        if ending is None:
            return row
        return ending.over(row)


def _behind(connection: Connection, directory: Path, worker: str) -> Iterator[Generation | Ending]:
    known = generations.position(connection, name_of(worker))
    after = None if known is None else msgspec.json.decode(known, type=Position)
    for record in reader.read(directory, worker, after):
        said = decode(record)
        if isinstance(said, GenerationOpened):
            yield generation_of(said, worker)
        elif isinstance(said, GenerationClosed):
            yield ending_of(said)
