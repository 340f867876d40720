"""Keeps the last lines of a log in a list of fixed size."""


class Ring:
    def __init__(self, size):
        if size < 1:
            raise ValueError("size must be positive")
        self._slots = [None] * size
        self._next = 0
        self._count = 0

    def push(self, line):
        self._slots[self._next] = line
        self._next = (self._next + 1) % len(self._slots)
        self._count += 1

    def __len__(self):
        return min(self._count, len(self._slots))

    def lines(self):
        """The kept lines, oldest first."""
        return self._slots[: len(self)]

    def dropped(self):
        """How many lines were pushed out."""
        return self._count - len(self)
