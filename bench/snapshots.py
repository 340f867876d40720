"""What a snapshot costs: the first, the next without a change, and with one file changed.

The sandbox's inventory of protected names, which is taken beside each, stands in a row of its own.

    .venv/bin/python bench/snapshots.py [--runs 20] [--git]

Makes trees of 1,000 and of 35,000 files in a temporary folder, best and median of the runs; with
`--git` the same by a shadow git repository beside them.
"""

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.code.snapshots import Snapshots
from headrace.core.clock import SystemClock
from headrace.safety.sandbox.inventory import Inventory

_FILES_PER_FOLDER = 10
_FOLDERS_PER_PACKAGE = 40


def make(root: Path, files: int) -> None:
    """Python-like files of 5 to 150 lines, ten in a folder."""
    drawn = random.Random(1)
    for number in range(files):
        folder_number = number // _FILES_PER_FOLDER
        package, module = divmod(folder_number, _FOLDERS_PER_PACKAGE)
        folder = root / f"package{package}" / f"module{module}"
        if number % _FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        lines = (
            f"def f{n}(x): return x * {drawn.random()}\n" for n in range(drawn.randint(5, 150))
        )
        (folder / f"file{number}.py").write_text("".join(lines))


def times_ms(work: Callable[[], object], runs: int, before: Callable[[], object]) -> str:
    """Best and median of the runs."""
    taken: list[float] = []
    for _ in range(runs):
        before()
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return f"{min(taken):.1f} / {statistics.median(taken):.1f}"


def nothing() -> None:
    """Changes no file."""


def ours(root: Path, folder: Path, runs: int) -> list[str]:
    snapshots = Snapshots(root, folder, SystemClock())
    start = time.perf_counter()
    snapshots.take_now("first")
    first = f"{(time.perf_counter() - start) * 1000:.0f}"
    time.sleep(0.05)
    snapshots.take_now("settled")
    still = times_ms(lambda: snapshots.take_now("again"), runs, nothing)
    changed = times_ms(lambda: snapshots.take_now("changed"), runs, lambda: change(root))
    snapshots.close()
    again = Snapshots(root, folder, SystemClock())
    start = time.perf_counter()
    again.take_now("next session")
    return [first, still, changed, f"{(time.perf_counter() - start) * 1000:.0f}", size(folder)]


def inventory(root: Path, runs: int) -> list[str]:
    looks = Inventory((root,), frozenset({".vscode", ".mcp.json", ".envrc"}))
    start = time.perf_counter()
    looks.look()
    first = f"{(time.perf_counter() - start) * 1000:.0f}"
    time.sleep(0.05)
    looks.look()
    still = times_ms(looks.look, runs, nothing)
    return [first, still, times_ms(looks.look, runs, lambda: change(root)), "", ""]


def by_git(root: Path, folder: Path, runs: int) -> list[str]:
    environment = os.environ | {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(root)}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], env=environment, check=True, capture_output=True)

    def take() -> None:
        git("add", "-A")
        git("write-tree")

    git("init")
    start = time.perf_counter()
    take()
    first = f"{(time.perf_counter() - start) * 1000:.0f}"
    still = times_ms(take, runs, nothing)
    changed = times_ms(take, runs, lambda: change(root))
    return [first, still, changed, "", size(folder)]


def change(root: Path) -> None:
    path = root / "package0" / "module0" / "file0.py"
    path.write_text(path.read_text() + "# more\n")


def size(folder: Path) -> str:
    used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
    return f"{used / 1e6:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--git", action="store_true", help="also a shadow git repository")
    asked = parser.parse_args()
    print("| files | by | first ms | no change ms | one changed ms | next session ms | MB |")
    print("|---|---|---|---|---|---|---|")
    for files in (1_000, 35_000):
        with tempfile.TemporaryDirectory() as made:
            root = Path(made) / "tree"
            make(root, files)
            rows = {"own index": ours(root, Path(made) / "snapshots", asked.runs)}
            rows["inventory"] = inventory(root, asked.runs)
            if asked.git:
                rows["shadow git"] = by_git(root, Path(made) / "git", asked.runs)
            for name, row in rows.items():
                print(f"| {files:,} | {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
