"""Questions: panels in the place of the input box, one on top of the other."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from headrace.agent.progress import Reply
from headrace.agent.terminal import neutral
from headrace.code.screen import asking
from headrace.code.screen.front import Front
from headrace.code.screen.keys import Key
from headrace.code.screen.menu import Answer, Choice, Menu
from headrace.code.screen.search import Search
from headrace.code.screen.text import BOLD, CYAN, DIM, Line, wrap
from headrace.core.decisions import Ask
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action

# Rule, gap and status beside what is asked.
_ROWS_BESIDE = 3
_ROWS_UNBOUND = 100_000


class Questions:
    """Asks the person, one question of the session at a time.

    Args:
        front: Terminal and view.
        put: Takes lines for the scrollback, and has the rows drawn in any case.
    """

    def __init__(self, front: Front, put: Callable[[list[Line]], None]) -> None:
        self._front = front
        self._put = put
        self._panels: list[Menu | Search] = []
        self._asked = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether one stands."""
        return bool(self._panels)

    def press(self, key: Key) -> None:
        """A key for the topmost one."""
        self._panels[-1].press(key)

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply | None:
        """Ask whether a call may run; None: the person wants neither."""
        async with self._asked:
            columns, rows = self._front.terminal.size()
            head = [asking.title(action), *asking.body(call, action, columns)]
            menu = asking.menu(ask, head, columns)
            if len(menu.rows(columns, _ROWS_UNBOUND)[0]) > rows - _ROWS_BESIDE:
                # What must be seen whole goes up, whole.
                self._put([[], *menu.head])
                menu.head = []
            return asking.reply(ask, await self.pick(menu))

    async def choose(self, question: str, options: tuple[str, ...]) -> str | None:
        """Ask the model's question; None: the person does not want to answer."""
        async with self._asked:
            columns = self._front.terminal.size()[0]
            choices = [Choice(" ".join(neutral(option).split())) for option in options]
            asked: Line = [(CYAN, "? "), (BOLD, " ".join(neutral(question).split()))]
            menu = Menu(
                wrap(asked, columns - 1),
                [(DIM, "Your answer")],
                [*choices, Choice("in your own words", free=True)],
            )
            answer = await self.pick(menu)
        if answer.choice is None:
            return None
        return answer.words or options[answer.choice]

    async def pick(self, menu: Menu) -> Answer:
        """Have the person choose."""
        with self._panel(menu):
            return await menu.answer

    async def search(self) -> None:
        """Look in what was typed before, and take it."""
        search = Search(self._front.history)
        with self._panel(search):
            words = await search.answer
        if words is not None:
            self._front.editor.replace(words)

    @contextmanager
    def _panel(self, panel: Menu | Search) -> Generator[None]:
        """Have it in the place of the input box."""
        self._panels.append(panel)
        self._front.view.panel = panel
        self._put([])
        try:
            yield
        finally:
            self._panels.remove(panel)
            self._front.view.panel = self._panels[-1] if self._panels else None
            self._put([])
