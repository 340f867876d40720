"""Asking: a call shown exactly as it is, to be allowed or not.

Nothing is shortened here, and what cannot be seen is written out: nobody can allow what was not
shown.
"""

import os
import stat

import msgspec

from headrace.agent.progress import Reply
from headrace.code.screen.blocks import arguments_of
from headrace.code.screen.diff import diff
from headrace.code.screen.menu import Answer, Choice, Menu
from headrace.code.screen.text import (
    BOLD,
    DIM,
    RED,
    YELLOW,
    Line,
    exact,
    exact_line,
    expand,
    fold,
    width,
    wrap,
)
from headrace.core.decisions import Ask
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action

_TITLES = {
    "Bash": "Run a command",
    "Edit": "Edit a file",
    "Write": "Write a file",
    "NotebookEdit": "Edit a notebook",
    "WebFetch": "Fetch a page",
    "Read": "Read a file",
}
_FILE_BYTES_MAX = 2_000_000
_INDENT: Line = [("", "  ")]
_LEAD_COLUMNS = 6


def title(action: Action) -> Line:
    """What it is about."""
    return [(BOLD, _TITLES.get(action.tool, exact_line(action.tool)))]


def body(call: ToolCall, action: Action, columns: int) -> list[Line]:
    """All that would be done: a command's bytes, a file's change, an address, or the arguments."""
    room = max(8, columns - 3)
    rows: list[Line] = []
    if action.command is not None:
        return _shown(action.command, room, BOLD)
    if action.path is not None:
        rows += _shown(exact_line(action.path), room, BOLD)
    if action.url is not None:
        rows += _shown(exact_line(action.url), room, BOLD)
    given = arguments_of(call)
    change = _change(given, action) if action.writes else None
    if change is not None:
        return rows + [[*_INDENT, *row] for row in diff(*change, room)]
    subjects = {action.path, action.url}
    for name, value in given.items():
        if value in subjects if isinstance(value, str) else False:
            continue
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        rows += _shown(f"{exact_line(name)}: {text}", room, "")
    return rows or _shown(call.arguments, room, "")


def menu(ask: Ask, head: list[Line], columns: int) -> Menu:
    """The choices for it."""
    head = [*head, []]
    question: Line = [(YELLOW, "May it do this?")]
    if ask.red:
        question = [(f"{BOLD};{RED}", "✗ Nothing would hold it back. May it do this?")]
    if ask.why:
        head += wrap([(DIM, exact(ask.why))], columns - 1)
    choices = [Choice("Yes")]
    if ask.rule is not None:
        label = f"Yes, and always: {exact(ask.rule)}"
        if width(label) > columns - _LEAD_COLUMNS or "\n" in label:
            # A rule that is not seen whole must not be kept.
            head += [[(DIM, "always would allow")], *_shown(ask.rule, columns - 3, "")]
            label = "Yes, and always"
        choices.append(Choice(label))
    choices += [Choice("No"), Choice("No, and say what to do instead", free=True)]
    return Menu(head, question, choices)


def reply(ask: Ask, answer: Answer) -> Reply | None:
    """What was chosen; None: neither, the turn is to end."""
    if answer.choice is None:
        return None
    always = 1 if ask.rule is not None else None
    if answer.choice in {0, always}:
        return Reply(allowed=True, always=answer.choice == always)
    return Reply(allowed=False, words=answer.words)


def _shown(text: str, room: int, style: str) -> list[Line]:
    return [
        [*_INDENT, *row]
        for line in exact(text).split("\n")
        for row in fold([(style, expand(line))], room)
    ]


def _change(given: dict[str, object], action: Action) -> tuple[str | None, str] | None:
    """Before and after, as far as the arguments tell it."""
    old, new = given.get("old_string"), given.get("new_string")
    if isinstance(old, str) and isinstance(new, str):
        text = _text_of(action.path) if old and action.path is not None else None
        if text is not None and text.count(old) == 1:
            # Where it stands in the file is shown, too.
            return text, text.replace(old, new)
        return old, new
    content = given.get("content")
    if isinstance(content, str) and action.path is not None:
        return _text_of(action.path), content
    return None


def _text_of(path: str) -> str | None:
    """A small regular file's text, else None. No link is followed, nothing blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = file.read(_FILE_BYTES_MAX + 1)
        return None if len(data) > _FILE_BYTES_MAX else data.decode("utf-8", "replace")
