"""What a call is worth, whatever it used: balanced, and never more than was held."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.models import Usage
from headrace.ledger.charge import Bounds, Charge, Figures, Once, affordable_tokens, worst_of
from headrace.ledger.prices import Price, Rates, amount
from headrace.ledger.records import balanced

_RATE = st.integers(0, 10**11)
_TOKENS = st.integers(0, 10**6)
RATES = st.builds(
    Rates,
    input=_RATE,
    output=_RATE,
    cached=st.none() | _RATE,
    reasoning=st.none() | _RATE,
    call=st.integers(0, 10**9),
    batch_percent=st.integers(0, 100),
)
USAGES = st.builds(Usage, input=_TOKENS, cached=_TOKENS, output=_TOKENS, reasoning=_TOKENS)
BOUNDS = st.builds(
    Bounds,
    input_tokens_max=_TOKENS,
    output_named=st.none() | st.integers(1, 10**6),
    output_tokens_max=st.integers(1, 10**6),
    answers=st.integers(1, 4),
    tier=st.sampled_from(["standard", "batch"]),
)


def charge_of(rates: Rates, bounds: Bounds, held_nano: int, once: Once | None = None) -> Charge:
    charge = Charge("model", "ada", bounds, once)
    charge.price, charge.held_nano = Price("p", "model", rates, 0), held_nano
    return charge


@given(RATES, USAGES, BOUNDS, st.integers(0, 10**15))
def test_a_charge_is_balanced_and_within_its_hold(
    rates: Rates, usage: Usage, bounds: Bounds, held_nano: int
):
    figures = charge_of(rates, bounds, held_nano).worth(usage)
    whole = amount(rates, usage, images=bounds.images, tier=bounds.tier)
    assert balanced(figures.entries)
    assert 0 <= figures.price_nano <= held_nano
    assert figures.price_nano + figures.loss_nano == whole
    by_account = {entry.account: entry.amount_nano for entry in figures.entries}
    assert by_account.get("receivable:ada", 0) == figures.price_nano
    assert by_account.get("loss:unbilled", 0) == figures.loss_nano
    assert by_account.get("revenue:model", 0) == -whole


@given(RATES, BOUNDS, st.data())
def test_within_its_bounds_a_call_loses_nothing(rates: Rates, bounds: Bounds, data: st.DataObject):
    made = st.integers(0, bounds.output_tokens)
    usage = Usage(input=data.draw(st.integers(0, bounds.input_tokens_max)), output=data.draw(made))
    held_nano = worst_of(Price("p", "model", rates, 0), bounds, bounds.output_tokens)
    cheap_cache = msgspec.structs.replace(rates, cached=None)
    assert charge_of(cheap_cache, bounds, held_nano).worth(usage).loss_nano == 0


@given(RATES, BOUNDS, st.integers(0, 10**15))
def test_a_budget_buys_as_many_tokens_as_it_can(rates: Rates, bounds: Bounds, held_nano: int):
    price = Price("p", "model", rates, 0)
    tokens = affordable_tokens(price, bounds, held_nano)
    assert 0 <= tokens <= bounds.output_tokens
    if tokens:
        assert worst_of(price, bounds, tokens) <= held_nano
    if tokens < bounds.output_tokens:
        assert worst_of(price, bounds, tokens + 1) > held_nano


@given(RATES, st.lists(st.tuples(USAGES, st.integers(0, 10**15)), min_size=1, max_size=6))
def test_work_that_is_tried_again_is_charged_as_its_dearest_try(
    rates: Rates, tries: list[tuple[Usage, int]]
):
    once = Once("work")
    due: list[int] = []
    charged: list[Figures] = []
    for usage, held_nano in tries:
        once.begin()
        charged.append(charge_of(rates, Bounds(), held_nano, once).worth(usage))
        due.append(min(held_nano, amount(rates, usage)))
    assert sum(figures.price_nano for figures in charged) == once.charged_nano == max(due)
    assert all(balanced(figures.entries) for figures in charged)
