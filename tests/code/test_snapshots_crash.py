"""Killed at any moment, in mid-take or mid-restore: nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.code.snapshots import Snapshots
from headrace.core.clock import SystemClock
from support.trees import tree_of

TAKES = """
import os, sys
from pathlib import Path
from headrace.code.snapshots import Snapshots
from headrace.core.clock import SystemClock
work, kept = Path(sys.argv[1]), Path(sys.argv[2])
snapshots = Snapshots(work, kept, SystemClock())
number = 0
while True:
    number += 1
    for each in range(20):
        (work / f"file{each}").write_bytes(os.urandom(30_000) + str(number).encode())
    print(snapshots.take_now(str(number)), number, flush=True)
"""

RESTORES = """
import sys, time
from pathlib import Path
from headrace.code.snapshots import Snapshots
from headrace.core.clock import SystemClock
def step():
    print("step", flush=True)
    time.sleep(0.002)
snapshots = Snapshots(Path(sys.argv[1]), Path(sys.argv[2]), SystemClock(), step=step)
snapshots.restore_now(sys.argv[3])
print("done", flush=True)
time.sleep(60)
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def killed(child: subprocess.Popen[str]) -> str:
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate(timeout=10)
    return rest


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_in_mid_take_loses_no_snapshot_that_was_told(tmp_path: Path, seed: int):
    drawn = random.Random(seed)
    work, kept = tmp_path / "work", tmp_path / "kept"
    work.mkdir()
    child = started(TAKES, work, kept)
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(drawn.random() * 0.2)
    lines = [line.split() for line in (first + killed(child)).splitlines() if line[-1:].isdigit()]
    now = tree_of(work)

    snapshots = Snapshots(work, kept, SystemClock())
    snapshots.take_now("after the crash")
    assert tree_of(work) == now
    for snapshot_id, number in lines[-3:]:
        snapshots.restore_now(snapshot_id)
        endings = {path.read_bytes()[30_000:] for path in work.iterdir()}
        assert endings == {number.encode()}


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 33, 50])
def test_a_kill_in_mid_restore_can_be_finished_or_undone(tmp_path: Path, steps: int):
    work, kept = tmp_path / "work", tmp_path / "kept"
    target, before = changed_much(work, kept)
    child = started(RESTORES, work, kept, target.id)
    assert child.stdout is not None
    for _ in range(steps):
        child.stdout.readline()
    killed(child)
    assert tree_of(work) not in (before.tree, target.tree) or steps == 1

    snapshots = Snapshots(work, kept, SystemClock())
    assert snapshots.unfinished() == (target.id, before.id)
    undo = steps % 2
    wanted = before if undo else target
    snapshots.restore_now(wanted.id)
    assert tree_of(work) == wanted.tree
    assert snapshots.unfinished() is None
    other = target if undo else before
    snapshots.restore_now(other.id)
    assert tree_of(work) == other.tree


class Was:
    def __init__(self, snapshots: Snapshots, work: Path) -> None:
        self.id = snapshots.take_now("now")
        self.tree = tree_of(work)


def changed_much(work: Path, kept: Path) -> tuple[Was, Was]:
    """A tree as it was, and as it is now."""
    for folder in range(5):
        (work / f"folder{folder}").mkdir(parents=True)
        for number in range(10):
            (work / f"folder{folder}" / f"file{number}").write_bytes(os.urandom(5_000))
    snapshots = Snapshots(work, kept, SystemClock())
    old = Was(snapshots, work)
    for folder in range(5):
        (work / f"folder{folder}" / "new").write_bytes(os.urandom(100))
        for number in range(8):
            (work / f"folder{folder}" / f"file{number}").write_bytes(os.urandom(3_000))
        (work / f"folder{folder}" / "file8").unlink()
        (work / f"folder{folder}" / "file9").rename(work / f"folder{folder}" / "file8")
    return old, Was(snapshots, work)
