"""Smooths the readings of a sensor."""


def windows(readings, size):
    """The last `size` readings up to each one; fewer at the start."""
    if size < 1:
        raise ValueError("size must be positive")
    for end in range(1, len(readings) + 1):
        yield readings[max(0, end - size) : end]


def moving_mean(readings, size):
    """The mean of each window, rounded to two places."""
    means = []
    for window in windows(readings, size):
        means.append(round(sum(window) / len(window), 2))
    return means


def peaks(readings, limit):
    """The places of readings above a limit."""
    return [place for place, value in enumerate(readings) if value is not None and value > limit]
