"""Thousands of kills and failing disks, and what the ledger has lost: nothing.

usage: PYTHONPATH=tests .venv/bin/python bench/ledger_faults.py FOLDER [KILLS] [ERRORS] [SEED]

Kills a loaded `headrace up` with two workers at KILLS random instants (2,000), and fails the disk
under a loaded ledger ERRORS times (1,000); after each start everything must prove right. What has
been done stands in the folder, so a run that is cut goes on where it was; `results.json` there
tells what came of it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from support.house_crashes import crash_again_and_again

HERE = Path(__file__).resolve().parent
LEDGER = HERE.parent / "tests" / "ledger"
ERRORS_AT_A_TIME = 25


def fail_disks(folder: Path, points: int, seed: int) -> dict[str, object]:
    """Errors of the disk, in rounds that each have a folder of their own."""
    library = folder / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, LEDGER / "faults.c"]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(LEDGER.parent), "LD_PRELOAD": str(library)}
    done = folder / "errors.json"
    rounds: list[str] = json.loads(done.read_text()) if done.exists() else []
    while len(rounds) * ERRORS_AT_A_TIME < points:
        data = folder / f"errors-{len(rounds)}-{os.getpid()}"
        data.mkdir()
        program = [sys.executable, LEDGER / "io_faults.py", data, str(ERRORS_AT_A_TIME)]
        said = subprocess.run(
            [*program, f"{seed}{len(rounds)}"],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rounds.append(said.stdout.strip())
        done.write_text(json.dumps(rounds))
        print(f"{len(rounds) * ERRORS_AT_A_TIME} errors: {rounds[-1]}", flush=True)
    acknowledged = sum(int(line.split()[3]) for line in rounds)
    return {"errors": len(rounds) * ERRORS_AT_A_TIME, "acknowledged": acknowledged}


def main() -> None:
    numbers = [int(word) for word in sys.argv[2:]]
    kills, errors, seed = (*numbers, *(2_000, 1_000, 1)[len(numbers) :])
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    disks = fail_disks(folder, errors, seed)
    state = crash_again_and_again(
        folder, kills, seed, lambda line: print(f"{time.monotonic() - began_s:.0f} s: {line}")
    )
    results = {
        "disk": disks,
        "kills": {
            "points": state.points,
            "lives": state.lives,
            "workers_killed": state.workers_killed,
            "acknowledged": state.acknowledged,
            "refused": state.refused,
        },
        "lost": 0,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
