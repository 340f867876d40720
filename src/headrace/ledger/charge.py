"""Charge: the money of one model call, from before it runs until it is settled.

Before it runs its price is found, its places in the limits are taken and the worst that it may
come to is held. When it ends it is charged what it was worth and never more than was held; what
is beyond that is a loss.
"""

import msgspec

from headrace.core.models import Usage
from headrace.ledger.costs import UNBILLED, CallCost
from headrace.ledger.limits import Ticket
from headrace.ledger.prices import Price, Tier, amount, saved, worst
from headrace.ledger.records import Entry
from headrace.ledger.share_clock import Share
from headrace.ledger.windows import Hold

NOTHING = Usage()


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a call can use at most, as far as that is known before it runs.

    `input_tokens` is about what it will read, `input_tokens_max` never less than that.
    `output_named` is the limit that its client names for each of its `answers`, None if it names
    none; `output_tokens_max` is what the model can make in one.
    """

    input_tokens: int = 0
    input_tokens_max: int = 0
    output_named: int | None = None
    output_tokens_max: int = 0
    answers: int = 1
    images: int = 0
    tier: Tier = "standard"

    @property
    def output_tokens(self) -> int:
        """The most that all its answers together can have."""
        each = self.output_tokens_max
        if self.output_named is not None:
            # No model makes more than its context holds, whatever a client says.
            each = min(each, self.output_named)
        return each * self.answers


class Once(msgspec.Struct):
    """Work that is charged once, however often it is tried.

    `id` is the same in every try, `charged_nano` is what its calls were charged until now,
    `credit_nano` what of that this try has not used up. `opened` once a call has been written
    down for it.
    """

    id: str
    charged_nano: int = 0
    credit_nano: int = 0
    opened: bool = False

    def begin(self) -> None:
        """Another try: what the others were charged, this one is not."""
        self.credit_nano = self.charged_nano


class Attempt(msgspec.Struct):
    """One target that was asked: who, and what is known to be used there."""

    target_id: str
    upstream: str | None
    machine: str | None
    release_digest: str
    share: Share | None = None
    usage: Usage = NOTHING


class Figures(msgspec.Struct):
    """What a call comes to: charged, lost, saved by cached input, spent on it, as entries."""

    price_nano: int = 0
    loss_nano: int = 0
    saved_nano: int = 0
    cost_nano: int = 0
    machine_ns: int = 0
    prefill_machine_ns: int = 0
    estimated: bool = False
    entries: tuple[Entry, ...] = ()

    def add(self, cost: CallCost) -> None:
        """What one attempt cost."""
        self.cost_nano += cost.cost_nano
        self.loss_nano += cost.loss_nano
        self.machine_ns += cost.machine_ns
        self.prefill_machine_ns += cost.prefill_machine_ns
        self.estimated = self.estimated or cost.estimated
        self.entries += cost.entries


class Charge:
    """The money of one call; made by `Meter.admit`, ended by `Meter.close` or `Meter.void`.

    `affordable` is how many tokens each answer can have where a budget buys fewer than the
    client wants and names no limit itself.
    """

    __slots__ = (
        "account_id",
        "affordable",
        "attempts",
        "bounds",
        "held_nano",
        "hold",
        "model_id",
        "once",
        "price",
        "settled",
        "ticket",
    )

    def __init__(self, model_id: str, account_id: str, bounds: Bounds, once: Once | None) -> None:
        self.model_id = model_id
        self.account_id = account_id
        self.bounds = bounds
        self.once = once
        self.price: Price | None = None
        self.ticket: Ticket | None = None
        self.hold: Hold | None = None
        self.held_nano = 0
        self.affordable: int | None = None
        self.attempts: list[Attempt] = []
        self.settled = False

    def first_token(self) -> None:
        """The target that was asked last begins to answer."""
        if self.attempts and (share := self.attempts[-1].share) is not None:
            share.first_token()

    def used(self, usage: Usage) -> None:
        """What is known to be used at the target that was asked last."""
        if self.attempts:
            self.attempts[-1].usage = usage

    def left(self) -> None:
        """The target that was asked last does nothing more for it."""
        if self.attempts and (share := self.attempts[-1].share) is not None:
            share.end()

    def worth(self, usage: Usage) -> Figures:
        """What it is charged with this usage, and what is lost beyond that; asked for once."""
        figures = Figures()
        if self.price is None:
            return figures
        rates, bounds = self.price.rates, self.bounds
        whole = amount(rates, usage, images=bounds.images, tier=bounds.tier)
        if not whole:
            return figures
        price = min(whole, self.held_nano)
        if self.once is not None:
            paid = min(price, self.once.credit_nano)
            price -= paid
            self.once.credit_nano -= paid
            self.once.charged_nano += price
        figures.price_nano, figures.loss_nano = price, whole - price
        if usage.cached:
            figures.saved_nano = saved(rates, usage, tier=bounds.tier)
        revenue = Entry(f"revenue:{self.model_id}", -whole)
        if price == whole:
            figures.entries = (Entry(f"receivable:{self.account_id}", price), revenue)
        elif price:
            receivable = Entry(f"receivable:{self.account_id}", price)
            figures.entries = (receivable, revenue, Entry(UNBILLED, whole - price))
        else:
            figures.entries = (revenue, Entry(UNBILLED, whole))
        return figures


def affordable_tokens(price: Price, bounds: Bounds, held_nano: int) -> int:
    """How many output tokens a hold buys behind the most that the input can be."""
    least, most = 0, bounds.output_tokens
    while least < most:
        middle = (least + most + 1) // 2
        if worst_of(price, bounds, middle) <= held_nano:
            least = middle
        else:
            most = middle - 1
    return least


def worst_of(price: Price, bounds: Bounds, output_tokens: int) -> int:
    """The most that a call can come to with so many output tokens."""
    return worst(
        price.rates,
        bounds.input_tokens_max,
        output_tokens,
        images=bounds.images,
        tier=bounds.tier,
    )
