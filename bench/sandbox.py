"""What the sandbox costs: milliseconds added to each command, and for looking through a tree.

Run: python bench/sandbox.py [COMMANDS]
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from headrace.safety.protected import PROTECTED_NAMES
from headrace.safety.sandbox.inventory import Inventory
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed


async def _times_ms(once: Callable[[], Awaitable[object]], count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await once()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def _row(name: str, times: list[float]) -> None:
    print(f"| {name} | {statistics.median(times):.1f} | {min(times):.1f} |")


async def _commands(folder: Path, count: int) -> None:
    workspace = folder / "ws"
    workspace.mkdir()
    policy = SandboxPolicy(workspace=workspace, state_folder=folder / "state")
    bare, held = Unsandboxed(policy, lambda _: True), Sandbox(policy)
    await held.run("true")
    print("| one `true` | p50 ms | min ms |\n|---|---|---|")
    # In turns, so that whatever else the machine does falls on both.
    pairs = [
        (await _times_ms(lambda: bare.run("true"), 1), await _times_ms(lambda: held.run("true"), 1))
        for _ in range(count)
    ]
    plain, sandboxed = [each[0][0] for each in pairs], [each[1][0] for each in pairs]
    _row("bare, with the same limits", plain)
    _row("in the sandbox", sandboxed)
    added_min = min(sandboxed) - min(plain)
    added_p50 = statistics.median(sandboxed) - statistics.median(plain)
    print(f"| added | {added_p50:.1f} | {added_min:.1f} |")
    await bare.close()
    await held.close()


def _tree(folder: Path, files: int) -> None:
    for number in range(files):
        path = folder / f"p{number // 500}" / f"d{number // 15}"
        path.mkdir(parents=True, exist_ok=True)
        (path / f"file_{number}.py").touch()


def _inventories(folder: Path) -> None:
    print("\n| inventory | first ms | again p50 ms | again min ms |\n|---|---|---|---|")
    for files in (1_000, 35_000):
        root = folder / str(files)
        _tree(root, files)
        time.sleep(0.1)
        inventory = Inventory((root,), PROTECTED_NAMES)
        times: list[float] = []
        for _ in range(15):
            began = time.perf_counter()
            inventory.look()
            times.append((time.perf_counter() - began) * 1e3)
        again = times[2:]
        print(
            f"| {files:,} files | {times[0]:.1f} | {statistics.median(again):.1f}"
            f" | {min(again):.1f} |"
        )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{probe().why}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        asyncio.run(_commands(folder, count))
        _inventories(folder)


if __name__ == "__main__":
    main()
