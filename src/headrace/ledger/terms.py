"""Terms: all that binds and prices the calls of one process, put together and kept up to date."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from headrace.core.clock import Clock
from headrace.core.scope import Scope
from headrace.ledger.assets import Assets
from headrace.ledger.costs import Costs
from headrace.ledger.journal import Journal
from headrace.ledger.limits import Limits
from headrace.ledger.machines import Machines
from headrace.ledger.meter import Meter
from headrace.ledger.price_book import PriceBook
from headrace.ledger.reservations import WAIT_S, Reservations
from headrace.ledger.share_clock import ShareClock
from headrace.store.database import Database

_FOLDER = "shared"


class Process(msgspec.Struct, frozen=True):
    """Which process of how many this is: 0 is the control process, from 1 on are the workers."""

    number: int = 0
    count: int = 1

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1


class Terms(msgspec.Struct, frozen=True):
    """Prices, costs, limits and reservations; made by `Terms.of`."""

    prices: PriceBook
    machines: Machines
    assets: Assets
    share_clock: ShareClock
    costs: Costs
    limits: Limits
    reservations: Reservations
    journal: Journal

    @classmethod
    def of(
        cls,
        database: Database,
        journal: Journal,
        clock: Clock,
        *,
        scope: Scope,
        data: Path,
        machines: Sequence[str],
        first_targets: Mapping[str, str],
        process: Process,
        budget_wait_s: float = WAIT_S,
    ) -> "Terms":
        """Join them; nothing is read until `reload`.

        Args:
            database: Where everything is set.
            journal: This process's own.
            clock: The house's clock.
            scope: Of the organisation that charges.
            data: The data folder; what processes share stands in a folder of it.
            machines: Names of the machines of our own, the same in every process.
            first_targets: As `PriceBook` takes them.
            process: Which process this is.
            budget_wait_s: How long a call waits for what others hold of a budget.

        Raises:
            StoreError: The shared memory cannot be made.
        """
        folder = data / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        prices = PriceBook(database, clock, scope, first_targets)
        owned = Machines(database, clock, scope)
        assets = Assets(
            database,
            scope,
            folder / "assets.page",
            first=process.number == 0,
            alone=process.alone,
        )
        shares = ShareClock(
            folder / "machines.page", machines, clock, slot=process.number, slots=process.count
        )
        limits = Limits(
            database,
            folder / "limits.page",
            clock,
            process=process.number,
            processes=process.count,
        )
        return cls(
            prices=prices,
            machines=owned,
            assets=assets,
            share_clock=shares,
            costs=Costs(prices, owned, assets, shares),
            limits=limits,
            reservations=Reservations(
                database, journal, clock, alone=process.alone, wait_s=budget_wait_s
            ),
            journal=journal,
        )

    async def reload(self) -> None:
        """Read everything as it is set now; calls that run keep what they began under."""
        await self.prices.reload()
        await self.costs.reload()
        await self.limits.reload()
        await self.reservations.reload()

    def meter(self, *, charge_before_last_byte: bool) -> Meter:
        """The door that all calls of this process go through."""
        return Meter(
            self.journal,
            prices=self.prices,
            reservations=self.reservations,
            limits=self.limits,
            costs=self.costs,
            charge_before_last_byte=charge_before_last_byte,
        )

    def worker_ended(self, number: int) -> None:
        """A worker is no more: the calls that it ran hold no places and no machine's time."""
        self.limits.forget(number)
        self.share_clock.forget(number)

    async def close(self) -> None:
        """Give back what others can use."""
        await self.reservations.close()
        self.limits.close()
        self.share_clock.close()
        self.assets.close()
