"""Picks: menus of models, sessions and places to go back to."""

from typing import NamedTuple

from headrace.agent.entries import Entry, Said
from headrace.code.screen.actions import Kept
from headrace.code.screen.menu import Choice, Menu
from headrace.code.screen.text import BOLD, DIM, exact_line
from headrace.code.visible import visible

_WORDS_MAX = 200
_NANO = 1_000_000_000
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


class Point(NamedTuple):
    """Something the person said, to which the session can go back."""

    entry_id: str
    words: str


class Back(NamedTuple):
    """What goes back."""

    files: bool
    conversation: bool


BACKS = (
    (Back(files=True, conversation=True), "Files and conversation"),
    (Back(files=False, conversation=True), "Conversation only"),
    (Back(files=True, conversation=False), "Files only"),
)


def points(branch: tuple[Entry, ...]) -> list[Point]:
    """What the person said, the newest first."""
    found = [
        Point(entry.id, entry.body.message.text())
        for entry in branch
        if isinstance(entry.body, Said) and entry.body.origin == "user"
    ]
    return found[::-1]


def points_menu(found: list[Point]) -> Menu:
    """To before which words to go back."""
    choices = [Choice(_line(point.words)) for point in found]
    return Menu([], [(BOLD, "Go back to before"), (DIM, "  (esc: stay here)")], choices)


def backs_menu() -> Menu:
    """What to put back."""
    return Menu([], [(BOLD, "Put back")], [Choice(label) for _, label in BACKS])


def models_menu(names: tuple[str, ...], current: str) -> Menu:
    """Which model to go on with."""
    choices = [Choice(exact_line(name), "in use" if name == current else "") for name in names]
    menu = Menu([], [(BOLD, "Model")], choices)
    menu.at = names.index(current) if current in names else 0
    return menu


def kept_menu(kept: tuple[Kept, ...], now_ns: int) -> Menu:
    """Which session to go on with."""
    choices = [Choice(_line(each.title), _age(now_ns - each.time_ns)) for each in kept]
    return Menu([], [(BOLD, "Session")], choices)


def _line(words: str) -> str:
    return " ".join(visible(words[:_WORDS_MAX])[0].split()) or "(nothing)"


def _age(age_ns: int) -> str:
    seconds = age_ns // _NANO
    return next((f"{seconds // size} {unit}" for size, unit in _AGES if seconds >= size), "now")
