"""Fails the disk under a loaded ledger and checks what is left. A program for the fault tests.

usage: io_faults.py FOLDER POINTS SEED, with `faults.c` preloaded

A child that this program forks admits, opens and closes calls that are paid for, beside a
projector, and acknowledges each charge that it was told is safe. Somewhere in between writes or
syncs of the journal or the database begin to fail: the disk is full (ENOSPC), broken (EIO), or
takes half of a write. Then everything acknowledged must be there once and with its price, what
was not acknowledged must be there whole or not at all, and after a restart all of it must prove
right. Prints how many errors were met.
"""

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace.core.clock import SystemClock
from headrace.core.errors import StoreError
from headrace.core.ids import new_id
from headrace.core.models import Usage
from headrace.core.scope import Lineage
from headrace.ledger.chain import Position
from headrace.ledger.charge import Bounds
from headrace.ledger.journal import Journal
from headrace.ledger.limits import Limits
from headrace.ledger.meter import Meter
from headrace.ledger.price_book import PriceBook
from headrace.ledger.prices import Rates
from headrace.ledger.projection import Projector
from headrace.ledger.reader import read
from headrace.ledger.records import GenerationClosed, GenerationOpened, balanced, decode
from headrace.ledger.reservations import Reservations
from headrace.ledger.verify import verify
from headrace.store import budgets, limits
from headrace.store.accounts import Home
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.home import bootstrap
from headrace.store.limits import RateLimit

_SEGMENT_BYTES = 40_000
_MODEL = "tiny"
_LANES = 4
_CALLS_MAX = 60
_WRITES, _SYNCS = 1, 2
_FOR_EVER = 1 << 40
_VERIFIED_EVERY = 50
_HANGS_S = 60
_LIMIT_NANO = 10**15
_CLOCK = SystemClock()


class Fault(msgspec.Struct, frozen=True):
    """What fails: operations on files named `part`, from the `after`th on, `count` of them."""

    part: str
    operations: int
    after: int
    count: int
    error: int
    early: bool

    @classmethod
    def drawn(cls, chance: random.Random) -> "Fault":
        part = chance.choice(("/journal/", "/journal/", "/journal/", "/headrace.db", "/"))
        error = chance.choice((errno.ENOSPC, errno.EIO, 0))
        operations = _WRITES
        if error == errno.EIO:
            operations = chance.choice((_WRITES, _SYNCS, _WRITES | _SYNCS))
        return cls(
            part,
            operations,
            chance.randrange(60 if part != "/headrace.db" else 20),
            chance.choice((1, 1, 3, _FOR_EVER)),
            error,
            early=chance.random() < 0.15,
        )

    def arm(self, folder: Path) -> None:
        library = ctypes.CDLL(None)
        library.faults_arm.argtypes = (
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_int,
        )
        # Of the data folder alone: the acknowledgements must get through.
        part = f"{folder}{self.part}".encode()
        library.faults_arm(part, self.operations, self.after, self.count, self.error)


class Kept(msgspec.Struct):
    """What the journal is known to hold: calls, and what each was charged."""

    reached: Position | None = None
    opened: set[str] = set()
    charged: dict[str, int] = {}


def _settle_in(folder: Path) -> None:
    """A price, a budget and a limit that all calls meet."""
    database = Database.at(folder, None)
    database.migrate(_CLOCK)
    home = database.write_now(lambda connection: bootstrap(connection, _CLOCK))
    organisation = home.organisation_id
    budget = Budget(
        id=new_id(_CLOCK),
        organisation_id=organisation,
        node_kind="organisation",
        node_id=organisation,
        period="once",
        limit_nano=_LIMIT_NANO,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=_CLOCK.now_ns(),
    )
    limit = RateLimit("organisation", organisation, "concurrent", "now", 1_000)
    database.write_now(lambda connection: budgets.add(connection, home.owner, budget))
    database.write_now(lambda c: limits.put(c, home.owner, limit, created_ns=1))
    rates = Rates(input=3_000_000_000, output=15_000_000_000)
    asyncio.run(PriceBook(database, _CLOCK, home.owner).set("price", _MODEL, rates))
    database.close()


async def _make_calls(
    folder: Path, home: Home, acknowledge: Callable[[str], None], fault: Fault
) -> None:
    """Acknowledges the id and the price of each call whose close has returned."""
    if fault.early:
        fault.arm(folder)
    database = Database.at(folder, None)
    journal = _open(folder)
    projector = Projector(database, journal)
    await projector.close_open()
    prices = PriceBook(database, _CLOCK, home.owner)
    reservations = Reservations(database, journal, _CLOCK, alone=True)
    rates = Limits(database, folder / "limits.page", _CLOCK)
    for part in (prices, reservations, rates):
        await part.reload()
    meter = Meter(journal, prices=prices, reservations=reservations, limits=rates)
    running = asyncio.create_task(projector.run())
    if not fault.early:
        fault.arm(folder)
    lanes = (_calls(meter, home, acknowledge, number) for number in range(_LANES))
    await asyncio.gather(*lanes)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with contextlib.suppress(StoreError):
        await projector.catch_up()
    journal.close()
    database.close()


async def _calls(meter: Meter, home: Home, acknowledge: Callable[[str], None], lane: int) -> None:
    """Calls one after the other, until the journal refuses."""
    lineage = Lineage(home.organisation_id, None, home.owner_id, f"key-{lane}")
    with contextlib.suppress(StoreError):
        for number in range(_CALLS_MAX):
            usage = Usage(input=100 + number, output=10 * lane)
            at_ns = _CLOCK.now_ns()
            bounds = Bounds(input_tokens=200, input_tokens_max=200, output_tokens_max=100)
            charge = await meter.admit(lineage, _MODEL, bounds, at_ns=at_ns)
            opened = _opened(home, lineage, at_ns, charge.held_nano)
            meter.open(opened, charge)
            await asyncio.sleep(0)
            figures = meter.figures(charge, usage, at_ns=at_ns)
            closed = GenerationClosed(
                id=opened.id,
                stop="end",
                usage=usage,
                price_nano=figures.price_nano,
                entries=figures.entries,
                duration_ms=1,
            )
            await meter.close(closed, charge)
            acknowledge(f"{opened.id} {figures.price_nano}")


def _opened(home: Home, lineage: Lineage, at_ns: int, held_nano: int) -> GenerationOpened:
    return GenerationOpened(
        id=new_id(_CLOCK),
        organisation_id=home.organisation_id,
        account_id=home.owner_id,
        key_id=lineage.key_id,
        purpose="api",
        model_id=_MODEL,
        release_digest="sha256:" + "0" * 64,
        engine="scripted",
        dialect="openai_chat",
        started_ns=at_ns,
        held_nano=held_nano,
    )


def _open(folder: Path) -> Journal:
    return Journal.open(folder / "journal", "control", _CLOCK, segment_bytes=_SEGMENT_BYTES)


def _fail_once(folder: Path, home: Home, fault: Fault) -> tuple[dict[str, int], int]:
    """Fork a child whose disk fails: the charges it acknowledged, and how often it failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_the_child(folder, home, fault, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        words = [line.split() for line in pipe.read().decode().splitlines()]
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"the child ended with {status} at {fault}")
    safe: dict[str, int] = {}
    hits = 0
    for what, *rest in words:
        if what == "hits":
            hits = int(rest[0])
        elif what == "cut":
            os.truncate(rest[0], int(rest[1]))
        else:
            safe[what] = int(rest[0])
    return safe, hits


def _be_the_child(folder: Path, home: Home, fault: Fault, writing: int) -> None:
    logging.disable(logging.CRITICAL)
    faulthandler.dump_traceback_later(_HANGS_S, exit=True)

    def acknowledge(words: str) -> None:
        os.write(writing, f"{words}\n".encode())

    # An opening that fails is a start that is refused.
    with contextlib.suppress(StoreError, OSError):
        asyncio.run(_make_calls(folder, home, acknowledge, fault))
    library = ctypes.CDLL(None)
    library.faults_safe.argtypes = (ctypes.c_long,)
    library.faults_safe.restype = ctypes.c_long
    acknowledge(f"hits {library.faults_hits()}")
    # What was never brought to the disk goes, as in a power cut.
    for path in (folder / "journal").glob("*.jsonl"):
        size = library.faults_safe(path.stat().st_ino)
        if size >= 0:
            acknowledge(f"cut {path} {size}")
    os._exit(0)


async def _recover(folder: Path) -> None:
    """As a start does it."""
    database = Database.at(folder, None)
    journal = _open(folder)
    await Projector(database, journal).close_open()
    journal.close()
    database.close()


def _look(folder: Path, kept: Kept) -> None:
    """Read on where the last look ended: every call has one ending, and it balances."""
    for record in read(folder / "journal", "control", kept.reached):
        kept.reached = record.position
        said = decode(record)
        if isinstance(said, GenerationOpened):
            _require(said.id not in kept.opened, "a call began twice")
            kept.opened.add(said.id)
        elif isinstance(said, GenerationClosed):
            _require(said.id in kept.opened, "a call ended that never began")
            _require(said.id not in kept.charged, "a call was charged twice")
            _require(balanced(said.entries), "entries do not balance")
            kept.charged[said.id] = said.price_nano
    _require(kept.opened == kept.charged.keys(), "a call is left open")


def _prove(folder: Path) -> None:
    """Everything, from the first record on."""
    database = Database.at(folder, None)
    verdict = database.read_now(
        lambda connection: verify(connection, folder / "journal", lambda _: None)
    )
    database.close()
    _require(not verdict.problems, f"the books are wrong: {verdict.problems[:5]}")
    _require(verdict.open == 0, "calls are left open")


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        sys.exit(what)


def main() -> None:
    folder, points, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if not (folder / "headrace.db").exists():
        _settle_in(folder)
    database = Database.at(folder, None)
    home = database.read_now(lambda connection: bootstrap(connection, _CLOCK))
    database.close()
    kept, acknowledged = Kept(), 0
    met = tries = 0
    while met < points:
        tries += 1
        fault = Fault.drawn(random.Random(f"{seed} {tries}"))
        safe, hits = _fail_once(folder, home, fault)
        met += hits > 0
        acknowledged += len(safe)
        asyncio.run(_recover(folder))
        _look(folder, kept)
        lost = [one for one, nano in safe.items() if kept.charged.get(one) != nano]
        _require(not lost, f"acknowledged charges are lost or changed by {fault}: {lost}")
        if met == points or tries % _VERIFIED_EVERY == 0:
            _prove(folder)
    sys.stdout.write(f"{met} errors met, {acknowledged} charges acknowledged, none lost\n")


if __name__ == "__main__":
    main()
