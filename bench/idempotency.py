"""Duplicate requests under idempotency keys, through hang-ups and kills: one charge for each key.

    python bench/idempotency.py --requests 10000 --kills 20

A real `headrace up` with the scripted engine, killed with SIGKILL again and again while clients
send each request twenty times, a quarter of them hanging up before they have an answer.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.retries import DUPLICATES, Retries


def main() -> int:
    parser = argparse.ArgumentParser(description="Repeat requests under idempotency keys.")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began_s = time.monotonic()
    keys = asked.requests // DUPLICATES
    with tempfile.TemporaryDirectory() as folder:
        retries = Retries(Path(folder), keys=keys, kills=asked.kills, seed=asked.seed)
        tally = asyncio.run(retries.run())
    print(
        f"{keys} keys, {tally.requests} requests, {tally.hang_ups} hang-ups, {tally.kills} kills,"
        f" {tally.generations} generations; keys by their charge in nano-dollars: {tally.charged};"
        f" {tally.differing} keys with differing answers; {time.monotonic() - began_s:.0f} s"
    )
    return int(tally.differing > 0 or list(tally.charged.values()) != [keys])


if __name__ == "__main__":
    sys.exit(main())
