"""Clients that leave at random moments, billed to the token that the engine had made.

    python bench/disconnects.py --clients 1000 --real 100

Real sockets, all dialects, streamed and whole, leaving between the first byte of the request and
the last of the answer. The engine is watched from within; what it had made when the client left
is compared with what the journal says was billed. `--real` of the clients ask a real small model.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from headrace.catalog.known import DEFAULT_MODEL
from headrace.catalog.library import Library
from headrace.core.clock import SystemClock
from headrace.serving.engine import LateEngine
from headrace.store.database import Database
from support.disconnects import RATES, Tally, Witness, hang_ups
from support.engines import make_engine
from support.money import set_price
from support.serving import scripted, served_api

_ROUND = 50


async def scripted_round(folder: Path, clients: int, seed: int) -> Tally:
    late = random.Random(seed).randrange(4)
    turn = {"match": {"user": "tell"}, "steps": [{"text": "word " * 60, "token_delay_ms": 1}]}
    engine = scripted(folder / "s.json", turn, model={"id": "parrot"}, late_tokens=late)
    return await one(folder, engine, clients, seed, longest_s=0.3)


async def real_round(folder: Path, clients: int, seed: int) -> Tally:
    installed = Library(Path.home() / ".cache" / "headrace-tests").pull(DEFAULT_MODEL)
    engine = make_engine(installed, folder, slots=4)
    return await one(folder, engine, clients, seed, longest_s=12.0)


async def one(
    folder: Path, engine: LateEngine, clients: int, seed: int, *, longest_s: float
) -> Tally:
    database = Database.at(folder, None)
    database.migrate(SystemClock())
    witness = Witness(engine)
    async with served_api(database, folder, [witness]) as api:
        await set_price(api, witness.model.id, RATES)
        tally = await hang_ups(
            api, witness, clients=clients, seed=seed, longest_s=longest_s, text="tell"
        )
    database.close()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description="Leave at random moments.")
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--real", type=int, default=100)
    asked = parser.parse_args()
    wrong = 0
    for kind, clients, work in (
        ("scripted", asked.clients - asked.real, scripted_round),
        ("real model", asked.real, real_round),
    ):
        began_s, total = time.monotonic(), Tally()
        for seed, start in enumerate(range(0, clients, _ROUND)):
            with tempfile.TemporaryDirectory() as folder:
                number = min(_ROUND, clients - start)
                tally = asyncio.run(work(Path(folder), number, seed))
            total.clients += tally.clients
            total.calls += tally.calls
            total.cancelled += tally.cancelled
            total.billed_tokens += tally.billed_tokens
            total.unbilled_tokens += tally.unbilled_tokens
            total.unbilled_most = max(total.unbilled_most, tally.unbilled_most)
            total.wrong += tally.wrong
        print(
            f"{kind}: {total.clients} clients left, {total.calls} calls, {total.cancelled} of them"
            f" cut; {total.billed_tokens} tokens billed, {total.unbilled_tokens} not"
            f" ({total.unbilled_most} at most in a call); {len(total.wrong)} wrong;"
            f" {time.monotonic() - began_s:.0f} s"
        )
        print("\n".join(total.wrong[:20]))
        wrong += len(total.wrong)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
