"""Painter: a few live rows at the bottom of a terminal, redrawn where they changed.

What is finished is written above them once and belongs to the terminal from then on. All
placing is relative to the live rows, so the scrollback is never touched.
"""

import os

from headrace.code.screen.terminal import Terminal
from headrace.code.screen.text import Line, Span, clip_line, is_simple, line_width

_SYNC_BEGIN, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
_COLOURS = frozenset(str(code) for base in (30, 40, 90, 100) for code in range(base, base + 8))
# A gap in a row that is kept instead of drawn anew must be worth the jump over it.
_JUMP_CHARACTERS = 8

Place = tuple[int, int]


def styled(line: Line, *, colour: bool = True) -> str:
    """A line as the terminal wants it."""
    parts: list[str] = []
    current = ""
    for style, text in _merged(line, colour=colour):
        if style != current:
            parts.append(f"\x1b[0;{style}m" if style else "\x1b[0m")
            current = style
        parts.append(text)
    if current:
        parts.append("\x1b[0m")
    return "".join(parts)


def _merged(line: Line, *, colour: bool) -> list[Span]:
    merged: list[Span] = []
    for style, text in line:
        shown = style if colour else _uncoloured(style)
        if merged and merged[-1][0] == shown:
            merged[-1] = (shown, merged[-1][1] + text)
        elif text:
            merged.append((shown, text))
    return merged


def _uncoloured(style: str) -> str:
    return ";".join(code for code in style.split(";") if code not in _COLOURS)


class Painter:
    """Draws rows and knows what stands there."""

    def __init__(self, terminal: Terminal, *, colour: bool) -> None:
        self._terminal = terminal
        self._colour = colour
        self._rows: list[Line] = []
        self._at: Place = (0, 0)
        self._hidden = False
        self._columns = terminal.size()[0]
        # xterm cuts what no longer fits; all others that are in use break it into rows.
        self._reflows = "XTERM_VERSION" not in os.environ or "TMUX" in os.environ

    def draw(self, rows: list[Line], cursor: Place | None, above: list[Line] | None = None) -> None:
        """Show `rows` with the cursor at a row and column of them (None: hidden).

        `above` goes into the scrollback: each line as wide as it likes, broken by the terminal
        unless it holds characters whose width terminals disagree on.
        """
        columns, screen_rows = self._terminal.size()
        if columns != self._columns:
            self.resized()
        out: list[str] = []
        if above:
            self._print(above, columns, screen_rows, out)
        rows = [
            _merged(clip_line(row, columns), colour=self._colour) for row in rows[-screen_rows:]
        ]
        changed = self._rewrite(rows, out)
        if cursor is not None:
            self._go(min(cursor[0], len(rows) - 1), min(cursor[1], columns - 1), out)
        if (cursor is None) != self._hidden:
            self._hidden = cursor is None
            out.append("\x1b[?25l" if self._hidden else "\x1b[?25h")
        if not out:
            return
        text = "".join(out)
        # One row alone cannot tear.
        self._terminal.write(f"{_SYNC_BEGIN}{text}{_SYNC_END}" if above or changed > 1 else text)

    def resized(self) -> None:
        """Wipe the rows: the terminal has broken or cut them to its new width."""
        columns = self._terminal.size()[0]
        row, column = self._at
        up = row
        if self._reflows:
            up = sum(_rows_of(line, columns) for line in self._rows[:row]) + column // columns
        self._columns = columns
        self._terminal.write(_up(up) + "\r\x1b[J")
        self.forget()

    def erase(self) -> None:
        """Wipe the rows; the cursor stands where they began."""
        out: list[str] = []
        self._go(0, 0, out)
        self._terminal.write("".join(out) + "\x1b[J" + ("\x1b[?25h" if self._hidden else ""))
        self._hidden = False
        self.forget()

    def clear(self) -> None:
        """Wipe the whole screen, not what was scrolled out of it."""
        self._terminal.write("\x1b[H\x1b[2J")
        self.forget()

    def forget(self) -> None:
        """Take nothing for drawn: the next draw begins at the cursor."""
        self._rows, self._at = [], (0, 0)

    def _print(self, above: list[Line], columns: int, screen_rows: int, out: list[str]) -> None:
        count = sum(_rows_of(line, columns) for line in above)
        if not self._rows:
            out.append("\r")
        elif count + len(self._rows) <= screen_rows:
            # Make room at the bottom, push the live rows down, write into the gap.
            last = len(self._rows) - 1
            self._go(last, 0, out)
            out.append("\n" * count + _up(count + last) + f"\r\x1b[{count}L")
        else:
            self._go(0, 0, out)
            out.append("\x1b[J")
            self._rows = []
        self._at = (0, 0)
        out.append("\x1b[?7h")
        out.extend(styled(line, colour=self._colour) + "\r\n" for line in above)
        out.append("\x1b[?7l")

    def _rewrite(self, rows: list[Line], out: list[str]) -> int:
        """Write the rows that differ from what stands there; returns how many."""
        changed = 0
        for number, row in enumerate(rows):
            if number < len(self._rows):
                if row == self._rows[number]:
                    continue
                self._change(number, self._rows[number], row, out)
            else:
                if number:
                    self._go(number - 1, 0, out)
                    out.append("\r\n")
                else:
                    out.append("\r")
                out.append(styled(row))
                self._at = (number, line_width(row))
            changed += 1
        if len(rows) < len(self._rows):
            self._go(len(rows), 0, out)
            out.append("\x1b[J")
            changed += len(self._rows) - len(rows)
        self._rows = rows
        return changed

    def _change(self, number: int, before: Line, after: Line, out: list[str]) -> None:
        old, new = _cells(before), _cells(after)
        if old is None or new is None:
            self._go(number, 0, out)
            out.append("\x1b[2K" + styled(after))
            self._at = (number, line_width(after))
            return
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        tail = 0
        if len(old) == len(new):
            while tail < len(new) - same and old[-1 - tail] == new[-1 - tail]:
                tail += 1
            tail = tail if tail > _JUMP_CHARACTERS else 0
        self._go(number, same, out)
        out.append(styled(_merged(new[same : len(new) - tail], colour=True)))
        if len(new) < len(old):
            out.append("\x1b[K")
        self._at = (number, len(new) - tail)

    def _go(self, row: int, column: int, out: list[str]) -> None:
        if self._at == (row, column):
            return
        down = row - self._at[0]
        if down:
            out.append(_up(-down) if down < 0 else f"\x1b[{down}B")
        if column != self._at[1] or column >= self._columns - 1:
            out.append("\r" if column == 0 else f"\x1b[{column + 1}G")
        self._at = (row, column)


def _cells(line: Line) -> list[Span] | None:
    """One span for each column; None where characters may take more or less than one."""
    if not all(is_simple(text) for _, text in line):
        return None
    return [(style, character) for style, text in line for character in text]


def _rows_of(line: Line, columns: int) -> int:
    return max(1, -(-line_width(line) // columns))


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows > 0 else ""
