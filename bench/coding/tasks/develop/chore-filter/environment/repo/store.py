"""Chores in memory, numbered from 1."""


class Chores:
    def __init__(self):
        self._items = []

    def add(self, text):
        self._items.append({"text": text, "done": False})
        return len(self._items)

    def finish(self, number):
        if not 1 <= number <= len(self._items):
            raise IndexError(f"no chore {number}")
        self._items[number - 1]["done"] = True

    def numbered(self):
        """Pairs of (number, item) in the order of entry."""
        return list(enumerate(self._items, start=1))
