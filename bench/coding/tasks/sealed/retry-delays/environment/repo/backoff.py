"""How long to wait between tries of a call."""

import time


def delays(tries, first=0.5, factor=2, longest=30):
    """The delays between `tries` tries, in seconds; one less than there are tries."""
    found = []
    delay = first
    for _ in range(tries - 1):
        found.append(delay)
        delay = delay * factor
    return found


def call(function, tries=4, sleep=time.sleep, **settings):
    """Call a function until it does not raise OSError, at most `tries` times."""
    waits = delays(tries, **settings)
    for wait in waits:
        try:
            return function()
        except OSError:
            sleep(wait)
    return function()
