"""A cache whose entries end after some seconds."""

import time


class Cache:
    def __init__(self, seconds, clock=time.monotonic):
        self._seconds = seconds
        self._clock = clock
        self._entries = {}

    def put(self, key, value):
        self._entries[key] = (value, self._clock() + self._seconds)

    def get(self, key, default=None):
        """The value of a key, or the default where it is missing or over."""
        if key not in self._entries:
            return default
        value, end = self._entries[key]
        if self._clock() > end:
            del self._entries[key]
            return default
        return value

    def drop(self, key):
        self._entries.pop(key, None)

    def __len__(self):
        return len(self._entries)
