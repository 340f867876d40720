"""A small terminal in memory: what the painter's bytes amount to, one column a character."""

import re

_TOKEN = re.compile(r"\x1b\[([?>]?)([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class VirtualScreen:
    """Rows of characters, a cursor, and what was scrolled out."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.grid = [" " * columns for _ in range(rows)]
        self.scrollback: list[str] = []
        self.row = self.column = 0
        self.wraps = True

    def feed(self, text: str) -> None:
        """Take what was written; whatever is not known here is a failure."""
        assert "".join(found[0] for found in _TOKEN.finditer(text)) == text, repr(text)
        for mark, fields, final, line_end, characters in _TOKEN.findall(text):
            if characters:
                self._write(characters)
            elif line_end == "\r":
                self.column = 0
            elif line_end:
                self._line_feed()
            elif mark == "?":
                self.wraps = final == "h" if fields == "7" else self.wraps
            else:
                self._command(int(fields.partition(";")[0] or 0), final)

    def shown(self) -> list[str]:
        """All rows that hold anything, the scrolled ones first."""
        rows = [row.rstrip() for row in [*self.scrollback, *self.grid]]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def _write(self, text: str) -> None:
        for character in text:
            if self.column == self.columns:
                if self.wraps:
                    self.column = 0
                    self._line_feed()
                else:
                    self.column -= 1
            row = self.grid[self.row]
            self.grid[self.row] = row[: self.column] + character + row[self.column + 1 :]
            self.column += 1

    def _line_feed(self) -> None:
        if self.row == self.rows - 1:
            self.scrollback.append(self.grid.pop(0))
            self.grid.append(" " * self.columns)
        else:
            self.row += 1

    def _command(self, number: int, final: str) -> None:
        blank = " " * self.columns
        match final:
            case "A":
                self.row = max(0, self.row - (number or 1))
            case "B":
                self.row = min(self.rows - 1, self.row + (number or 1))
            case "G":
                self.column = min(self.columns, number or 1) - 1
            case "H":
                self.row = self.column = 0
            case "J" | "K":
                row = self.grid[self.row]
                self.grid[self.row] = (row[: self.column] if number == 0 else "").ljust(
                    self.columns
                )
                if final == "J":
                    first = 0 if number else self.row + 1
                    self.grid[first:] = [blank] * (self.rows - first)
            case "L":
                self.grid[self.row : self.row] = [blank] * number
                del self.grid[self.rows :]
            case "m" | "u":
                pass
            case _:
                raise AssertionError(final)
