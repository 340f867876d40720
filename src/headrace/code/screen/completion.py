"""Completion: commands behind `/`, files behind `@`; pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.code.screen.text import BOLD, CYAN, DIM, Line, clip, exact_line

ROWS_MAX = 6
_NAME_COLUMNS = 16


class Offer(NamedTuple):
    """What could be meant: what to insert, and what to tell about it."""

    text: str
    hint: str = ""


class Completion:
    """What is offered for the words before the cursor; `at` is the one that Tab takes."""

    def __init__(self, offers: list[Offer], start: int) -> None:
        self.offers = offers
        self.start = start
        self.at = 0

    def step(self, by: int) -> None:
        """Go up or down."""
        self.at = (self.at + by) % len(self.offers)

    def rows(self, columns: int) -> list[Line]:
        """What is offered, the chosen one among it."""
        first = min(max(0, self.at - ROWS_MAX + 1), max(0, len(self.offers) - ROWS_MAX))
        rows: list[Line] = []
        for index, offer in enumerate(self.offers[first : first + ROWS_MAX], first):
            style = f"{BOLD};{CYAN}" if index == self.at else ""
            name = exact_line(offer.text)
            name = name.ljust(_NAME_COLUMNS) if offer.hint else name
            hint = clip(offer.hint, max(0, columns - len(name) - 3))
            rows.append([(style, f"  {clip(name, columns - 2)}"), (DIM, f" {hint}")])
        return rows


def complete(
    text: str, cursor: int, commands: Mapping[str, str], files: Sequence[str]
) -> Completion | None:
    """What is offered where the cursor stands."""
    before = text[:cursor]
    if before.startswith("/") and not any(map(str.isspace, before)):
        offers = [Offer(name, hint) for name, hint in commands.items() if name.startswith(before)]
        return Completion(offers, 0) if offers else None
    start = max(before.rfind(blank) for blank in " \n\t") + 1
    word = before[start:]
    if not word.startswith("@"):
        return None
    found = _matching(word[1:].casefold(), files)
    return Completion([Offer(f"@{path}") for path in found], start) if found else None


def _matching(word: str, files: Sequence[str]) -> list[str]:
    """Files that hold the word: those whose name begins with it first, then shorter ones."""
    ranked: list[tuple[int, int, str]] = []
    for path in files:
        folded = path.casefold()
        at = folded.find(word)
        if at < 0:
            continue
        name = folded.rstrip("/").rfind("/") + 1
        rank = 0 if folded.startswith(word, name) else 1 if folded.find(word, name) >= 0 else 2
        ranked.append((rank, len(path), path))
    ranked.sort()
    return [path for _, _, path in ranked[:50]]
