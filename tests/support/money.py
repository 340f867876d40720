"""Prices, budgets and limits of a served API, and what its ledger says afterwards."""

from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from headrace.core.scope import NodeKind
from headrace.ledger import reader
from headrace.ledger.prices import Rates
from headrace.ledger.records import (
    GenerationClosed,
    GenerationOpened,
    balanced,
    decode,
)
from headrace.store import budgets, limits
from headrace.store.budgets import Budget
from headrace.store.limits import RateLimit
from support.serving import Api

CLOCK = SystemClock()
DOLLAR_NANO = 1_000_000_000
RATES = Rates(input=1 * DOLLAR_NANO, cached=DOLLAR_NANO // 10, output=4 * DOLLAR_NANO)
"""1,000 nano-dollars for a token of input, 4,000 for one of output."""


async def set_price(api: Api, model: str, rates: Rates = RATES) -> None:
    await api.terms.prices.set("price", model, rates)
    await api.terms.reload()


async def set_budget(
    api: Api, limit_nano: int, *, node: tuple[NodeKind, str] | None = None
) -> None:
    """A hard budget for all time, of the organisation if no other node is named."""
    kind, node_id = node or ("organisation", api.home.organisation_id)
    made = Budget(
        id=new_id(CLOCK),
        organisation_id=api.home.organisation_id,
        node_kind=kind,
        node_id=node_id,
        period="once",
        limit_nano=limit_nano,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=CLOCK.now_ns(),
    )
    await api.database.write(lambda connection: budgets.add(connection, api.home.owner, made))
    await api.terms.reload()


async def set_limit(api: Api, limit: RateLimit) -> None:
    await api.database.write(
        lambda connection: limits.put(connection, api.home.owner, limit, created_ns=1)
    )
    await api.terms.reload()


class Books:
    """What the journal of a served API says."""

    def __init__(self, api: Api) -> None:
        self.opened: list[GenerationOpened] = []
        self.closed: list[GenerationClosed] = []
        for record in reader.read(api.journal.directory, "control", None):
            said = decode(record)
            if isinstance(said, GenerationOpened):
                self.opened.append(said)
            elif isinstance(said, GenerationClosed):
                self.closed.append(said)

    @property
    def charged_nano(self) -> int:
        return sum(closed.price_nano for closed in self.closed)

    def check(self) -> None:
        """Every call is closed once, balanced, and charged no more than was held."""
        held = {opened.id: opened.held_nano for opened in self.opened}
        assert sorted(held) == sorted(closed.id for closed in self.closed)
        for closed in self.closed:
            assert balanced(closed.entries), closed
            assert closed.price_nano <= held[closed.id], closed
            receivable = sum(
                entry.amount_nano
                for entry in closed.entries
                if entry.account.startswith("receivable:")
            )
            lost = sum(
                entry.amount_nano for entry in closed.entries if entry.account == "loss:unbilled"
            )
            assert (receivable, lost) == (closed.price_nano, closed.loss_nano), closed


def nothing_is_left(api: Api, *limits_set: RateLimit) -> None:
    """No hold, no share of a machine and no place in these limits outlives its call."""
    assert not api.terms.reservations._running  # pyright: ignore[reportPrivateUsage]
    assert not api.terms.share_clock.running("local")
    assert [api.terms.limits.used(limit) for limit in limits_set] == [0] * len(limits_set)
