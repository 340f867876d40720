"""Money: signed integer nano-dollars (1e-9 USD). No floats, ever."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import NewType

NanoDollars = NewType("NanoDollars", int)

ZERO = NanoDollars(0)
_PER_DOLLAR = 1_000_000_000
_DIGITS_MAX = 40


def parse_usd(text: str) -> NanoDollars:
    """Read a decimal string of dollars, rounding half to even at the ninth digit.

    Raises:
        ValueError: `text` is not a finite decimal number.
    """
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not an amount of dollars: {text!r}") from None
    if not dollars.is_finite() or dollars.adjusted() > _DIGITS_MAX:
        raise ValueError(f"not a possible amount of dollars: {text[:50]!r}")
    # The default context would round after 28 digits.
    with localcontext(prec=2 * _DIGITS_MAX):
        return NanoDollars(int((dollars * _PER_DOLLAR).to_integral_value(ROUND_HALF_EVEN)))


def format_usd(amount: NanoDollars) -> str:
    """Write an amount exactly, with at least two and at most nine decimals: `$0.000012`."""
    sign = "-" if amount < 0 else ""
    dollars, nano = divmod(abs(amount), _PER_DOLLAR)
    decimals = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars}.{decimals}"
