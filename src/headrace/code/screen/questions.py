"""Questions: panels in the place of the input box, one on top of the other.

A question that comes by itself takes no keys that were meant for something else: it listens only
after it has been drawn and no key has come for a while. Keys before that go where they went.
"""

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
from headrace.code.screen.text import BOLD, CYAN, DIM, Line, expand, wrap
from headrace.core.decisions import Ask
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action

# Rule, gap and status beside what is asked.
_ROWS_BESIDE = 3
_ROWS_UNBOUND = 100_000
QUIET_S = 0.4
"""So long must nothing be typed before a question that came by itself listens."""


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
        self._quiet: asyncio.TimerHandle | None = None

    def press(self, key: Key) -> bool:
        """A key for the topmost one that listens; False where none does."""
        if self._quiet is not None:
            self._await_quiet()
        for panel in reversed(self._panels):
            if panel.listens:
                panel.press(key)
                return True
        return False

    def drawn(self) -> None:
        """What stands can be seen now."""
        if self._panels and not self._panels[-1].listens and self._quiet is None:
            self._await_quiet()

    def _await_quiet(self) -> None:
        self._forget_quiet()
        self._quiet = asyncio.get_running_loop().call_later(QUIET_S, self._listen)

    def _forget_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def _listen(self) -> None:
        # By the timer, not by the clock: keys that came before it are read before it.
        self._quiet = None
        if self._panels:
            self._panels[-1].listens = True
            self._put([])

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
            return asking.reply(ask, await self._sudden(menu))

    async def choose(self, question: str, options: tuple[str, ...]) -> str | None:
        """Ask the model's question; None: the person does not want to answer."""
        async with self._asked:
            columns, rows = self._front.terminal.size()
            choices = [Choice(" ".join(neutral(option).split())) for option in options]
            menu = Menu(
                _asked_lines(question, columns - 1),
                [(DIM, "Your answer")],
                [*choices, Choice("in your own words", free=True)],
            )
            if len(menu.rows(columns, _ROWS_UNBOUND)[0]) > rows - _ROWS_BESIDE:
                self._put([[], *menu.head])
                menu.head = []
            answer = await self._sudden(menu)
        if answer.choice is None:
            return None
        return answer.words or options[answer.choice]

    async def _sudden(self, menu: Menu) -> Answer:
        """Have the person choose who did not ask for it, and may be typing."""
        menu.listens = False
        return await self.pick(menu)

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
            self._forget_quiet()
            self._panels.remove(panel)
            self._front.view.panel = self._panels[-1] if self._panels else None
            self._put([])


def _asked_lines(question: str, columns: int) -> list[Line]:
    first, *others = neutral(question).strip().split("\n")
    lines = wrap([(CYAN, "? "), (BOLD, first)], columns)
    for line in others:
        lines += wrap([("", expand(line))], columns, indent=[("", "    ")])
    return lines
