"""Menu: a question with choices, in the place of the input box; pure but for its future."""

import asyncio
from typing import NamedTuple

from headrace.code.screen.editor import Editor
from headrace.code.screen.keys import Key
from headrace.code.screen.text import BOLD, CYAN, DIM, Line, clip_line, wrap

_DIGITS = "123456789"
_CHOICE_ROWS_MIN = 3
_STEPS = {"up": -1, "down": 1, "ctrl+p": -1, "ctrl+n": 1, "tab": 1, "shift+tab": -1}


class Choice(NamedTuple):
    """One answer. `hint` stands dim behind it; a `free` one takes words of the person's own."""

    label: str
    hint: str = ""
    free: bool = False


class Answer(NamedTuple):
    """Which choice was taken, None if the menu was left, and words where it is a free one."""

    choice: int | None
    words: str = ""


class Menu:
    """What is asked, and where the person stands in it.

    Args:
        head: Lines that say what it is about; they may give way where the screen is small.
        question: One line that always shows.
        choices: At least one.

    Attributes:
        listens: Whether it takes keys; drawn dim and without its mark until it does.
    """

    def __init__(self, head: list[Line], question: Line, choices: list[Choice]) -> None:
        self.head = head
        self.question = question
        self.choices = choices
        self.at = 0
        self.listens = True
        self.editor = Editor()
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def press(self, key: Key) -> None:
        """Do what a key does; may set the answer."""
        free = self.choices[self.at].free
        if key.name in {"esc", "ctrl+c", "ctrl+g"}:
            self._take(Answer(None))
        elif key.name in _STEPS:
            self.at = (self.at + _STEPS[key.name]) % len(self.choices)
        elif key.name == "enter":
            self._enter(free=free)
        elif key.name == "text" and not free:
            # Quick presses come as one run: the first is a choice, the others its words.
            self._jump(key.text[0])
            if self.choices[self.at].free:
                self.editor.insert(key.text[1:])
        elif key.name in {"text", "paste"} and free:
            self.editor.insert(key.text)
        elif free:
            self.editor.press(key.name)

    def _enter(self, *, free: bool) -> None:
        if free and not self.editor.text.strip():
            return
        self._take(Answer(self.at, self.editor.text.strip() if free else ""))

    def _jump(self, digit: str) -> None:
        index = _DIGITS.find(digit)
        if 0 <= index < len(self.choices):
            self.at = index
            if not self.choices[index].free:
                self._take(Answer(index))

    def _take(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def rows(self, columns: int, rows_max: int) -> tuple[list[Line], tuple[int, int] | None]:
        """The menu in at most `rows_max` rows, and where its cursor stands."""
        question = wrap(self.question, columns)[: max(1, rows_max - 1)]
        room = max(1, rows_max - len(question))
        needed = len(self.choices)
        head = self.head[: max(0, room - max(needed, _CHOICE_ROWS_MIN))]
        if len(head) < len(self.head):
            head = self.head[: max(0, room - needed)]
        shown, cursor = self._choices(columns, max(1, room - len(head)))
        above = [*head, *question]
        return [clip_line(row, columns) for row in [*above, *shown]], (
            (len(above) + cursor[0], cursor[1]) if cursor else None
        )

    def _choices(self, columns: int, rows_max: int) -> tuple[list[Line], tuple[int, int] | None]:
        first = min(max(0, self.at - rows_max // 2), max(0, len(self.choices) - rows_max))
        rows: list[Line] = []
        cursor = None
        for index, choice in enumerate(self.choices[first : first + rows_max], first):
            here = index == self.at and self.listens
            lead = f"{'❯' if here else ' '} {index + 1}. "  # noqa: RUF001 - the sign of a prompt
            plain = "" if self.listens else DIM
            row: Line = [(CYAN if here else plain, lead)]
            if choice.free and here:
                typed = self.editor.rows(max(2, columns - len(lead) - 1))
                line, column = self.editor.place(typed)
                row += [("", typed[line].text)] if self.editor.text else [(DIM, choice.label)]
                cursor = (index - first, len(lead) + column)
            else:
                row.append((f"{BOLD};{CYAN}" if here else plain, choice.label))
            if choice.hint:
                row.append((DIM, f"  {choice.hint}"))
            rows.append(row)
        return rows, cursor
