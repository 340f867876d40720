"""What the journal costs: appends, and appends that wait for the disk, alone and together.

usage: python bench/journal.py [FOLDER]        (default: a temporary folder)
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.core.clock import SystemClock
from headrace.core.models import Usage
from headrace.ledger.journal import Journal
from headrace.ledger.reader import verify
from headrace.ledger.records import CLOSED, GenerationClosed

_APPENDS = 20_000
_SECONDS = 2.0
_RECORD = GenerationClosed(
    id="01900000-0000-7000-8000-000000000000",
    stop="end",
    usage=Usage(1_000, 800, 200, 0),
    first_token_ms=80,
    duration_ms=1_200,
)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        print(f"{'what':<34}{'records/s':>12}{'CPU us/record':>16}")
        journal = Journal.open(folder, "bench", SystemClock())
        _appends(journal)
        for waiters in (1, 8, 64, 256):
            asyncio.run(_durable(journal, waiters))
        journal.close()
        _row("open: check the last segment", journal.last.seq, lambda: _reopen(folder))
        _row("verify: check everything", journal.last.seq, lambda: verify(folder))


def _appends(journal: Journal) -> None:
    def work() -> None:
        for _ in range(_APPENDS):
            journal.append(CLOSED, _RECORD)

    _row("append", _APPENDS, work)


async def _durable(journal: Journal, waiters: int) -> None:
    done = 0
    until = time.perf_counter() + _SECONDS

    async def wait() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await journal.durable(journal.append(CLOSED, _RECORD))
            done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(wait() for _ in range(waiters)))
    _print(f"append and durable, {waiters} at once", done, started, cpu)


def _reopen(folder: Path) -> None:
    Journal.open(folder, "bench", SystemClock()).close()


def _row(what: str, records: int, work: Callable[[], object]) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    work()
    _print(what, records, started, cpu)


def _print(what: str, records: int, started: float, cpu: float) -> None:
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    print(f"{what:<34}{records / wall:>12,.0f}{used / records * 1e6:>16.1f}")


if __name__ == "__main__":
    main()
