"""Meter: how the gateway has each model call paid for and written down.

1. admit   its places in the limits, its price, and the worst that it may come to is held
2. open    the journal says that it begins, before any engine hears of it
3. close   what it used becomes balanced entries in the journal; then the hold and the limits
           are put right, once, whatever happened

Parts that nobody wants are None: a call is then not limited, not charged or not held for.
"""

from headrace.core.models import Usage
from headrace.core.scope import Lineage
from headrace.ledger.charge import (
    NOTHING,
    Attempt,
    Bounds,
    Charge,
    Figures,
    Once,
    affordable_tokens,
    worst_of,
)
from headrace.ledger.costs import Costs
from headrace.ledger.journal import Journal
from headrace.ledger.limits import Limits
from headrace.ledger.price_book import PriceBook
from headrace.ledger.records import CLOSED, OPENED, GenerationClosed, GenerationOpened
from headrace.ledger.reservations import Reservations

# Fewer make no answer, and some upstreams refuse to be asked for fewer.
_OUTPUT_TOKENS_MIN = 16


class Meter:
    """Has calls paid for and writes them into a journal.

    Args:
        journal: Where they are written.
        prices: What is charged.
        reservations: Holds money of budgets.
        limits: Rates and running calls.
        costs: What calls cost.
        charge_before_last_byte: Whether a charge is forced to the disk before the last byte of
            an answer leaves; otherwise soon after it.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        prices: PriceBook | None = None,
        reservations: Reservations | None = None,
        limits: Limits | None = None,
        costs: Costs | None = None,
        charge_before_last_byte: bool = True,
    ) -> None:
        self._journal = journal
        self._prices = prices
        self._reservations = reservations
        self._limits = limits
        self._costs = costs
        self._forced = charge_before_last_byte

    @property
    def failure(self) -> str | None:
        """Why no call can be written down any more, None while all is well."""
        return self._journal.failure

    async def admit(
        self,
        lineage: Lineage,
        model_id: str,
        bounds: Bounds,
        *,
        at_ns: int,
        once: Once | None = None,
    ) -> Charge:
        """Take what a call may use; nothing is taken where this raises.

        Args:
            lineage: Whose limits and budgets bind it.
            model_id: The public model.
            bounds: What it can use at most.
            at_ns: When it begins: its price and the windows of its budgets are of that time.
            once: The work that it is a try of, where that is charged once.

        Raises:
            RateLimited: A limit is reached, or running calls hold the rest of a budget.
            BudgetSpent: A hard budget cannot pay for it.
        """
        charge = Charge(model_id, lineage.account_id, bounds, once)
        if self._limits is not None:
            charge.ticket = self._limits.take(
                lineage,
                input_tokens=bounds.input_tokens,
                output_tokens=bounds.output_named and bounds.output_tokens,
            )
        price = self._prices and self._prices.price(model_id, at_ns)
        if price is not None:
            charge.price = price
            try:
                await self._hold(charge, lineage, at_ns)
            except BaseException:
                self.void(charge)
                raise
        return charge

    def open(self, opened: GenerationOpened, charge: Charge | None = None) -> None:
        """A call begins. Survives the death of this process from now on; waits for no disk.

        Raises:
            StoreError: The journal takes nothing; the call must not begin, and holds nothing.
        """
        try:
            self._journal.append(OPENED, opened)
        except BaseException:
            if charge is not None:
                self.void(charge)
            raise
        if charge is not None and charge.once is not None:
            charge.once.opened = True

    def attempt(
        self,
        charge: Charge,
        *,
        target_id: str,
        upstream: str | None,
        machine: str | None,
        release_digest: str,
    ) -> None:
        """A target is asked from now on; its time on a machine of our own is counted."""
        if self._costs is None:
            return
        attempt = Attempt(target_id, upstream, machine, release_digest)
        charge.attempts.append(attempt)
        if machine is not None:
            attempt.share = self._costs.begin(machine)

    def figures(
        self,
        charge: Charge,
        usage: Usage,
        *,
        at_ns: int,
        charged: bool = True,
        unbilled_tokens: int = 0,
    ) -> Figures:
        """What a call that has ended comes to; its time on machines ends with this.

        Args:
            charge: The call's.
            usage: What it used.
            at_ns: When it began.
            charged: Whether that is charged; the usage of a call that was refused is not.
            unbilled_tokens: Output beyond `usage`, which was made for nobody.
        """
        figures = charge.worth(usage) if charged else Figures()
        if charged and (usage.input or usage.output):
            charge.used(usage)
        for attempt in charge.attempts:
            self._add(figures, charge, attempt, at_ns, unbilled_tokens)
        return figures

    def _add(
        self, figures: Figures, charge: Charge, attempt: Attempt, at_ns: int, unbilled_tokens: int
    ) -> None:
        """Add what an attempt cost; only the last one can have been left while it answered."""
        assert self._costs is not None  # noqa: S101 - or there are no attempts
        if attempt.share is not None:
            attempt.share.end()
        figures.add(
            self._costs.of_call(
                model_id=charge.model_id,
                target_id=attempt.target_id,
                upstream=attempt.upstream,
                machine=attempt.machine,
                release_digest=attempt.release_digest,
                usage=attempt.usage,
                at_ns=at_ns,
                share=attempt.share,
                tier=charge.bounds.tier,
                images=charge.bounds.images,
                unbilled_tokens=unbilled_tokens if attempt is charge.attempts[-1] else 0,
            )
        )

    async def close(
        self, closed: GenerationClosed, charge: Charge | None = None, *, durable: bool = True
    ) -> None:
        """A call has ended.

        Args:
            closed: What it used and how it ended.
            charge: What was taken for it, which is put right once it is written.
            durable: Return only when a power cut cannot undo it. Otherwise it is on its way
                to the disk when this returns, for calls whose caller has gone.

        Raises:
            StoreError: It was not written, or the disk failed; acknowledge nothing. What is held
                stays so: the next start settles it.
        """
        try:
            position = self._journal.append(CLOSED, closed)
        except BaseException:
            if charge is not None:
                self.leave(charge)
            raise
        if charge is not None:
            self.put_right(charge, closed.price_nano, closed.usage or NOTHING)
        if durable and self._forced:
            await self._journal.durable(position)
        else:
            self._journal.sync_soon()

    def request(self, lineage: Lineage) -> Charge:
        """A call that is free counts among the requests, until it is voided.

        Raises:
            RateLimited: A limit is reached.
        """
        charge = Charge("", lineage.account_id, Bounds(), None)
        if self._limits is not None:
            charge.ticket = self._limits.take(lineage, input_tokens=0, output_tokens=0)
        return charge

    def void(self, charge: Charge) -> None:
        """Give back what was taken for a call that never ran; only the first time counts."""
        self.put_right(charge, 0, NOTHING)

    def leave(self, charge: Charge) -> None:
        """A call cannot be settled; what is held stays so until the next start does it."""
        charge.hold = None
        self.put_right(charge, 0, NOTHING)

    async def _hold(self, charge: Charge, lineage: Lineage, at_ns: int) -> None:
        price, bounds = charge.price, charge.bounds
        assert price is not None  # noqa: S101 - or nobody calls this
        worst_nano = worst_of(price, bounds, bounds.output_tokens)
        charge.held_nano = worst_nano
        if self._reservations is None:
            return
        least_nano = worst_nano
        cut = bounds.output_named is None and self._reservations.binds(lineage)
        if cut:
            least = min(_OUTPUT_TOKENS_MIN * bounds.answers, bounds.output_tokens)
            least_nano = worst_of(price, bounds, least)
        hold = self._reservations.try_hold(lineage, at_ns, worst_nano, least_nano)
        if hold is None:
            hold = await self._reservations.hold(lineage, at_ns, worst_nano, least_nano)
        charge.hold, charge.held_nano = hold, hold.nano
        if hold.nano < worst_nano:
            # Nothing is named where all of it is held: upstreams refuse more than they can make.
            tokens = affordable_tokens(price, bounds, hold.nano)
            charge.affordable = max(1, tokens // bounds.answers)

    def put_right(self, charge: Charge, price_nano: int, usage: Usage) -> None:
        """Free what was taken for a call, but for what it used."""
        if charge.settled:
            return
        charge.settled = True
        for attempt in charge.attempts:
            if attempt.share is not None:
                attempt.share.end()
        if charge.hold is not None and self._reservations is not None:
            self._reservations.settle(charge.hold, price_nano)
        if charge.ticket is not None and self._limits is not None:
            self._limits.settle(charge.ticket, input_tokens=usage.input, output_tokens=usage.output)
