"""Lines as edits see them: what a line says apart from its noise, and where it stands."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_LOOKALIKES = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2007\u202f", " "),
}
_PLAIN = str.maketrans(_LOOKALIKES)
_NUMBERED = re.compile(r"\s*(\d+)(\t|→|: |:(?=\s|$)| ?\| |\|(?=\s|$)| ?\|$)")
_UNIT_COLUMNS_MAX = 8
_SAMPLE_LINES = 5_000

TYPOGRAPHIC = frozenset(_LOOKALIKES) | {'"', "'", "-"}
"""Characters that models write for one another."""


def split(text: str) -> tuple[list[str], list[str]]:
    """The lines of a text, and what ends each: line feed, CR LF, or nothing at the very end."""
    *parts, last = text.split("\n")
    bodies = [part.removesuffix("\r") for part in parts]
    ends = ["\r\n" if part.endswith("\r") else "\n" for part in parts]
    return (bodies, ends) if not last else ([*bodies, last], [*ends, ""])


def indent_of(body: str) -> str:
    """The blanks before what a line says."""
    return body[: len(body) - len(body.lstrip(" \t"))]


def key_of(body: str) -> str:
    """What a line says: no indentation, no trailing space, plain quotes, single spaces."""
    return " ".join(body.translate(_PLAIN).split())


def folded(body: str) -> tuple[str, list[int]]:
    """The key of a line, and for each of its characters (and its end) the place in the line."""
    key: list[str] = []
    places: list[int] = []
    for place, char in enumerate(body.translate(_PLAIN)):
        if not char.isspace():
            key.append(char)
            places.append(place)
        elif key and key[-1] != " ":
            key.append(" ")
            places.append(place)
    if key and key[-1] == " ":
        key.pop()
        places.pop()
    return "".join(key), [*places, len(body.rstrip())]


class Block(NamedTuple):
    """A passage as lines that say something, and the empty ones between.

    Attributes:
        lines: Lines that are not blank.
        keys: What each of them says.
        gaps: Blank lines before each of them, and after the last.
    """

    lines: list[str]
    keys: list[str]
    gaps: list[int]

    @classmethod
    def of(cls, text: str) -> "Block":
        """The block of a passage."""
        lines: list[str] = []
        gaps = [0]
        for body in split(text)[0]:
            if body.strip():
                lines.append(body)
                gaps.append(0)
            else:
                gaps[-1] += 1
        return cls(lines, [key_of(line) for line in lines], gaps)

    def with_line(self, index: int, line: str) -> "Block":
        """The block with another line in one place."""
        lines = list(self.lines)
        lines[index] = line
        return Block(lines, [key_of(each) for each in lines], self.gaps)


class Page(NamedTuple):
    """A file's lines, and of those that say something the place and the key."""

    bodies: list[str]
    ends: list[str]
    places: list[int]
    keys: list[str]

    @classmethod
    def of(cls, text: str) -> "Page":
        """The page of a file's text."""
        bodies, ends = split(text)
        places = [at for at, body in enumerate(bodies) if body.strip()]
        return cls(bodies, ends, places, [key_of(bodies[at]) for at in places])

    def find(self, keys: Sequence[str]) -> list[int]:
        """Where these keys follow each other: indexes into `places`."""
        wanted = list(keys)
        first = wanted[0]
        return [
            at
            for at, key in enumerate(self.keys)
            if key == first and self.keys[at : at + len(wanted)] == wanted
        ]

    def spliced(self, start: int, stop: int, bodies: Sequence[str]) -> str:
        """The text with lines `start` to `stop` replaced, each line's end as the file has it."""
        usual = next((end for end in self.ends if end), "\n")
        replaced = self.ends[start:stop]
        usual = next((end for end in replaced if end), usual)
        ends = [*(end or usual for end in replaced[: len(bodies)])]
        ends += [usual] * (len(bodies) - len(ends))
        before = [a + b for a, b in zip(self.bodies[:start], self.ends[:start], strict=True)]
        if stop >= len(self.bodies) and self.ends:
            if ends:
                ends[-1] = self.ends[-1]
            elif before and not self.ends[-1]:
                before[-1] = self.bodies[start - 1]
        within = [a + b for a, b in zip(bodies, ends, strict=True)]
        after = [a + b for a, b in zip(self.bodies[stop:], self.ends[stop:], strict=True)]
        return "".join((*before, *within, *after))


def unnumbered(old: str, new: str) -> tuple[str, str] | None:
    """Both texts without the line numbers that were copied into them; None where there are none.

    They are numbers only if every line of `old` that says something has one, each one higher.
    """
    bodies = split(old)[0]
    found = [(_NUMBERED.match(body), body) for body in bodies if body.strip()]
    numbers = [int(match[1]) for match, _ in found if match]
    if not numbers or len(numbers) != len(found) or numbers != sorted(set(numbers)):
        return None
    if numbers[-1] - numbers[0] >= len(bodies):
        return None
    return _stripped(old), _stripped(new)


def _stripped(text: str) -> str:
    bodies, ends = split(text)
    found = [_NUMBERED.match(body) for body in bodies]
    pieces = zip(bodies, found, ends, strict=True)
    return "".join((body[match.end() :] if match else body) + end for body, match, end in pieces)


def unit_of(indents: Sequence[str]) -> int:
    """How many columns one level of indentation by spaces has, by the steps; 0 where unknown."""
    widths = [len(indent) for indent in indents[:_SAMPLE_LINES] if "\t" not in indent]
    steps = Counter(
        after - before
        for before, after in pairwise(widths)
        if 1 < after - before <= _UNIT_COLUMNS_MAX
    )
    return steps.most_common(1)[0][0] if steps else 0
