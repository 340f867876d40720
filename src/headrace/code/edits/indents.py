"""Indentation: how the passage's own goes over into the file's."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from headrace.code.edits.lines import indent_of, unit_of

_UNIT_USUAL = 4
Shift = Callable[[int], int | None]
"""From a column of the passage to one of the file; None where nothing tells."""


class Style(NamedTuple):
    """How a file indents: by tabs or spaces, and how many columns a tab counts for here."""

    tabs: bool
    unit: int

    def columns(self, indent: str) -> int:
        """The width of an indentation."""
        return sum(self.unit if char == "\t" else 1 for char in indent)

    def indent(self, columns: int) -> str:
        """The indentation of a width, as the file writes it."""
        if not self.tabs:
            return " " * columns
        return "\t" * (columns // self.unit) + " " * (columns % self.unit)


def style_of(file: Sequence[str], passage: Sequence[str]) -> Style:
    """The style of a file's lines, which the lines of a passage are to be brought into.

    One tab is worth one level of whoever indents by spaces.
    """
    inner = [indent for indent in map(indent_of, file) if indent]
    tabs = sum(indent[0] == "\t" for indent in inner) * 2 > len(inner)
    of_passage = [indent_of(line) for line in passage]
    if not inner:
        tabs = any("\t" in indent for indent in of_passage)
    unit = unit_of(of_passage) if tabs else unit_of([indent_of(line) for line in file])
    return Style(tabs, unit or _UNIT_USUAL)


def shift_of(points: Sequence[tuple[int, int]], unit: int, step: int) -> Shift | None:
    """The one way in which columns of the passage became columns of the file.

    Args:
        points: Of each line that stands in both: its column in the passage, and in the file.
        unit: Columns of a level in the file.
        step: Columns of a level in the passage, 0 where it has only one.

    Returns:
        None where equal columns of the passage stand at different ones in the file.
    """
    seen = dict(points)
    if any(seen[old] != found for old, found in points):
        return None
    if len({found - old for old, found in points}) == 1:
        (old, found), *more = seen.items()
        if not more and step and step != unit and old != found:
            return _linear(old, found, Fraction(unit, step))
        return lambda column: column + found - old
    (old, found), (other, there) = sorted(seen.items())[:2]
    slope = Fraction(there - found, other - old)
    linear = _linear(old, found, slope)
    if slope > 0 and all(linear(column) == target for column, target in points):
        return linear
    return seen.get


def _linear(old: int, found: int, slope: Fraction) -> Shift:
    def shift(column: int) -> int | None:
        target = found + (column - old) * slope
        return int(target) if target.denominator == 1 else None

    return shift
