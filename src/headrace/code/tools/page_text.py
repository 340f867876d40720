"""The text of an HTML page, as a reader would see it.

One pass that never goes back: a page may be written to stall its reader, and Python's own parser
takes time that grows with the square of some pages, and gives up on others.
"""

import html
import re
from contextlib import suppress

_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "head"})
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "br", "tr", "table", "ul", "ol", "pre", "blockquote"}
)
_MARKS = {f"h{n}": "#" * n + " " for n in range(1, 7)} | {"li": "- "}
_TAG = re.compile(r"<(/?)([a-z][a-z0-9-]*+)(?:[^<>\"']|\"[^\"]*+\"|'[^']*+')*+>", re.IGNORECASE)
_MARKUP = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)
_NO_TEXT = re.compile(r"<[!?]")


def readable(page: str) -> str:
    """The text of a page, with its headings, lists and lines."""
    lines = (" ".join(line.split()) for line in "".join(_Pieces(page).all()).split("\n"))
    return "\n".join(line for line in lines if line)


class _Pieces:
    def __init__(self, page: str) -> None:
        self._page, self._low = page, page.lower()
        if len(self._low) != len(page):  # a few capitals have small letters of two characters
            self._low = page
        self._missing: set[str] = set()

    def all(self) -> list[str]:
        page, at = self._page, 0
        parts: list[str] = []
        while found := _MARKUP.search(page, at):
            start = found.start()
            parts.append(_plain(page[at:start]))
            tag = _TAG.match(page, start)
            if tag is not None:
                name, is_end = tag[2].lower(), bool(tag[1])
                at = tag.end()
                if name in _SKIPPED and not is_end:
                    at = self._behind(f"</{name}", at, at)
                elif name in _BLOCKS or name in _MARKS:
                    parts.append("\n" + ("" if is_end else _MARKS.get(name, "")))
            elif page.startswith("<!--", start):
                at = self._behind("-->", start, len(page))
            elif _NO_TEXT.match(page, start):
                at = self._behind(">", start, len(page))
            else:
                parts.append("<")
                at = start + 1
        return [*parts, _plain(page[at:])]

    def _behind(self, end: str, at: int, otherwise: int) -> int:
        """Where a text ends; what was not found once is not looked for again."""
        found = -1 if end in self._missing else self._low.find(end, at)
        if found < 0:
            self._missing.add(end)
            return otherwise
        return found if end.startswith("</") else found + len(end)


def _plain(text: str) -> str:
    with suppress(ValueError):  # a number of thousands of digits
        return html.unescape(text) if "&" in text else text
    return text
