"""What `headrace up` costs: CPU to ready, and memory, of the gateway and of its engine.

Starts the installed default model several times on a data folder of its own and prints a table.
The first start, which fetches the model and measures its speed, is not counted.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from headrace.config.runfile import RunFile, read_live

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cost(msgspec.Struct):
    """Of one start."""

    gateway_cpu_s: float
    engine_cpu_s: float
    wall_s: float
    gateway_rss_mb: float
    engine_rss_mb: float


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def start(data: Path) -> tuple[subprocess.Popen[bytes], RunFile, float]:
    command = [sys.executable, "-m", "headrace", "up", "--yes", "--no-browser", "--port", "0"]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--data", str(data)], stdout=subprocess.DEVNULL)
    while (run := read_live(data)) is None:
        if process.poll() is not None:
            raise SystemExit("headrace up did not start")
        time.sleep(0.01)
    return process, run, time.monotonic() - began


def measure(data: Path) -> Cost:
    process, run, wall_s = start(data)
    engines = children(run.pid)
    cost = Cost(
        cpu_s(run.pid),
        sum(cpu_s(pid) for pid in engines),
        wall_s,
        rss_mb(run.pid),
        sum(rss_mb(pid) for pid in engines),
    )
    process.send_signal(signal.SIGINT)
    process.wait()
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, help="a data folder that has the model already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "data"
        process, _, _ = start(data)
        process.send_signal(signal.SIGINT)
        process.wait()
        costs = [measure(data) for _ in range(options.repeats)]
    print(f"{'':<24}{'median':>10}{'worst':>10}")
    for name in Cost.__struct_fields__:
        values = [getattr(cost, name) for cost in costs]
        print(f"{name:<24}{statistics.median(values):>10.2f}{max(values):>10.2f}")


if __name__ == "__main__":
    main()
