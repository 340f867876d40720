"""Rates as people write them: exact, both ways, and refused when they are not numbers."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import InvalidRequest
from headrace.ledger.prices import Rates
from headrace.ledger.rate_texts import StatedRates, read, write

_RATE = st.integers(0, 10**14)


@st.composite
def _rates(draw: st.DrawFn) -> Rates:
    def flat() -> Rates:
        named = {name: draw(_RATE) for name in ("input", "output", "image", "call")}
        kinds = ("cached", "cache_written", "cache_written_long", "reasoning")
        return msgspec.convert(named | {name: draw(_RATE) for name in kinds}, Rates)

    above = {tokens: flat() for tokens in draw(st.sets(st.integers(1, 10**6), max_size=2))}
    batch = flat() if draw(st.booleans()) else None
    percent = draw(st.integers(0, 100))
    return msgspec.structs.replace(flat(), above=above, batch=batch, batch_percent=percent)


@given(_rates())
def test_what_is_written_reads_back(rates: Rates) -> None:
    assert read(write(rates)) == rates
    through_json = msgspec.json.decode(msgspec.json.encode(write(rates)), type=StatedRates)
    assert read(through_json) == rates


def test_dollars_per_million_become_nano_dollars_exactly() -> None:
    stated = StatedRates(input="0.0375", output="15", cached="0.000000001")
    assert read(stated) == Rates(input=37_500_000, output=15_000_000_000, cached=1)
    assert write(read(stated)) == stated


def test_a_tier_says_only_what_is_other_than_below() -> None:
    stated = msgspec.convert(
        {"input": "1", "output": "2", "call": "0.01", "above": {"200000": {"input": "3"}}},
        StatedRates,
        strict=False,
    )
    above = Rates(input=3_000_000_000, output=2_000_000_000, call=10_000_000)
    assert read(stated).above == {200_000: above}


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("input", "free", "not a number"),
        ("input", "NaN", "not a number"),
        ("input", "Infinity", "not a number"),
        ("input", "1e9", "not a number"),
        ("input", "9" * 50, "not a number"),
        ("output", "-1", "between 0 and"),
        ("output", "100001", "between 0 and"),
        ("cached", "0.0000000001", "more than 9 decimals"),
        ("cached", "12345.0000000000000000000000000000001", "more than 9 decimals"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(field: str, text: str, said: str) -> None:
    stated = msgspec.structs.replace(StatedRates(input="1", output="1"), **{field: text})
    with pytest.raises(InvalidRequest, match=said) as refused:
        read(stated)
    assert refused.value.param == field


def test_input_and_output_must_be_said() -> None:
    with pytest.raises(InvalidRequest, match="do not say output"):
        read(StatedRates(input="1"))


def test_percent_and_tiers_have_bounds() -> None:
    with pytest.raises(InvalidRequest, match="batch_percent"):
        read(StatedRates(input="1", output="1", batch_percent=101))
    with pytest.raises(InvalidRequest, match="above"):
        read(StatedRates(input="1", output="1", above={0: StatedRates()}))
