"""CPU of the ledger's part in one model call, without the disk: admitted, held, settled, written.

    .venv/bin/python bench/metering.py [--calls 20000]

Prints microseconds a call, each part switched on after the other. The journal's records are
encoded and sealed as always; writing and syncing them is left out.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from headrace.core.models import Usage
from headrace.core.scope import Lineage
from headrace.ledger.charge import Bounds
from headrace.ledger.journal import Journal
from headrace.ledger.meter import Meter
from headrace.ledger.prices import Rates
from headrace.ledger.terms import Process, Terms
from headrace.store import budgets, limits
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.home import bootstrap
from headrace.store.limits import RateLimit

CLOCK = SystemClock()
DOLLAR_NANO = 1_000_000_000
USAGE = Usage(input=300, cached=100, output=120)


async def one(meter: Meter, lineage: Lineage) -> None:
    """What the gateway asks of the meter for a call, but for the journal."""
    at_ns = CLOCK.now_ns()
    bounds = Bounds(
        input_tokens=75, input_tokens_max=1_324, output_named=500, output_tokens_max=8_192
    )
    charge = await meter.admit(lineage, "model", bounds, at_ns=at_ns)
    meter.attempt(
        charge, target_id="up/model", upstream="up", machine=None, release_digest="upstream:x"
    )
    figures = meter.figures(charge, USAGE, at_ns=at_ns)
    meter.put_right(charge, figures.price_nano, USAGE)


async def timed(calls: int, work: Callable[[], Awaitable[None]]) -> float:
    """The least microseconds a call of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time_ns()
        for _ in range(calls // 5):
            await work()
        best = min(best, (time.process_time_ns() - began) / 1e3 / (calls // 5))
    return best


async def measure(folder: Path, calls: int) -> None:
    database = Database.at(folder, None)
    database.migrate(CLOCK)
    home = await database.write(lambda connection: bootstrap(connection, CLOCK))
    journal = Journal.open(folder / "journal", "control", CLOCK)
    terms = Terms.of(
        database,
        journal,
        CLOCK,
        scope=home.owner,
        data=folder,
        machines=("local",),
        first_targets={},
        process=Process(),
    )
    await terms.reload()
    lineage = Lineage(home.organisation_id, None, home.owner.account_id, "key")
    bare, meter = Meter(journal), terms.meter(charge_before_last_byte=True)

    async def show(what: str, meter: Meter) -> None:
        print(f"{what:32}{await timed(calls, lambda: one(meter, lineage)):6.1f} µs")

    await show("nothing wired", bare)
    await show("nothing configured", meter)
    rates = Rates(input=3 * DOLLAR_NANO, cached=DOLLAR_NANO, output=15 * DOLLAR_NANO)
    await terms.prices.set("price", "model", rates)
    await terms.reload()
    await show("a price", meter)
    await terms.prices.set("cost", "up/model", rates)
    await terms.reload()
    await show("and what the upstream charges", meter)
    made = Budget(
        id=new_id(CLOCK),
        organisation_id=home.organisation_id,
        node_kind="organisation",
        node_id=home.organisation_id,
        period="month",
        limit_nano=10**15,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=CLOCK.now_ns(),
    )
    await database.write(lambda connection: budgets.add(connection, home.owner, made))
    await terms.reload()
    await show("and a hard budget", meter)
    place = ("organisation", home.organisation_id)
    for limit in (
        RateLimit(*place, "requests", "minute", 10**12),  # pyright: ignore[reportArgumentType]
        RateLimit(*place, "output_tokens", "day", 10**12),  # pyright: ignore[reportArgumentType]
    ):
        await database.write(
            lambda connection, limit=limit: limits.put(connection, home.owner, limit, created_ns=1)
        )
    await terms.reload()
    await show("and two limits", meter)
    journal.close()
    database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    calls: int = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), calls))


if __name__ == "__main__":
    main()
