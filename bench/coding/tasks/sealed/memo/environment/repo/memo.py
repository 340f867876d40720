"""Remembers the results of slow functions."""

import functools


def remember(function):
    """A function that works out each result once; `forget()` drops all results."""
    results = {}

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        key = args
        if key in results:
            return results[key]
        result = function(*args, **kwargs)
        results[key] = result
        return result

    def forget():
        results.clear()
        wrapper.hits = 0

    wrapper.hits = 0
    wrapper.forget = forget
    return wrapper
