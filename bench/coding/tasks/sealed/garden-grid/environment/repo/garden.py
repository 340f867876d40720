"""A garden of square beds, addressed by column and row from 0."""

AROUND = [(-1, 0), (1, 0), (0, -1), (0, 1)]


class Garden:
    def __init__(self, rows):
        self._rows = [list(row) for row in rows]
        self.height = len(self._rows)
        self.width = len(self._rows[0])

    def at(self, column, row):
        return self._rows[row][column]

    def neighbours(self, column, row):
        """The places left, right, above and below."""
        return [(column + dx, row + dy) for dx, dy in AROUND]

    def ripe_around(self, column, row):
        """How many of the neighbours are ripe, which is written R."""
        return sum(self.at(x, y) == "R" for x, y in self.neighbours(column, row))
