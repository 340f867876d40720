"""Search in what was typed before: ctrl+r."""

import asyncio

from headrace.agent.terminal import neutral
from headrace.code.screen.editor import Editor
from headrace.code.screen.history import History
from headrace.code.screen.keys import Key
from headrace.code.screen.text import BOLD, DIM, Line, clip, width


class Search:
    """Looks for the newest entry that holds what is typed; again with ctrl+r for older ones."""

    listens = True

    def __init__(self, history: History) -> None:
        self._history = history
        self._words = Editor()
        self._at = history.search("")
        self.answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def press(self, key: Key) -> None:
        """Do what a key does; may set the answer."""
        if key.name in {"esc", "ctrl+c", "ctrl+g"}:
            self._take(None)
        elif key.name in {"enter", "tab", "right", "end"}:
            self._take(self._found())
        elif key.name in {"ctrl+r", "up"}:
            older = self._history.search(self._words.text, self._at)
            self._at = self._at if older is None else older
        else:
            if key.name in {"text", "paste"}:
                self._words.insert(key.text)
            elif not self._words.press(key.name):
                return
            self._at = self._history.search(self._words.text)

    def rows(self, columns: int, rows_max: int) -> tuple[list[Line], tuple[int, int] | None]:
        """What is looked for, and what is found."""
        lead, words = "search: ", self._words.text
        found = self._found()
        shown = "nothing found" if found is None else " ".join(neutral(found).split())
        rows: list[Line] = [[(BOLD, lead), ("", words)], [(DIM, clip(shown, columns - 1))]]
        cursor = width(lead) + width(words[: self._words.cursor])
        return rows[:rows_max], (0, min(cursor, columns - 1))

    def _found(self) -> str | None:
        return None if self._at is None else self._history.entries[self._at]

    def _take(self, words: str | None) -> None:
        if not self.answer.done():
            self.answer.set_result(words)
