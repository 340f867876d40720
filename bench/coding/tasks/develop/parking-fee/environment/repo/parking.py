"""Fees of the parking garage, in cents."""

HOUR_CENTS = 250
DAY_MAXIMUM_CENTS = 1800
FREE_MINUTES = 15
MINUTES_PER_DAY = 24 * 60


def started_hours(minutes):
    """How many hours are charged for a stay."""
    return minutes // 60


def day_fee(minutes):
    """The fee of a stay within one day."""
    return min(started_hours(minutes) * HOUR_CENTS, DAY_MAXIMUM_CENTS)


def fee(minutes):
    """The fee of a stay of any length; short stays are free."""
    if minutes < 0:
        raise ValueError("a stay cannot be negative")
    if minutes <= FREE_MINUTES:
        return 0
    days, rest = divmod(minutes, MINUTES_PER_DAY)
    return days * DAY_MAXIMUM_CENTS + day_fee(rest)
