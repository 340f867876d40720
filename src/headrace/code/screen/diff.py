"""Diffs for people: line numbers, changed words set off, on any width.

Text is shown by `exact`, so that nothing hides in what is approved.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from headrace.code.screen.text import DIM, GREEN, RED, REVERSE, Line, exact, expand, fold

CONTEXT_LINES = 3
# Comparing costs the product of both lengths; above it the differing middle is one replacement.
_PRODUCT_MAX = 4_000_000
_PAIRS_MAX = 200
_WORD_CHARACTERS_MAX = 500
# Lines less alike than this are another line, not a changed one.
_ALIKE = 0.4
_NUMBERS_FROM_COLUMNS = 40
_WORDS = re.compile(r"\w+|\s+|.")
_STYLES = {"-": RED, "+": GREEN, " ": DIM}

Piece = tuple[bool, str]
"""Whether it changed, and the text."""


class Change(NamedTuple):
    """A line of a diff: its sign, its number, its text cut where words changed."""

    sign: str
    number: int
    pieces: tuple[Piece, ...]


def counts(before: str | None, after: str | None) -> tuple[int, int]:
    """Lines added and removed."""
    signs = [change.sign for hunk in hunks(before, after) for change in hunk]
    return signs.count("+"), signs.count("-")


def diff(before: str | None, after: str | None, columns: int) -> list[Line]:
    """The rows of a diff between two texts; None is a file that is not there."""
    found = list(hunks(before, after))
    last = max((change.number for hunk in found for change in hunk), default=0)
    gutter = len(str(last)) if columns >= _NUMBERS_FROM_COLUMNS else 0
    rows: list[Line] = []
    for at, hunk in enumerate(found):
        if at:
            rows.append([(DIM, "…".rjust(gutter) if gutter else "…")])
        for change in hunk:
            rows += _drawn(change, columns, gutter)
    if before and after and before.endswith("\n") != after.endswith("\n"):
        rows.append([(DIM, "line feed at the end " + ("-" if before.endswith("\n") else "+"))])
    return rows or [[(DIM, "nothing changes")]]


def hunks(before: str | None, after: str | None) -> Iterator[list[Change]]:
    """What changed, in groups with the lines around them."""
    if before and after and "\r\n" in before and "\r\n" in after:
        before, after = before.replace("\r\n", "\n"), after.replace("\r\n", "\n")
    old, new = _lines(before), _lines(after)
    head = _same_count(old, new)
    tail = _same_count(old[head:][::-1], new[head:][::-1])
    base = max(0, head - CONTEXT_LINES)
    cut = max(0, tail - CONTEXT_LINES)
    old, new = old[base : len(old) - cut], new[base : len(new) - cut]
    for group in _groups(old, new, head - base, tail - cut):
        changes: list[Change] = []
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                changes += [
                    Change(" ", base + new_start + at + 1, ((False, line),))
                    for at, line in enumerate(old[start:end])
                ]
            else:
                removed, added = _paired(old[start:end], new[new_start:new_end])
                changes += [
                    Change("-", base + start + at + 1, pieces) for at, pieces in enumerate(removed)
                ]
                changes += [
                    Change("+", base + new_start + at + 1, pieces)
                    for at, pieces in enumerate(added)
                ]
        yield changes


_Opcode = tuple[str, int, int, int, int]


def _groups(old: list[str], new: list[str], head: int, tail: int) -> Iterator[list[_Opcode]]:
    if old == new:
        return
    if len(old) * len(new) > _PRODUCT_MAX:
        ends = len(old) - tail, len(new) - tail
        yield [
            ("equal", 0, head, 0, head),
            ("replace", head, ends[0], head, ends[1]),
            ("equal", ends[0], len(old), ends[1], len(new)),
        ]
        return
    from difflib import SequenceMatcher  # noqa: PLC0415 - costs 5 ms, for the first diff

    yield from SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT_LINES)


def _lines(text: str | None) -> list[str]:
    lines = (text or "").split("\n")
    return lines[:-1] if not lines[-1] else lines


def _same_count(old: list[str], new: list[str]) -> int:
    limit = min(len(old), len(new))
    return next((at for at in range(limit) if old[at] != new[at]), limit)


_Cut = list[tuple[Piece, ...]]


def _paired(removed: list[str], added: list[str]) -> tuple[_Cut, _Cut]:
    """Lines cut where their words differ from the line that stands for them."""
    cut_removed: _Cut = [((False, line),) for line in removed]
    cut_added: _Cut = [((False, line),) for line in added]
    for at in range(min(len(removed), len(added), _PAIRS_MAX)):
        pair = _words_apart(removed[at], added[at])
        if pair is not None:
            cut_removed[at], cut_added[at] = pair
    return cut_removed, cut_added


def _words_apart(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]] | None:
    if max(len(old), len(new)) > _WORD_CHARACTERS_MAX:
        return None
    from difflib import SequenceMatcher  # noqa: PLC0415 - costs 5 ms, for the first diff

    old_words, new_words = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, old_words, new_words, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return None
    old_pieces: list[Piece] = []
    new_pieces: list[Piece] = []
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        changed = tag != "equal"
        old_pieces.append((changed, "".join(old_words[start:end])))
        new_pieces.append((changed, "".join(new_words[new_start:new_end])))
    return tuple(old_pieces), tuple(new_pieces)


def _drawn(change: Change, columns: int, gutter: int) -> list[Line]:
    style = _STYLES[change.sign]
    lead: Line = [(DIM, str(change.number).rjust(gutter) + " ")] if gutter else []
    hang: Line = [("", " " * (gutter + 1))] if gutter else []
    room = columns - (gutter + 1 if gutter else 0) - 2
    body = [
        (f"{style};{REVERSE}" if changed else style, expand(exact(text)))
        for changed, text in change.pieces
        if text
    ]
    rows = fold(body, room) or [[]]
    return [
        [*(lead if not at else hang), (style, f"{change.sign if not at else ' '} "), *row]
        for at, row in enumerate(rows)
    ]
