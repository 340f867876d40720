"""Markdown as it streams: blocks that are whole become lines, the one being written is a tail.

Whatever comes out has passed `neutral`.
"""

import re

from headrace.agent.terminal import neutral
from headrace.code.screen.highlight import highlight
from headrace.code.screen.inline import inline
from headrace.code.screen.table import is_rule, table
from headrace.code.screen.text import BOLD, DIM, ITALIC, UNDERLINE, Line, expand, wrap

_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})\s*([^\s`{]*)[^`]*")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*")
_ITEM = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])(\s+)(.*)")
_RULER = re.compile(r" {0,3}([-*_])\s*(\1\s*){2,}")
_TASK = re.compile(r"\[([ xX])\]\s+(.*)")
# Code goes up in such steps, highlighted from the block's beginning while that is cheap.
_CODE_STEP_LINES = 8
_CODE_CONTEXT_LINES = 400
_TABLE_LINES_MAX = 500


class Markdown:
    """One answer. `columns` is what its lines may take; lines of code may be longer."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._partial = ""
        self._paragraph: list[str] = []
        self._hang = 0
        self._bullet: Line = []
        self._quoted = False
        self._table: list[str] = []
        self._fence: str | None = None
        self._fence_indent = 0
        self._language = ""
        self._code: list[str] = []
        self._code_shown = 0
        self._blank = True

    def feed(self, text: str) -> list[Line]:
        """The lines that are whole with this."""
        *whole, self._partial = (self._partial + neutral(text)).split("\n")
        return [line for source in whole for line in self._take(expand(source.rstrip("\r")))]

    def finish(self) -> list[Line]:
        """The lines that are left, as if a line feed had come."""
        partial, self._partial = self._partial, ""
        lines = self._take(expand(partial)) if partial else []
        return lines + self._flush()

    def tail(self) -> list[Line]:
        """What is not whole yet, as it would look if it ended here."""
        partial = expand(self._partial)
        if self._fence is not None:
            code = [*self._code[self._code_shown :], *([partial] if partial else [])]
            return [self._code_line([("", line)]) for line in code]
        if self._table:
            return self._drawn_table([*self._table, *([partial] if "|" in partial else [])])
        if self._paragraph and not self._begins_block(partial):
            return self._drawn_paragraph([*self._paragraph, partial])
        ahead = self._drawn_paragraph(self._paragraph)
        return ahead + (self._alone(partial) if partial.strip() else [])

    def _alone(self, partial: str) -> list[Line]:
        """A partial line as a block of its own, without keeping it."""
        if found := _HEADING.fullmatch(partial):
            return self._drawn_heading(len(found[1]), found[2])
        if found := _ITEM.fullmatch(partial):
            hang, bullet, words = self._item(found)
            return _hung(bullet, inline(words), self.columns, hang)
        if partial.lstrip().startswith(("```", "~~~", "|")) or _RULER.fullmatch(partial):
            return [[(DIM, partial)]]
        return wrap(inline(partial.strip()), self.columns)

    # Lines in

    def _take(self, line: str) -> list[Line]:
        if self._fence is not None:
            return self._take_code(line)
        if self._table and ("|" not in line or len(self._table) >= _TABLE_LINES_MAX):
            return self._flush() + self._take(line)
        if self._table:
            self._table.append(line)
        elif is_rule(line) and len(self._paragraph) == 1 and "|" in self._paragraph[0]:
            self._table, self._paragraph = [self._paragraph[0], line], []
        elif not line.strip():
            return self._flush() + self._gap()
        elif self._begins_block(line):
            return self._flush() + self._begin(line)
        else:
            self._paragraph.append(line.strip())
        return []

    def _begins_block(self, line: str) -> bool:
        return (
            bool(_ITEM.fullmatch(line) or _HEADING.fullmatch(line) or _FENCE.fullmatch(line))
            or line.lstrip().startswith((">", "|"))
            or _RULER.fullmatch(line) is not None
            or (self._quoted and bool(self._paragraph))
        )

    def _begin(self, line: str) -> list[Line]:
        if found := _FENCE.fullmatch(line):
            self._fence, self._language = found[2], found[3]
            self._fence_indent = len(found[1])
            return []
        if found := _HEADING.fullmatch(line):
            self._blank = False
            return self._drawn_heading(len(found[1]), found[2])
        if _RULER.fullmatch(line):
            self._blank = False
            return [[(DIM, "─" * min(self.columns, 40))]]
        if found := _ITEM.fullmatch(line):
            self._hang, self._bullet, words = self._item(found)
            self._paragraph = [words]
        elif line.lstrip().startswith(">"):
            self._quoted, self._bullet, self._hang = True, [(DIM, "│ ")], 2
            self._paragraph = [line.lstrip()[1:].strip()]
        else:
            self._paragraph = [line.strip()]
        return []

    def _item(self, found: re.Match[str]) -> tuple[int, Line, str]:
        mark = "•" if found[2] in "-*+" else found[2]
        words = found[4]
        if task := _TASK.fullmatch(words):
            mark, words = ("☐" if task[1] == " " else "☒"), task[2]
        indent = min(len(found[1]), self.columns // 3)
        return indent + len(mark) + 1, [("", " " * indent + mark + " ")], words

    def _take_code(self, line: str) -> list[Line]:
        closing = line.strip()
        fence = self._fence or ""
        if closing.startswith(fence) and not closing.strip(fence[0]):
            lines = self._show_code()
            self._fence, self._code, self._code_shown = None, [], 0
            self._blank = False
            return lines
        cut = min(self._fence_indent, len(line) - len(line.lstrip()))
        self._code.append(line[cut:])
        waiting = len(self._code) - self._code_shown
        return self._show_code() if waiting >= _CODE_STEP_LINES else []

    def _show_code(self) -> list[Line]:
        if self._code_shown > _CODE_CONTEXT_LINES:
            del self._code[: self._code_shown]
            self._code_shown = 0
        lines = highlight("\n".join(self._code), self._language)[self._code_shown :]
        self._code_shown = len(self._code)
        return [self._code_line(line) for line in lines] if self._code else []

    def _code_line(self, line: Line) -> Line:
        return [("", "  "), *line]

    # Blocks out

    def _gap(self) -> list[Line]:
        """One blank line between blocks, none at the beginning."""
        if self._blank:
            return []
        self._blank = True
        return [[]]

    def _flush(self) -> list[Line]:
        lines: list[Line] = []
        if self._fence is not None:
            lines = self._show_code()
            self._fence, self._code, self._code_shown = None, [], 0
        elif self._table:
            lines = self._drawn_table(self._table)
            self._table = []
        elif self._paragraph:
            lines = self._drawn_paragraph(self._paragraph)
        self._paragraph, self._bullet, self._hang, self._quoted = [], [], 0, False
        if lines:
            self._blank = False
        return lines

    def _drawn_paragraph(self, source: list[str]) -> list[Line]:
        if not source:
            return []
        words = inline(" ".join(source), ITALIC if self._quoted else "")
        hang: Line = [(DIM, "│ ")] if self._quoted else [("", " " * self._hang)]
        return wrap([*self._bullet, *words], self.columns, indent=hang)

    def _drawn_heading(self, depth: int, words: str) -> list[Line]:
        style = f"{BOLD};{UNDERLINE}" if depth == 1 else BOLD
        return wrap(inline(words, style), self.columns)

    def _drawn_table(self, source: list[str]) -> list[Line]:
        return table(source, self.columns)


def _hung(bullet: Line, words: Line, columns: int, hang: int) -> list[Line]:
    return wrap([*bullet, *words], columns, indent=[("", " " * hang)])
