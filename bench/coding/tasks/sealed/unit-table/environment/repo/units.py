"""Converts between units."""

METRES = {"mm": 0.001, "cm": 0.01, "m": 1, "km": 1000}


def convert(value, unit, other):
    """A value in another unit."""
    if unit not in METRES or other not in METRES:
        raise ValueError(f"cannot convert {unit} to {other}")
    return value * METRES[unit] / METRES[other]


def parse(text):
    """Value and unit of a text such as "3.5 km"."""
    value, unit = text.split()
    return float(value), unit


def answer(text, other):
    """The text in another unit: answer("3 km", "m") is "3000 m"."""
    value, unit = parse(text)
    return f"{convert(value, unit, other):g} {other}"
