"""Costs: what a call cost us, as balanced entries.

An upstream's bill is its usage at the rates it charges us. On a machine of our own a call costs its
share of the machine's time. A release that was trained for money is paid back by its tokens. What
was decoded for nobody, after the caller had gone, is a loss and not the cost of a sale.
"""

import msgspec

from headrace.core.models import Usage
from headrace.ledger.assets import Assets
from headrace.ledger.machines import Machines
from headrace.ledger.price_book import PriceBook
from headrace.ledger.prices import Rates, Tier, amount
from headrace.ledger.records import Entry
from headrace.ledger.share_clock import Share, ShareClock

UNBILLED = "loss:unbilled"


class CallCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a call cost: `cost_nano` for what was delivered, `loss_nano` for what was for nobody.

    `entries` hold both, balanced. `machine_ns` is its share of a machine's time, what of it went
    by before its first token included. `estimated` where the energy of it was not measured.
    """

    cost_nano: int = 0
    loss_nano: int = 0
    entries: tuple[Entry, ...] = ()
    machine_ns: int = 0
    prefill_machine_ns: int = 0
    estimated: bool = False


FREE = CallCost()


class Costs:
    """Reckons the costs of calls.

    Args:
        prices: What upstreams charge.
        machines: What machines cost.
        assets: What releases cost to train.
        clock: How much of a machine's time each call had.
    """

    def __init__(
        self, prices: PriceBook, machines: Machines, assets: Assets, clock: ShareClock
    ) -> None:
        self._prices = prices
        self._machines = machines
        self._assets = assets
        self._clock = clock

    async def reload(self) -> None:
        """Read machines and assets anew; the price book is its owner's to reload."""
        await self._machines.reload()
        await self._assets.reload()

    def begin(self, machine: str) -> Share:
        """A call begins to run on a machine of our own."""
        return self._clock.begin(machine)

    def of_call(
        self,
        *,
        model_id: str,
        target_id: str,
        upstream: str | None,
        machine: str | None,
        release_digest: str,
        usage: Usage,
        at_ns: int,
        share: Share | None = None,
        tier: Tier = "standard",
        images: int = 0,
        unbilled_tokens: int = 0,
    ) -> CallCost:
        """What an attempt at a call cost.

        Args:
            model_id: The public model, for whose sale it is.
            target_id: Who answered.
            upstream: The server of the configuration that it is.
            machine: The machine of our own that it runs on.
            release_digest: What answered.
            usage: What was used and delivered.
            at_ns: When the call began; the rates of that time hold.
            share: Its time on the machine, ended.
            tier: How it was asked for.
            images: Images in it.
            unbilled_tokens: Output beyond `usage` that was made for nobody.
        """
        bill = self._prices.cost(target_id, at_ns) if upstream is not None else None
        if share is None and not unbilled_tokens and not self._assets.any:
            if bill is None:
                return FREE
            # Nearly every call of an upstream.
            due = amount(bill.rates, usage, images=images, tier=tier)
            return _of_bill(model_id, upstream, due) if due else FREE
        credited: list[Entry] = []
        lost = 0
        if bill is not None:
            due, lost = _billed(bill.rates, usage, tier, images, unbilled_tokens)
            _credit(credited, f"payable:{upstream}", due)
        estimated = False
        if share is not None and machine is not None:
            terms = self._machines.at(machine, at_ns)
            if terms is not None:
                _credit(credited, f"capacity:{machine}", terms.share_nano(share.machine_ns or 0))
                lost += terms.share_nano(_unheard_ns(share, usage.output, unbilled_tokens))
                estimated = terms.takes_energy()
        _credit(
            credited,
            f"asset:{release_digest}",
            self._assets.write_off(release_digest, usage.input + usage.output),
        )
        cost = -sum(entry.amount_nano for entry in credited) - lost
        debits = [Entry(f"cogs:{model_id}", cost)] if cost else []
        if lost:
            debits.append(Entry(UNBILLED, lost))
        return CallCost(
            cost_nano=cost,
            loss_nano=lost,
            entries=(*debits, *credited),
            machine_ns=0 if share is None else share.machine_ns or 0,
            prefill_machine_ns=0 if share is None else share.prefill_ns,
            estimated=estimated,
        )


def _of_bill(model_id: str, upstream: str | None, due_nano: int) -> CallCost:
    return CallCost(
        cost_nano=due_nano,
        entries=(Entry(f"cogs:{model_id}", due_nano), Entry(f"payable:{upstream}", -due_nano)),
    )


def _billed(
    rates: Rates, usage: Usage, tier: Tier, images: int, unbilled_tokens: int
) -> tuple[int, int]:
    """What an upstream charges for all that it made, and what of it was for nobody."""
    delivered = amount(rates, usage, images=images, tier=tier)
    if not unbilled_tokens:
        return delivered, 0
    made = msgspec.structs.replace(usage, output=usage.output + unbilled_tokens)
    whole = amount(rates, made, images=images, tier=tier)
    return whole, whole - delivered


def _unheard_ns(share: Share, output_tokens: int, unbilled_tokens: int) -> int:
    """The part of a call's time in which its unbilled tokens were decoded."""
    if not unbilled_tokens:
        return 0
    decode_ns = (share.machine_ns or 0) - share.prefill_ns
    return decode_ns * unbilled_tokens // (output_tokens + unbilled_tokens)


def _credit(credited: list[Entry], account: str, amount_nano: int) -> None:
    if amount_nano:
        credited.append(Entry(account, -amount_nano))
