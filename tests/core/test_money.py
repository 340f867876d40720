import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.money import NanoDollars, format_usd, parse_usd


@given(st.integers(-(10**24), 10**24))
def test_every_amount_survives_writing_and_reading(nano: int):
    amount = NanoDollars(nano)
    assert parse_usd(format_usd(amount).replace("$", "")) == amount


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "$0.00"),
        ("1.5", "$1.50"),
        ("-0.000000001", "-$0.000000001"),
        ("0.0000000005", "$0.00"),
        ("0.0000000015", "$0.000000002"),
        ("12345678901234567890.000000001", "$12345678901234567890.000000001"),
    ],
)
def test_amounts_are_shown_exactly_and_rounded_half_to_even(text: str, shown: str):
    assert format_usd(parse_usd(text)) == shown


@pytest.mark.parametrize("text", ["", "a dollar", "NaN", "Infinity", "1,5", "1e99999999"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(ValueError, match="amount of dollars"):
        parse_usd(text)
