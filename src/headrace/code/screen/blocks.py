"""Blocks: what has happened, as lines for the scrollback; pure.

All text from models, files and commands passes `neutral` here.
"""

from typing import Any, NamedTuple

import msgspec

from headrace.agent.entries import Used
from headrace.agent.terminal import neutral
from headrace.agent.tools import Diff, Output, Todos
from headrace.code.screen.diff import counts, diff
from headrace.code.screen.text import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    Line,
    clip,
    exact,
    exact_line,
    expand,
    wrap,
)
from headrace.core.decisions import Deny
from headrace.core.messages import Text, ToolCall
from headrace.safety.actions import Action

OUTPUT_ROWS = 5
SAID_ROWS = 24
RAN_ROWS = 20
DIFF_ROWS = 60
_INDENT = "     "
_TODO_SIGNS = {"pending": ("", "☐"), "in_progress": (BOLD, "◐"), "completed": (DIM, "☒")}
_LEVELS = {"info": DIM, "warning": YELLOW, "error": RED}
_SUBJECTS = ("command", "file_path", "path", "pattern", "url", "question")
_WORDS_MAX = 400

_Arguments = dict[str, Any]


class Block(NamedTuple):
    """Lines, and the lines that stand for what was folded in them (empty: nothing was)."""

    lines: list[Line]
    folded: list[Line]


def said(words: str, columns: int) -> Block:
    """What the person said."""
    lines: list[Line] = []
    for number, line in enumerate(neutral(words).split("\n")):
        lead: Line = [(BOLD, "❯ " if not number else "  ")]  # noqa: RUF001 - the sign of a prompt
        lines += wrap([*lead, ("", expand(line))], columns, indent=[("", "  ")])
    shown, folded = folded_to(lines, SAID_ROWS)
    return Block([[], *shown], folded)


def notice(text: str, level: str, columns: int) -> list[Line]:
    """One line that people should know."""
    style = _LEVELS[level]
    words = neutral(text).replace("\n", " ")
    return wrap([(style, "· "), (style, words)], columns, indent=[("", "  ")])


def subject(call: ToolCall, action: Action | None, workspace: str) -> str:
    """What a call is about, in one line: its command, its file relative to the workspace."""
    about = action and (action.command or action.path or action.url)
    if not about:
        given = arguments_of(call)
        about = next((str(given[name]) for name in _SUBJECTS if given.get(name)), "")
    about = about.removeprefix(workspace.rstrip("/") + "/")
    return " ".join(exact(about[:_WORDS_MAX]).split())


def arguments_of(call: ToolCall) -> _Arguments:
    """A call's arguments; empty where they are no object."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=_Arguments)
    except (msgspec.DecodeError, RecursionError):
        return {}


def headline(name: str, about: str, columns: int, style: str) -> Line:
    """The line of a tool call."""
    name = exact_line(name)
    room = columns - len(name) - 5
    shown = f"({clip(about, room)})" if about and room > 0 else ""
    return [(style, "● "), (BOLD, name), ("", shown)]


def used(body: Used, call: ToolCall | None, about: str, columns: int) -> Block:
    """A tool call that was answered."""
    failed = body.result.is_error or isinstance(body.decision, Deny)
    name = call.name if call else body.tool
    if not about and isinstance(body.detail, Diff):
        # Nobody called it: the program did it by itself, or a crash lost the call.
        about = exact_line(body.detail.path)
    lines: list[Line] = [[], headline(name, about, columns, RED if failed else GREEN)]
    note = _note(body)
    lines += _noted(note, columns, RED if failed else DIM)
    shown, folded = _detail(body, columns, noted=bool(note))
    return Block(lines + shown, [*lines[1:], *folded] if folded else [])


def todos(items: Todos, columns: int) -> list[Line]:
    """The list of tasks as it stands."""
    rows: list[Line] = []
    for item in items.items:
        style, sign = _TODO_SIGNS.get(item.state, ("", "☐"))
        rows.append([(style, clip(f"  {sign} {' '.join(neutral(item.text).split())}", columns))])
    return rows


def _note(body: Used) -> str:
    if isinstance(body.decision, Deny):
        return f"refused: {body.decision.why}"
    if isinstance(body.detail, Output) and _says_again(body.note, body.detail):
        return "" if body.detail.text.strip() else "no output"
    if isinstance(body.detail, Diff) and not body.result.is_error:
        added, removed = counts(body.detail.before, body.detail.after)
        return f"added {_lines(added)}, removed {_lines(removed)}"
    if isinstance(body.detail, Todos):
        done = sum(item.state == "completed" for item in body.detail.items)
        return f"{done} of {len(body.detail.items)} done"
    if body.note:
        return body.note
    text = "".join(part.text for part in body.result.parts if isinstance(part, Text))
    return text.strip().partition("\n")[0] or "done"


def _says_again(note: str, output: Output) -> bool:
    """Whether a note tells only what is shown below it: the first line, or the exit status."""
    said = {"", "exit status " + str(output.status), "(no output)"}
    return note in said or output.text.strip().startswith(note)


def _lines(count: int) -> str:
    return f"{count} line" if count == 1 else f"{count} lines"


def _noted(note: str, columns: int, style: str) -> list[Line]:
    if not note:
        return []
    words = " ".join(neutral(note[:_WORDS_MAX]).split())
    return wrap([(DIM, "  ⎿  "), (style, words)], columns, indent=[("", _INDENT)])


def _detail(body: Used, columns: int, *, noted: bool) -> tuple[list[Line], list[Line]]:
    """What is shown of the detail, and all of it where that is more."""
    room = max(8, columns - len(_INDENT))
    if isinstance(body.detail, Diff):
        whole = [_indented(row) for row in diff(body.detail.before, body.detail.after, room)]
        return folded_to(whole, DIFF_ROWS)
    if isinstance(body.detail, Output):
        whole = output_lines(body.detail.text)
        status = body.detail.status
        ended: list[Line] = [[(RED, f"{_INDENT}exit status {status}")]] if status else []
        if whole and not noted:
            whole[0] = [(DIM, "  ⎿  "), *whole[0][1:]]
        shown, folded = folded_to(whole, OUTPUT_ROWS, clip_at=columns)
        if body.detail.path and folded:
            folded.append([(DIM, f"{_INDENT}all of it: {exact_line(body.detail.path)}")])
        return shown + ended, folded + ended if folded else []
    return [], []


def output_lines(text: str) -> list[Line]:
    """What a command printed; each line as long as it was, the terminal breaks it."""
    text = neutral(text.replace("\r\n", "\n")).strip("\n")
    return [[("", _INDENT), ("", expand(line))] for line in text.split("\n")] if text else []


def ran(detail: Output, columns: int) -> Block:
    """What a command of the person's own printed."""
    whole = output_lines(detail.text)
    shown, folded = folded_to(whole, RAN_ROWS, clip_at=columns)
    ended: list[Line] = [[(RED, f"{_INDENT}exit status {detail.status}")]] if detail.status else []
    return Block(shown + ended, folded)


def folded_to(
    whole: list[Line], rows: int, *, clip_at: int | None = None
) -> tuple[list[Line], list[Line]]:
    """The first and last rows of what is long, and the whole if something was left out."""
    if len(whole) <= rows + 1:
        return whole, []
    first = rows - rows // 2
    left = len(whole) - rows
    told: Line = [(DIM, f"{_INDENT}… {left} more lines (ctrl+o)")]
    shown = [*whole[:first], told, *whole[len(whole) - rows // 2 :]]
    if clip_at is not None:
        shown = [[(style, clip(text, clip_at)) for style, text in line] for line in shown]
    return shown, whole


def _indented(row: Line) -> Line:
    return [("", _INDENT), *row]
