"""Amounts are Decimals in EUR."""

from decimal import ROUND_DOWN, Decimal

CENT = Decimal("0.01")


def amount(text):
    """An amount written as 12.50 or 12,50."""
    return Decimal(text.replace(",", "."))


def round_cents(value):
    return value.quantize(CENT, rounding=ROUND_DOWN)
