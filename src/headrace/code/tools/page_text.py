"""The text of an HTML page, as a reader would see it."""

from html.parser import HTMLParser


class _Text(HTMLParser):
    """What a reader would see of a page, with its headings, lists and links."""

    _SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "head"})
    _BLOCKS = frozenset(
        {"p", "div", "section", "article", "br", "tr", "table", "ul", "ol", "pre", "blockquote"}
    )
    _MARKS = {f"h{n}": "#" * n + " " for n in range(1, 7)} | {"li": "- "}

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._skipping += tag in self._SKIPPED
        if tag in self._BLOCKS or tag in self._MARKS:
            self.parts.append("\n" + self._MARKS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._SKIPPED and self._skipping:
            self._skipping -= 1
        elif tag in self._MARKS or tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.parts.append(data)


def readable(html: str) -> str:
    """The text of a page."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)
