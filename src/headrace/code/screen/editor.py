"""Editor: the words being typed, over several lines, with a cursor; pure.

A large paste is one character here, from a private plane, and shown as `[pasted 120 lines]`: it
moves and goes as one. It is put back when the words are taken.
"""

from collections.abc import Callable

from headrace.agent.terminal import neutral
from headrace.code.screen.text import clusters, width

_PASTE_LINES = 4
_PASTE_CHARACTERS = 800
_PASTE_FIRST = 0xF0000
_PASTES_MAX = 1_000
_UNDO_MAX = 200
_NO_PASTES = dict.fromkeys(range(_PASTE_FIRST, _PASTE_FIRST + _PASTES_MAX))


class Row:
    """One row as it is shown: `start` is where its first cluster stands in the text."""

    __slots__ = ("cells", "end", "start", "text")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.text = ""
        # Where each cluster begins: index in the text, column.
        self.cells: list[tuple[int, int]] = []


class Editor:
    """Text, cursor, what was killed, and what can be undone."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self.columns = 80
        self._pastes: list[str] = []
        self._killed = ""
        self._undo: list[tuple[str, int]] = []
        self._typing = False
        self._keys: dict[str, Callable[[], object]] = {
            "left": lambda: self._move(self._left()),
            "ctrl+b": lambda: self._move(self._left()),
            "right": lambda: self._move(self._right()),
            "ctrl+f": lambda: self._move(self._right()),
            "home": lambda: self._move(self._line_start()),
            "ctrl+a": lambda: self._move(self._line_start()),
            "end": lambda: self._move(self._line_end()),
            "ctrl+e": lambda: self._move(self._line_end()),
            "ctrl+home": lambda: self._move(0),
            "ctrl+end": lambda: self._move(len(self.text)),
            **dict.fromkeys(
                ("alt+b", "alt+left", "ctrl+left"), lambda: self._move(self._word_left())
            ),
            **dict.fromkeys(
                ("alt+f", "alt+right", "ctrl+right"), lambda: self._move(self._word_right())
            ),
            "backspace": lambda: self._cut(self._left(), self.cursor),
            "shift+backspace": lambda: self._cut(self._left(), self.cursor),
            "delete": lambda: self._cut(self.cursor, self._right()),
            "ctrl+d": lambda: self._cut(self.cursor, self._right()),
            "ctrl+w": lambda: self._kill(self._word_left(), self.cursor),
            "alt+backspace": lambda: self._kill(self._word_left(), self.cursor),
            "ctrl+backspace": lambda: self._kill(self._word_left(), self.cursor),
            "alt+d": lambda: self._kill(self.cursor, self._word_right()),
            "ctrl+k": self._kill_right,
            "ctrl+u": self._kill_left,
            "ctrl+y": lambda: self.insert(self._killed),
            "ctrl+j": lambda: self.insert("\n"),
            "shift+enter": lambda: self.insert("\n"),
            "alt+enter": lambda: self.insert("\n"),
            "ctrl+_": self._take_back,
            "ctrl+/": self._take_back,
        }

    def press(self, name: str) -> bool:
        """Do what an editing key does; False if it is none."""
        act = self._keys.get(name)
        if act is None:
            return False
        act()
        self._typing = False
        return True

    def type(self, text: str) -> None:
        """Insert typed characters; a run of them is undone as one."""
        self.insert(text, joined=self._typing)
        self._typing = True

    def paste(self, text: str) -> None:
        """Insert what was pasted, folded where it is long."""
        self._typing = False
        text = text.translate(_NO_PASTES)
        long = text.count("\n") > _PASTE_LINES or len(text) > _PASTE_CHARACTERS
        if long and len(self._pastes) < _PASTES_MAX:
            self._pastes.append(text)
            self._put(chr(_PASTE_FIRST + len(self._pastes) - 1))
        else:
            self._put(neutral(text))

    def insert(self, text: str, *, joined: bool = False) -> None:
        """Insert characters at the cursor; what cannot be seen is left out but for line feeds."""
        clean = neutral(text) if "\x1b" in text or not text.isprintable() else text
        self._put(clean.translate(_NO_PASTES) if text != self._killed else text, joined=joined)

    def replace(self, text: str, cursor: int | None = None) -> None:
        """Put other words in the place of all."""
        self._remember()
        self.text = neutral(text)
        self.cursor = len(text) if cursor is None else cursor
        self._typing = False

    def take(self) -> str:
        """The words with all pastes unfolded; the editor is empty after that."""
        taken = self.unfolded()
        self.text, self.cursor, self._pastes, self._undo = "", 0, [], []
        self._typing = False
        return taken

    def unfolded(self) -> str:
        """The words with all pastes unfolded."""
        return self.text.translate(
            {_PASTE_FIRST + at: pasted for at, pasted in enumerate(self._pastes)}
        )

    def breaks_line(self) -> bool:
        """Whether Enter now means a line feed: after a backslash, which goes."""
        if self.text[: self.cursor].endswith("\\"):
            self._cut(self.cursor - 1, self.cursor)
            self._put("\n", joined=True)
            return True
        return False

    # Rows

    def rows(self, columns: int) -> list[Row]:
        """The text in rows of at most `columns`, broken anywhere."""
        self.columns = max(2, columns)
        rows = [Row(0)]
        at = used = 0
        for cluster in self._clusters(self.text):
            row = rows[-1]
            if cluster == "\n":
                at += 1
                row.cells.append((at - 1, used))
                rows.append(Row(at))
                used = 0
                continue
            shown = self._shown(cluster)
            wide = width(shown)
            if used + wide > self.columns and used:
                row = Row(at)
                rows.append(row)
                used = 0
            row.cells.append((at, used))
            row.text += shown
            at += len(cluster)
            row.end = at
            used += wide
        return rows

    def place(self, rows: list[Row]) -> tuple[int, int]:
        """Row and column of the cursor."""
        for number in range(len(rows) - 1, -1, -1):
            row = rows[number]
            if row.start <= self.cursor:
                for start, column in row.cells:
                    if start >= self.cursor:
                        return number, column
                return number, width(row.text)
        return 0, 0

    def vertical(self, step: int) -> bool:
        """Move a row up (-1) or down (1); False where there is none."""
        rows = self.rows(self.columns)
        number, column = self.place(rows)
        if not 0 <= number + step < len(rows):
            return False
        row = rows[number + step]
        near = [start for start, at in row.cells if at <= column]
        wide = width(row.text)
        if column >= wide and not (row.cells and self.text[row.cells[-1][0]] == "\n"):
            self._move(row.end)
        elif near:
            self._move(near[-1])
        else:
            self._move(row.start)
        return True

    def _shown(self, cluster: str) -> str:
        at = ord(cluster[0]) - _PASTE_FIRST
        if 0 <= at < len(self._pastes):
            return f"[pasted {self._pastes[at].count(chr(10)) + 1} lines]"
        return "    " if cluster == "\t" else cluster

    def _clusters(self, text: str) -> list[str]:
        found: list[str] = []
        run = ""
        for character in text:
            if character in "\n\t" or _PASTE_FIRST <= ord(character) < _PASTE_FIRST + _PASTES_MAX:
                found += [*clusters(run), character]
                run = ""
            else:
                run += character
        return found + clusters(run)

    # Places

    def _left(self) -> int:
        before = self._clusters(self.text[: self.cursor])
        return self.cursor - (len(before[-1]) if before else 0)

    def _right(self) -> int:
        after = self._clusters(self.text[self.cursor :])
        return self.cursor + (len(after[0]) if after else 0)

    def _line_start(self) -> int:
        return self.text.rfind("\n", 0, self.cursor) + 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.cursor)
        return len(self.text) if end < 0 else end

    def _word_left(self) -> int:
        at = self.cursor
        while at and not self.text[at - 1].isalnum():
            at -= 1
        while at and self.text[at - 1].isalnum():
            at -= 1
        return at

    def _word_right(self) -> int:
        at, end = self.cursor, len(self.text)
        while at < end and not self.text[at].isalnum():
            at += 1
        while at < end and self.text[at].isalnum():
            at += 1
        return at

    # Changes

    def _remember(self) -> None:
        self._undo.append((self.text, self.cursor))
        del self._undo[:-_UNDO_MAX]

    def _move(self, to: int) -> None:
        self.cursor = to

    def _put(self, text: str, *, joined: bool = False) -> None:
        if not text:
            return
        if not joined:
            self._remember()
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def _cut(self, start: int, end: int) -> str:
        if start == end:
            return ""
        self._remember()
        cut = self.text[start:end]
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start
        return cut

    def _kill(self, start: int, end: int) -> None:
        self._killed = self._cut(start, end) or self._killed

    def _kill_right(self) -> None:
        end = self._line_end()
        self._kill(self.cursor, end if end > self.cursor else self._right())

    def _kill_left(self) -> None:
        start = self._line_start()
        self._kill(start if start < self.cursor else self._left(), self.cursor)

    def _take_back(self) -> None:
        if self._undo:
            self.text, self.cursor = self._undo.pop()
