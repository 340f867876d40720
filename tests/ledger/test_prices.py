"""What tokens come to: never more than the worst case, rounded once, by tiers and batches."""

from fractions import Fraction

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.core.models import Usage
from headrace.ledger.prices import Rates, Tier, amount, half_even, saved, worst

_RATE = st.integers(0, 10**12)
_MAYBE = st.none() | _RATE
_TOKENS = st.integers(0, 10**7)
_TIER = st.sampled_from(("standard", "batch"))


@st.composite
def _flat(draw: st.DrawFn) -> Rates:
    return Rates(
        input=draw(_RATE),
        output=draw(_RATE),
        cached=draw(_MAYBE),
        cache_written=draw(_MAYBE),
        cache_written_long=draw(_MAYBE),
        reasoning=draw(_MAYBE),
        image=draw(_RATE),
        call=draw(_RATE),
    )


@st.composite
def _tiered(draw: st.DrawFn) -> Rates:
    above = st.dictionaries(st.integers(0, 10**7), _flat(), max_size=3)
    batch = msgspec.structs.replace(draw(_flat()), above=draw(above))
    return msgspec.structs.replace(
        draw(_flat()),
        above=draw(above),
        batch=draw(st.sampled_from((None, batch))),
        batch_percent=draw(st.integers(0, 100)),
    )


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    return Usage(*(draw(_TOKENS) for _ in Usage.__struct_fields__))


@given(_tiered(), _usages(), st.tuples(_TOKENS, _TOKENS), st.integers(0, 20), _TIER)
@example(Rates(input=1), Usage(input=1, cached=5, cache_written=9), (0, 0), 0, "standard")
def test_no_call_within_bounds_comes_to_more_than_the_worst(
    rates: Rates, usage: Usage, more: tuple[int, int], images: int, tier: Tier
) -> None:
    bound = worst(rates, usage.input + more[0], usage.output + more[1], images=images, tier=tier)
    assert 0 <= amount(rates, usage, images=images, tier=tier) <= bound


@given(_tiered(), _usages(), _TIER)
def test_a_cache_never_saves_more_than_uncached_input_costs(
    rates: Rates, usage: Usage, tier: Tier
) -> None:
    plain = msgspec.structs.replace(usage, cached=0, cache_written=0)
    cached = msgspec.structs.replace(usage, cache_written=0)
    difference = amount(rates, plain, tier=tier) - amount(rates, cached, tier=tier)
    assert abs(saved(rates, usage, tier=tier) - difference) <= 1


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_rounding_is_half_to_even(value: int, unit: int) -> None:
    assert half_even(value, unit) == round(Fraction(value, unit))


def test_a_call_is_rounded_once_and_not_by_its_parts() -> None:
    rates = Rates(input=400_000, output=400_000)
    # 0.4 and 0.4 of a nano-dollar are nothing each, and one together.
    assert amount(rates, Usage(input=1, output=0)) == 0
    assert amount(rates, Usage(input=1, output=1)) == 1


def test_kinds_of_tokens_have_their_own_rates() -> None:
    million = 1_000_000
    rates = Rates(
        input=3 * million,
        output=5 * million,
        cached=1 * million,
        cache_written=4 * million,
        cache_written_long=6 * million,
        reasoning=7 * million,
        image=11,
        call=13,
    )
    usage = Usage(
        input=100, cached=30, cache_written=20, cache_written_long=5, output=50, reasoning=10
    )
    expected = 50 * 3 + 30 * 1 + 15 * 4 + 5 * 6 + 40 * 5 + 10 * 7 + 2 * 11 + 13
    assert amount(rates, usage, images=2) == expected


def test_kinds_without_a_rate_cost_as_their_whole_does() -> None:
    rates = Rates(input=3_000_000, output=5_000_000)
    usage = Usage(input=10, cached=4, cache_written=5, output=6, reasoning=6)
    assert amount(rates, usage) == 10 * 3 + 6 * 5
    assert saved(rates, usage) == 0


def test_longer_input_has_other_rates_for_all_of_it() -> None:
    rates = Rates(input=1_000_000, above={100: Rates(input=2_000_000), 200: Rates(input=3_000_000)})
    assert [amount(rates, Usage(input=n)) for n in (100, 101, 200, 201)] == [100, 202, 400, 603]


def test_batches_pay_a_part_or_rates_of_their_own() -> None:
    usage = Usage(input=100, cached=50, output=100)
    half = Rates(input=2_000_000, output=4_000_000, batch_percent=50)
    assert amount(half, usage) == 600
    assert amount(half, usage, tier="batch") == 300
    own = msgspec.structs.replace(half, batch=Rates(input=1_000_000, cached=2_000_000))
    assert amount(own, usage, tier="batch") == 50 * 1 + 50 * 2
    assert worst(own, 100, 100, tier="batch") == 200


def test_rates_read_back_as_they_were_written() -> None:
    rates = Rates(input=1, above={200_000: Rates(input=2)}, batch=Rates(output=3))
    assert msgspec.json.decode(msgspec.json.encode(rates), type=Rates) == rates
