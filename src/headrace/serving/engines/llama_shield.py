"""Shield: user text never becomes special tokens of a chat template.

llama.cpp tokenizes a rendered prompt as one text, so a user who writes `<|im_end|>` would end
their own message and could speak as the system. Therefore a mark nobody can guess is put inside
each such literal before the template is rendered; the rendered prompt is cut at the marks and
the pieces are tokenized one by one. No piece then holds the literal whole, and the token ids
spell exactly what the user wrote.
"""

import re
import secrets
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, cast

_OPENING = "\ue0f0"
_PRIVATE_USE = range(0xE100, 0xF800)
_NONCE_CHARS = 6
_EDGE_CHARS_MIN = 2


class SpecialTokens:
    """The literals of one model, prepared for search."""

    def __init__(self, literals: Iterable[str]) -> None:
        # One character cannot be cut, and runs of white space carry no power.
        self._literals = {each for each in literals if len(each) > 1 and not each.isspace()}
        self._lengths = sorted({len(each) for each in self._literals})
        self._starts = {each[:n] for each in self._literals for n in range(2, len(each))}
        self._ends = {each[-n:] for each in self._literals for n in range(2, len(each))}
        firsts = "".join(sorted({re.escape(each[0]) for each in self._literals}))
        self._first = re.compile(f"[{firsts}]") if firsts else None

    def cuts(self, text: str) -> list[int]:
        """Where `text` must be cut: inside each literal, and inside what could be half of one.

        A template may put two texts next to each other, each holding one half.
        """
        if self._first is None:
            return []
        cuts = {
            found.start() + 1
            for found in self._first.finditer(text)
            if any(text[found.start() : found.start() + n] in self._literals for n in self._lengths)
        }
        begin = len(text) - len(text.lstrip())
        end = len(text.rstrip())
        for n in range(_EDGE_CHARS_MIN, min(self._lengths[-1], end - begin + 1)):
            if text[end - n : end] in self._starts:
                cuts.add(end - n + 1)
            if text[begin : begin + n] in self._ends:
                cuts.add(begin + 1)
        return sorted(cuts)


class Shield:
    """Marks the texts of one request and cuts its prompt at the marks."""

    def __init__(self, specials: SpecialTokens) -> None:
        self._specials = specials
        self._mark = _OPENING + "".join(
            chr(secrets.choice(_PRIVATE_USE)) for _ in range(_NONCE_CHARS)
        )
        self.marked = False

    def text(self, text: str) -> str:
        """`text` with a mark inside every literal."""
        cuts = self._specials.cuts(text)
        if not cuts:
            return text
        self.marked = True
        edges = [0, *cuts, len(text)]
        return self._mark.join(text[a:b] for a, b in pairwise(edges))

    def value(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """A JSON value with all its strings and names marked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {self.text(name): self.value(each) for name, each in items}
        if isinstance(value, list):
            return [self.value(each) for each in cast("list[Any]", value)]
        return value

    def cut(self, prompt: str) -> list[str]:
        """The pieces between the marks, whether the template kept them or wrote them as JSON."""
        as_json = "".join(rf"\\u{ord(char):04x}" for char in self._mark)
        return re.split(f"{self._mark}|(?i:{as_json})", prompt)
