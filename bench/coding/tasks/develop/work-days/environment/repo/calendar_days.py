"""Counts days on which the office is open."""

from datetime import date, timedelta

SATURDAY = 5


def is_weekend(day):
    return day.weekday() >= SATURDAY


def work_days(first, last, holidays=()):
    """How many days of a span are neither weekend nor holiday."""
    count = 0
    day = first
    while day < last:
        if not is_weekend(day):
            count += 1
        day += timedelta(days=1)
    for holiday in holidays:
        if first <= holiday <= last:
            count -= 1
    return count


def parse_day(text):
    """A day written as 2025-03-31."""
    return date.fromisoformat(text.strip())
