"""Layout: which live rows there are, in what order, and what gives way on a small screen.

Standard library only: the first paint needs it.
"""

from typing import Protocol

from headrace.code.screen.editor import Editor
from headrace.code.screen.text import (
    BLUE,
    BOLD,
    CYAN,
    DIM,
    MAGENTA,
    RED,
    YELLOW,
    Line,
    clip,
    clip_line,
    line_width,
)

_RULED_FROM_ROWS = 9
_STATUS_FROM_ROWS = 5
_BOX_ROWS_MAX = 10
_QUEUED_ROWS_MAX = 3
_MODE_SIGNS = {
    "default": ("", ""),
    "manual": ("", ""),
    "acceptEdits": (MAGENTA, "⏵⏵ accept edits on"),
    "plan": (CYAN, "⏸ plan mode on"),
    "bypassPermissions": (RED, "⏵⏵ bypass permissions on"),
}

Place = tuple[int, int]


class Panel(Protocol):
    """What can stand in the place of the input box."""

    def rows(self, columns: int, rows_max: int) -> tuple[list[Line], Place | None]:
        """Its rows, at most so many, and where its cursor stands."""
        ...


class View:
    """All that the live rows show, apart from the words being typed."""

    def __init__(self) -> None:
        self.tail: list[Line] = []
        self.output: list[Line] = []
        self.spinner: Line = []
        self.todos: list[Line] = []
        self.queued: list[str] = []
        self.popup: list[Line] = []
        self.panel: Panel | None = None
        self.prompt: Line = [(BOLD, "❯ ")]  # noqa: RUF001 - the sign of a prompt
        self.hint = ""
        self.model = ""
        self.mode = "default"
        self.facts: tuple[str, ...] = ()
        self.message: Line = []


def lay_out(view: View, editor: Editor, columns: int, rows: int) -> tuple[list[Line], Place | None]:
    """The live rows and the cursor's place in them. All rows fit the screen."""
    bottom, cursor = _bottom(view, editor, columns, rows)
    # One row stays to the scrollback, so that it is seen where that ends.
    room = rows - len(bottom) - 1
    spinner = [view.spinner] if view.spinner and room > 0 else []
    room -= len(spinner)
    queued = _queued(view.queued, columns)[: max(0, room)]
    room -= len(queued)
    todos = _todos(view.todos, room)
    room -= len(todos)
    output = view.output[len(view.output) - min(len(view.output), max(0, room)) :]
    room -= len(output)
    tail = view.tail[len(view.tail) - min(len(view.tail), max(0, room)) :]
    room -= len(tail)
    top: list[Line] = list(tail)
    for part in (output, [*spinner, *todos, *queued]):
        gap: list[Line] = [[]] if part and room > 0 else []
        room -= len(gap)
        top += [*gap, *part]
    air: list[Line] = [[]] if room > 0 and rows >= _RULED_FROM_ROWS else []
    lines = [clip_line(line, columns) for line in [*top, *air, *bottom]]
    lead = len(top) + len(air)
    return lines, (cursor[0] + lead, cursor[1]) if cursor else None


def _bottom(view: View, editor: Editor, columns: int, rows: int) -> tuple[list[Line], Place | None]:
    """Input box or panel, what is offered, and the status line."""
    ruled = rows >= _RULED_FROM_ROWS
    status = [_status(view, columns)] if rows >= _STATUS_FROM_ROWS else []
    rule: list[Line] = [[(DIM, "─" * (columns - 1))]] if ruled else []
    if view.panel is not None:
        # What is typed meanwhile is not lost, and is seen.
        lead = [*rule, *_typed(view, editor, columns, rows)]
        shown, cursor = view.panel.rows(columns, max(1, rows - len(lead) - 1))
        return [*lead, *shown], (cursor[0] + len(lead), cursor[1]) if cursor else None
    room = rows - 2 * len(rule) - len(status) - 1
    box, place = _box(view, editor, columns, max(1, min(_BOX_ROWS_MAX, room)))
    below = view.popup[: max(0, room - len(box))] or status
    lines = [*rule, *box, *rule, *below]
    return lines, (place[0] + len(rule), place[1])


def _typed(view: View, editor: Editor, columns: int, rows: int) -> list[Line]:
    """The words in the input box in one row, where a panel stands in its place."""
    if not editor.text or rows < _RULED_FROM_ROWS:
        return []
    typed = " ".join(row.text for row in editor.rows(columns))
    return [clip_line([*view.prompt, (DIM, typed)], columns)]


def _box(view: View, editor: Editor, columns: int, rows_max: int) -> tuple[list[Line], Place]:
    lead = line_width(view.prompt)
    typed = editor.rows(columns - lead - 1)
    row, column = editor.place(typed)
    first = min(max(0, row - rows_max + 1), max(0, len(typed) - rows_max))
    lines: list[Line] = [
        [*(view.prompt if not at else [("", " " * lead)]), ("", line.text)]
        for at, line in enumerate(typed[first : first + rows_max], first)
    ]
    if not editor.text and view.hint:
        lines[0] = [*view.prompt, (DIM, clip(view.hint, columns - lead - 1))]
    return lines, (row - first, lead + column)


def _status(view: View, columns: int) -> Line:
    """The mode on the left, model and figures on the right, as much as fits."""
    style, sign = _MODE_SIGNS.get(view.mode, (YELLOW, view.mode))
    left: Line = view.message or ([(style, f" {sign}"), (DIM, " (shift+tab)")] if sign else [])
    facts = list(view.facts)
    while True:
        right = " · ".join([*([view.model] if view.model else []), *facts])
        free = columns - line_width(left) - len(right) - 2
        if free >= 0:
            return [*left, ("", " " * (free + 1)), (DIM, right)]
        if facts:
            facts.pop(0)
        elif len(left) > 1 and not view.message:
            left = left[:1]
        else:
            return clip_line(left or [(DIM, f" {right}")], columns)


def _todos(todos: list[Line], room: int) -> list[Line]:
    if len(todos) <= max(0, room):
        return todos
    if room < 2:  # noqa: PLR2004 - one for an item, one for what is left out
        return []
    left = len(todos) - room + 1
    return [*todos[: room - 1], [(DIM, f"  … {left} more")]]


def _queued(queued: list[str], columns: int) -> list[Line]:
    shown = queued[:_QUEUED_ROWS_MAX]
    rows: list[Line] = [
        [(BLUE, "  ⏎ "), (DIM, clip(" ".join(words.split()), columns - 5))] for words in shown
    ]
    if len(queued) > len(shown):
        rows.append([(DIM, f"    … {len(queued) - len(shown)} more")])
    return rows
