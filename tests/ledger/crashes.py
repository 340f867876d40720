"""Kills writers at random instants and checks what they left. A program for the crash tests.

usage: crashes.py journal|projection FOLDER POINTS SEED

A child that this program forks writes, and acknowledges on a pipe what it was told is safe.
It is killed with SIGKILL somewhere after a random acknowledgement. Then everything
acknowledged must be there once, and the chain must hold. Forking keeps a point cheap: the
imports are done once. Prints how many records were acknowledged and survived.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from headrace.core.clock import SystemClock
from headrace.core.scope import Scope
from headrace.ledger.journal import Journal
from headrace.ledger.meter import Meter
from headrace.ledger.projection import Projector
from headrace.ledger.reader import read, verify
from headrace.store import schema
from headrace.store.database import Database
from support.journals import Note, closed, opened

_SEGMENT_BYTES = 20_000
_SCOPE = Scope("acme", "ada")

Writer = Callable[[Path, Callable[[str], None], int], Coroutine[None, None, None]]


def _open(folder: Path) -> Journal:
    return Journal.open(folder, "control", SystemClock(), segment_bytes=_SEGMENT_BYTES)


async def _write_notes(folder: Path, acknowledge: Callable[[str], None], seed: int) -> None:
    """Acknowledges the number of each note whose append, or sync, has returned."""
    chance = random.Random(seed)
    journal = _open(folder)
    for number in range(seed * 1_000_000, (seed + 1) * 1_000_000):
        position = journal.append("test.note", Note(number, "x" * chance.randrange(400)))
        if chance.random() < 0.3:
            await journal.durable(position)
        acknowledge(str(number))


async def _make_calls(folder: Path, acknowledge: Callable[[str], None], seed: int) -> None:
    """Acknowledges the id of each call whose durable close has returned."""
    database = Database.at(folder, None)
    journal = _open(folder)
    meter, projector = Meter(journal), Projector(database, journal)
    await projector.close_open()
    running = asyncio.create_task(projector.run())

    async def calls(lane: int) -> None:
        for number in range(1_000_000):
            identifier = f"{seed:04d}-{lane}-{number:06d}"
            meter.open(opened(identifier, _SCOPE))
            await asyncio.sleep(0)
            await meter.close(closed(identifier))
            acknowledge(identifier)

    await asyncio.gather(running, *(calls(lane) for lane in range(3)))


def _crash(work: Writer, folder: Path, seed: int) -> list[str]:
    """Fork a child that works, kill it, and return what it had acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def acknowledge(word: str) -> None:
            os.write(writing, f"{word}\n".encode())

        asyncio.run(work(folder, acknowledge, seed))
        os._exit(1)
    os.close(writing)
    chance = random.Random(-seed - 1)
    with os.fdopen(reading, "rb") as pipe:
        heard = b""
        for _ in range(chance.randrange(1, 60)):
            heard += pipe.readline()
        time.sleep(chance.random() * 0.004)
        os.kill(child, signal.SIGKILL)
        heard += pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"the writer of point {seed} ended by itself: {status}")
    return heard.decode().split()


def _check_notes(folder: Path, acknowledged: set[str]) -> None:
    _open(folder).close()
    kept = [str(msgspec.json.decode(one.data, type=Note).number) for one in read(folder, "control")]
    _require(len(kept) == len(set(kept)), "a record is there twice")
    _require(acknowledged <= set(kept), "an acknowledged record is lost")
    _require(kept == sorted(kept, key=int), "records changed places")


def _check_calls(folder: Path, acknowledged: set[str]) -> None:
    asyncio.run(_recover(folder))
    database = Database.at(folder, None)

    def rows(connection: Connection) -> dict[str, str | None]:
        table = schema.generation.c
        return {row.id: row.stop for row in connection.execute(select(table.id, table.stop))}

    found = database.read_now(rows)
    database.close()
    begun = {
        msgspec.json.decode(one.data)["id"]
        for one in read(folder, "control")
        if one.kind == "generation.opened"
    }
    _require(begun == set(found), "calls and rows differ")
    _require(all(found[one] == "end" for one in acknowledged), "an acknowledged end is lost")
    _require(set(found.values()) <= {"end", "interrupted"}, "a call is left open")


async def _recover(folder: Path) -> None:
    database = Database.at(folder, None)
    journal = _open(folder)
    await Projector(database, journal).close_open()
    journal.close()
    database.close()


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        sys.exit(what)


def main() -> None:
    kind, folder, points, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    work, check = (_write_notes, _check_notes) if kind == "journal" else (_make_calls, _check_calls)
    if kind == "projection":
        database = Database.at(folder, None)
        database.migrate(SystemClock())
        database.close()
    acknowledged: set[str] = set()
    for point in range(seed, seed + points):
        acknowledged.update(_crash(work, folder, point))
        check(folder, acknowledged)
    problems = verify(folder)
    _require(not problems, "; ".join(problems))
    sys.stdout.write(f"{points} points, {len(acknowledged)} acknowledged, none lost\n")


if __name__ == "__main__":
    main()
