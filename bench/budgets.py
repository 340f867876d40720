"""Budgets under many callers at once: never overshot, nearly all of it usable, and what it costs.

usage: python bench/budgets.py [FOLDER] [--calls N]        (default: a temporary folder)

Callers hold random amounts, are charged random parts of them, and go on until the budget refuses
them. Each line is written into FOLDER/budgets.json when it is there, and not measured again.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import BudgetSpent, RateLimited
from headrace.core.ids import new_id
from headrace.core.scope import Lineage
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.records import CLOSED, OPENED, GenerationClosed, GenerationOpened
from headrace.ledger.reservations import Reservations
from headrace.ledger.windows import span_of
from headrace.store import budgets
from headrace.store.accounts import Home
from headrace.store.budgets import Budget, BudgetPeriod, Span
from headrace.store.database import Database
from headrace.store.home import bootstrap

CALLERS = 256
_LOOPS = 200_000
_HOLD_NANO_MAX = 2_000_000


class Line(msgspec.Struct, frozen=True):
    """What one process did, or all together."""

    calls: int
    spent_nano: int
    cpu_s: float
    wall_s: float


def main() -> None:
    """Measure what is not measured yet, and print it."""
    flags = argparse.ArgumentParser()
    flags.add_argument("folder", nargs="?", type=Path)
    flags.add_argument("--calls", type=int, default=20_000, help="about so many fit the budget")
    flags.add_argument("--process", help=argparse.SUPPRESS)
    asked = flags.parse_args()
    if asked.process:
        print(msgspec.json.encode(asyncio.run(_serve(asked.folder, asked.process))).decode())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _measure_all(folder, asked.calls)


def _measure_all(folder: Path, calls: int) -> None:
    path = folder / "budgets.json"
    known = msgspec.json.decode(path.read_bytes(), type=dict[str, Line]) if path.exists() else {}
    limit_nano = calls * _HOLD_NANO_MAX // 4  # a call is charged a quarter of that on average
    print(f"{'callers':<24}{'calls':>9}{'spent of N':>14}{'of N usable':>13}{'calls/s':>9}")
    for processes in (1, 2):
        name = f"{CALLERS} in {processes} process{'es' if processes > 1 else ''}"
        if name not in known:
            known[name] = _crowd(folder / f"crowd-{processes}", processes, limit_nano)
            path.write_bytes(msgspec.json.encode(known))
        line = known[name]
        overshot = "OVERSHOT" if line.spent_nano > limit_nano else "within"
        usable = f"{100 * line.spent_nano / limit_nano:.3f} %"
        rate = line.calls / line.wall_s
        print(f"{name:<24}{line.calls:>9}{overshot:>14}{usable:>13}{rate:>9.0f}")
    print(f"\n{'budgets on the lineage':<24}{'CPU us per hold and settlement':>36}")
    for count in (0, 1, 2, 4):
        name = f"{count} budgets"
        if name not in known:
            known[name] = asyncio.run(_cost(folder / f"cost-{count}", count))
            path.write_bytes(msgspec.json.encode(known))
        print(f"{count:<24}{known[name].cpu_s / known[name].calls * 1e6:>36.2f}")


def _crowd(folder: Path, processes: int, limit_nano: int) -> Line:
    """All callers, parted among processes, on one budget."""
    clock = SystemClock()
    database, home = _move_in(folder, clock)
    made = _budget(clock, home, "month", limit_nano)
    database.write_now(lambda connection: budgets.add(connection, home.owner, made))
    journal = Journal.open(folder / "journal", "control", clock)
    started_s = time.perf_counter()
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), "--process", f"{number}of{processes}"],
            stdout=subprocess.PIPE,
        )
        for number in range(1, processes + 1)
    ]
    told = asyncio.run(_watch(children, Projector(database, journal)))
    wall_s = time.perf_counter() - started_s
    span = Span(home.organisation_id, *span_of("month", clock.now_ns()))
    rows = database.read_now(lambda connection: budgets.charged(connection, [span]))[span]
    journal.close()
    database.close()
    spent_nano = sum(rows.values())
    if spent_nano != sum(one.spent_nano for one in told):
        sys.exit("the rows do not say what was charged")
    return Line(sum(one.calls for one in told), spent_nano, sum(o.cpu_s for o in told), wall_s)


async def _watch(children: list[subprocess.Popen[bytes]], projector: Projector) -> list[Line]:
    """What the processes did, while their journals go into the database as they do in a server.

    A process is told that nothing is left only once the rows say what the others were charged.
    """
    task = asyncio.create_task(projector.run())
    ended = [asyncio.to_thread(child.communicate) for child in children]
    told = [msgspec.json.decode(out, type=Line) for out, _ in await asyncio.gather(*ended)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await projector.close_open()
    return told


async def _serve(folder: Path, name: str) -> Line:
    """One process of the crowd."""
    number, processes = (int(part) for part in name.split("of"))
    clock = SystemClock()
    database, home = _move_in(folder, clock)
    journal = Journal.open(folder / "journal", f"w{number}", clock)
    reservations = Reservations(database, journal, clock, alone=processes == 1)
    await reservations.reload()
    ticking = asyncio.create_task(reservations.run())
    started_s, cpu_s = time.perf_counter(), time.process_time()
    callers = [
        _call(reservations, journal, home, clock, random.Random(1_000 * number + one))
        for one in range(CALLERS // processes)
    ]
    done = await asyncio.gather(*callers)
    line = Line(
        sum(len(charges) for charges in done),
        sum(map(sum, done)),
        time.process_time() - cpu_s,
        time.perf_counter() - started_s,
    )
    await reservations.close()
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    await journal.durable(journal.last)
    journal.close()
    database.close()
    return line


async def _call(
    reservations: Reservations, journal: Journal, home: Home, clock: Clock, chance: random.Random
) -> list[int]:
    """Calls of one caller until the budget is spent; what each was charged."""
    lineage = Lineage(home.organisation_id, None, home.owner_id, "bench")
    charges: list[int] = []
    while True:
        at_ns = clock.now_ns()
        worst_nano = chance.randrange(1, _HOLD_NANO_MAX)
        hold = reservations.try_hold(lineage, at_ns, worst_nano, worst_nano)
        if hold is None:
            try:
                hold = await reservations.hold(lineage, at_ns, worst_nano, worst_nano)
            except BudgetSpent:
                return charges
            except RateLimited:
                continue
        opened = GenerationOpened(
            id=new_id(clock),
            organisation_id=lineage.organisation_id,
            account_id=lineage.account_id,
            key_id=lineage.key_id,
            purpose="api",
            model_id="bench",
            release_digest="sha256:0",
            engine="none",
            dialect="openai",
            started_ns=at_ns,
            held_nano=hold.nano,
        )
        journal.append(OPENED, opened)
        await asyncio.sleep(chance.random() * 0.02)
        price_nano = chance.randrange(hold.nano + 1)
        closed = GenerationClosed(id=opened.id, stop="end", price_nano=price_nano)
        journal.append(CLOSED, closed)
        reservations.settle(hold, price_nano)
        charges.append(price_nano)


async def _cost(folder: Path, count: int) -> Line:
    """What the usual hold and its settlement cost."""
    clock = SystemClock()
    database, home = _move_in(folder, clock)
    journal = Journal.open(folder / "journal", "control", clock)
    periods: tuple[BudgetPeriod, ...] = ("month", "day", "hour", "once")
    for period in periods[:count]:
        made = _budget(clock, home, period, 10**18)
        database.write_now(lambda connection, made=made: budgets.add(connection, home.owner, made))
    reservations = Reservations(database, journal, clock, alone=True)
    await reservations.reload()
    lineage = Lineage(home.organisation_id, None, home.owner_id, "bench")
    at_ns, started_s, cpu_s = clock.now_ns(), time.perf_counter(), time.process_time()
    for _ in range(_LOOPS):
        hold = reservations.try_hold(lineage, at_ns, 1_000, 1_000)
        if hold is None:
            sys.exit("the usual hold had to wait")
        reservations.settle(hold, 500)
    line = Line(_LOOPS, 500 * _LOOPS, time.process_time() - cpu_s, time.perf_counter() - started_s)
    journal.close()
    database.close()
    return line


def _move_in(folder: Path, clock: Clock) -> tuple[Database, Home]:
    database = Database.at(folder, None)
    database.migrate(clock)
    return database, database.write_now(lambda connection: bootstrap(connection, clock))


def _budget(clock: Clock, home: Home, period: BudgetPeriod, limit_nano: int) -> Budget:
    return Budget(
        id=new_id(clock),
        organisation_id=home.organisation_id,
        node_kind="organisation",
        node_id=home.organisation_id,
        period=period,
        limit_nano=limit_nano,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=clock.now_ns(),
    )


if __name__ == "__main__":
    main()
