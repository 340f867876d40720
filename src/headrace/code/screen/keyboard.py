"""Keyboard: what each key means, where it is not for editing alone."""

from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.code.screen import slash
from headrace.code.screen.completion import Completion, complete
from headrace.code.screen.front import Front
from headrace.code.screen.keys import Key
from headrace.code.screen.text import BOLD, DIM, MAGENTA, YELLOW, Line

TWICE_S = 1.5
"""Two presses within so many seconds are one wish."""

_PROMPT: Line = [(BOLD, "❯ ")]  # noqa: RUF001 - the sign of a prompt
_SHELL_PROMPT: Line = [(f"{BOLD};{MAGENTA}", "! ")]


class Listens(Protocol):
    """What keys set going."""

    @property
    def front(self) -> Front: ...  # noqa: D102 - terminal, words, view
    @property
    def working(self) -> bool: ...  # noqa: D102 - whether a turn or a command runs

    def now_s(self) -> float: ...  # noqa: D102 - monotonic
    def files(self) -> Sequence[str]: ...  # noqa: D102 - what `@` offers
    def submit(self, words: str) -> None: ...  # noqa: D102 - words, a command, or `!`
    def interrupt(self) -> None: ...  # noqa: D102 - end what runs, at once
    def rewind(self) -> None: ...  # noqa: D102 - ask where to go back to
    def search(self) -> None: ...  # noqa: D102 - look in what was typed
    def unfold(self) -> None: ...  # noqa: D102 - show what was folded last
    def cycle_mode(self) -> None: ...  # noqa: D102 - the next permission mode
    def stop(self) -> None: ...  # noqa: D102 - to the shell, until continued
    def leave(self, status: int = 0) -> None: ...  # noqa: D102 - end
    def hold_message(self, seconds: float) -> None: ...  # noqa: D102 - then take it away


class Keyboard:
    """Keys in, deeds out. Panels are asked before."""

    def __init__(self, host: Listens) -> None:
        self._host = host
        self._editor = host.front.editor
        self._view = host.front.view
        self._history = host.front.history
        self._completion: Completion | None = None
        self._last: tuple[str, float] = ("", 0.0)
        self._deeds: dict[str, Callable[[], None]] = {
            "enter": self._enter,
            "esc": self._esc,
            "ctrl+c": self._ctrl_c,
            "ctrl+d": self._ctrl_d,
            "ctrl+l": host.front.painter.clear,
            "ctrl+z": host.stop,
            "ctrl+o": host.unfold,
            "ctrl+r": host.search,
            "shift+tab": host.cycle_mode,
            "tab": self._tab,
            "up": lambda: self._vertical(-1),
            "ctrl+p": lambda: self._vertical(-1),
            "down": lambda: self._vertical(1),
            "ctrl+n": lambda: self._vertical(1),
        }

    def press(self, key: Key) -> None:
        """Do what a key means."""
        self._view.message = []
        if key.name == "text":
            self._editor.type(key.text)
        elif key.name == "paste":
            self._editor.paste(key.text)
        elif key.name in self._deeds and not (key.name == "ctrl+d" and self._editor.text):
            self._deeds[key.name]()
            if key.name in {"esc", "up", "down", "ctrl+p", "ctrl+n", "tab"}:
                return self._prompt()
        else:
            self._editor.press(key.name)
        self.offer()
        return None

    def offer(self) -> None:
        """Offer what could be meant at the cursor."""
        editor = self._editor
        about = editor.text[:1] == "/" or "@" in editor.text
        self._completion = (
            complete(editor.text, editor.cursor, slash.HINTS, self._host.files()) if about else None
        )
        self._show_offers()
        self._prompt()

    def _prompt(self) -> None:
        self._view.prompt = _SHELL_PROMPT if self._editor.text.startswith("!") else _PROMPT

    def _show_offers(self) -> None:
        columns = self._host.front.terminal.size()[0]
        self._view.popup = self._completion.rows(columns) if self._completion else []

    def _close_offers(self) -> None:
        self._completion, self._view.popup = None, []

    def _twice(self, name: str) -> bool:
        """Whether this press follows on one of its kind."""
        now = self._host.now_s()
        last, self._last = self._last, (name, now)
        if last[0] == name and now - last[1] < TWICE_S:
            self._last = ("", 0.0)
            return True
        return False

    def _say(self, text: str) -> None:
        self._view.message = [(YELLOW, f" {text}")]
        self._host.hold_message(TWICE_S)

    # Deeds

    def _enter(self) -> None:
        if self._completion and self._accept() and not self._editor.text.startswith("/"):
            return
        if self._editor.breaks_line():
            return
        if not self._editor.text.strip():
            return
        words = self._editor.take()
        self._close_offers()
        self._history.add(words)
        self._host.submit(words)

    def _tab(self) -> None:
        if self._completion:
            self._accept()
            self.offer()

    def _accept(self) -> bool:
        """Take what is offered; False where it stands there already."""
        completion, editor = self._completion, self._editor
        self._close_offers()
        if completion is None:
            return False
        offer = completion.offers[completion.at].text
        typed = editor.text[completion.start : editor.cursor]
        if typed == offer:
            return False
        blank = "" if offer.endswith("/") else " "
        rest = editor.text[editor.cursor :]
        editor.replace(
            editor.text[: completion.start] + offer + blank + rest,
            completion.start + len(offer) + len(blank),
        )
        return True

    def _vertical(self, by: int) -> None:
        if self._completion:
            self._completion.step(by)
            return self._show_offers()
        if self._editor.vertical(by):
            return None
        words = self._history.step(by, self._editor.text)
        if words is not None:
            self._editor.replace(words)
        return None

    def _esc(self) -> None:
        if self._completion:
            self._close_offers()
        elif self._host.working:
            self._host.interrupt()
        elif self._twice("esc"):
            if self._editor.text:
                self._history.add(self._editor.take())
            else:
                self._host.rewind()
        else:
            self._say("esc again clears" if self._editor.text else "esc again goes back")

    def _ctrl_c(self) -> None:
        if self._twice("ctrl+c"):
            self._host.leave(130)
            return
        if self._editor.text:
            self._history.add(self._editor.take())
        elif self._host.working:
            self._host.interrupt()
        self._say("ctrl+c again leaves")

    def _ctrl_d(self) -> None:
        self._host.leave()


def hint_of(*, busy: bool) -> str:
    """What stands in an empty input box."""
    return "type to queue" if busy else "ask, or / for commands, @ for files, ! for a shell"


def lines_of(text: str) -> list[Line]:
    """Plain text as dim lines, two columns in."""
    return [[("", "  "), (DIM, line)] for line in text.strip("\n").split("\n")]
