"""Shares of a machine's time: they sum to its busy time, to the nanosecond."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.clock import ManualClock, SystemClock
from headrace.ledger.share_clock import Share, ShareClock

_STEPS = st.lists(
    st.tuples(st.sampled_from(("begin", "end", "first", "wait")), st.integers(0, 10**9)),
    max_size=60,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shares.page"


def _opened(path: Path, clock: ManualClock, slot: int = 0, slots: int = 1) -> ShareClock:
    return ShareClock(path, ("local", "gpu"), clock, slot=slot, slots=slots)


@given(_STEPS)
def test_shares_sum_to_the_busy_time_and_are_fair(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock()
        shares = _opened(Path(folder) / "shares.page", clock)
        running: list[tuple[Share, list[Fraction]]] = []
        ended: list[tuple[Share, list[Fraction]]] = []
        busy_ns = 0
        for step, number in steps:
            if step == "begin":
                running.append((shares.begin("local"), []))
            elif step == "end" and running:
                one = running.pop(number % len(running))
                one[0].end()
                ended.append(one)
            elif step == "first" and running:
                running[number % len(running)][0].first_token()
            elif step == "wait":
                clock.move(number)
                busy_ns += number if running else 0
                for _, parts in running:
                    parts.append(Fraction(number, len(running)))
        for one in running:
            one[0].end()
            ended.append(one)
        assert sum(share.machine_ns or 0 for share, _ in ended) == busy_ns
        assert shares.busy_ns("local") == busy_ns
        assert shares.busy_ns("gpu") == 0
        assert shares.running("local") == 0
        for share, parts in ended:
            assert share.machine_ns is not None
            # What does not divide waits: a nanosecond for each other call at most.
            assert abs(share.machine_ns - sum(parts)) <= len(ended)
            assert 0 <= share.prefill_ns <= share.machine_ns
        shares.close()


def test_prefill_is_what_passed_before_the_first_token(path: Path) -> None:
    clock = ManualClock()
    shares = _opened(path, clock)
    share = shares.begin("gpu")
    clock.move(30)
    share.first_token()
    clock.move(10)
    share.first_token()
    share.end()
    clock.move(10)
    share.end()
    assert (share.machine_ns, share.prefill_ns) == (40, 30)


def test_a_call_without_a_token_is_prefill_alone(path: Path) -> None:
    clock = ManualClock()
    share = _opened(path, clock).begin("gpu")
    clock.move(30)
    share.end()
    assert (share.machine_ns, share.prefill_ns) == (30, 30)


@pytest.fixture
def two(path: Path) -> Iterator[tuple[ManualClock, ShareClock, ShareClock]]:
    clock = ManualClock()
    control = _opened(path, clock, 0, 2)
    worker = _opened(path, clock, 1, 2)
    yield clock, control, worker
    control.close()
    worker.close()


def test_processes_share_a_machine(two: tuple[ManualClock, ShareClock, ShareClock]) -> None:
    clock, control, worker = two
    one = control.begin("gpu")
    clock.move(10)
    other = worker.begin("gpu")
    clock.move(10)
    one.end()
    clock.move(10)
    other.end()
    assert (one.machine_ns, other.machine_ns) == (15, 15)
    assert control.busy_ns("gpu") == 30


def test_calls_of_a_killed_process_count_no_more(
    two: tuple[ManualClock, ShareClock, ShareClock], path: Path
) -> None:
    clock, control, _ = two
    child = subprocess.Popen(
        [sys.executable, "-c", _FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    assert control.running("gpu") == 3
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert control.running("gpu") == 3
    _opened(path, clock, 1, 2).close()
    assert control.running("gpu") == 0
    share = control.begin("gpu")
    clock.move(10)
    share.end()
    assert share.machine_ns == 10


def test_the_control_process_begins_anew(path: Path) -> None:
    clock = ManualClock()
    clock.move(1_000)
    before = _opened(path, clock)
    before.begin("gpu")
    clock.move(500)
    # Another start of the system: its monotonic clock is another one.
    after = _opened(path, ManualClock())
    assert (after.busy_ns("gpu"), after.running("gpu")) == (0, 0)


_FOREVER = """
import sys, time
from pathlib import Path
from headrace.core.clock import ManualClock, SystemClock
from headrace.ledger.share_clock import ShareClock
shares = ShareClock(Path(sys.argv[1]), ("local", "gpu"), ManualClock(), slot=1, slots=2)
held = [shares.begin("gpu") for _ in range(3)]
print("running", flush=True)
time.sleep(60)
"""


def test_processes_that_come_and_go_at_once_lose_no_nanosecond(path: Path) -> None:
    clock = SystemClock()
    control = ShareClock(path, ("local", "gpu"), clock, slot=0, slots=4)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _BUSY, str(path), str(slot)], stdout=subprocess.PIPE, text=True
        )
        for slot in (1, 2, 3)
    ]
    shares = sum(int(child.communicate()[0]) for child in children)
    assert [child.returncode for child in children] == [0, 0, 0]
    assert control.running("gpu") == 0
    assert shares == control.busy_ns("gpu") > 0
    control.close()


_BUSY = """
import random, sys
from pathlib import Path
from headrace.core.clock import SystemClock
from headrace.ledger.share_clock import ShareClock
slot = int(sys.argv[2])
draw = random.Random(slot)
shares = ShareClock(Path(sys.argv[1]), ("local", "gpu"), SystemClock(), slot=slot, slots=4)
running, total = [], 0
for _ in range(3_000):
    if running and draw.random() < 0.5:
        one = running.pop(draw.randrange(len(running)))
        one.end()
        total += one.machine_ns
    else:
        running.append(shares.begin("gpu"))
for one in running:
    one.end()
    total += one.machine_ns
print(total)
"""
