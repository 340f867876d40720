"""Tables of markdown, in as many columns as there are."""

import re

from headrace.code.screen.inline import inline
from headrace.code.screen.text import BOLD, DIM, Line, line_width, pad, plain, wrap

_CELL_COLUMNS_MIN = 6
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_SPLIT = re.compile(r"(?<!\\)\|")


def is_rule(line: str) -> bool:
    """Whether a line parts a table's head from its body."""
    return "|" in line and "-" in line and _RULE.fullmatch(line) is not None


def table(lines: list[str], columns: int) -> list[Line]:
    """A table from its source lines: head, rule, body."""
    head = _cells(lines[0])
    aligns = [_align(cell) for cell in _cells(lines[1])]
    count = len(head)
    body = [(_cells(line) + [""] * count)[:count] for line in lines[2:]]
    rows = [[inline(cell, BOLD) for cell in head]]
    rows += [[inline(cell.replace("\\|", "|")) for cell in row] for row in body]
    wanted = [max(1, *(line_width(row[at]) for row in rows)) for at in range(count)]
    room = columns - 3 * count - 1
    if room < _CELL_COLUMNS_MIN * count and sum(wanted) > room:
        return _listed(rows, columns)
    widths = _fitted(wanted, room)
    aligns = (aligns + [""] * count)[:count]
    drawn = [_edge("┌┬┐", widths), *_row(rows[0], widths, aligns), _edge("├┼┤", widths)]
    for row in rows[1:]:
        drawn += _row(row, widths, aligns)
    return [*drawn, _edge("└┴┘", widths)]


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip() for cell in _SPLIT.split(inner)]


def _align(rule: str) -> str:
    return ("c" if rule.startswith(":") else "r") if rule.endswith(":") else ""


def _fitted(wanted: list[int], room: int) -> list[int]:
    """Widths within `room`: the widest give way first."""
    widths = list(wanted)
    while sum(widths) > room and max(widths) > _CELL_COLUMNS_MIN:
        widest = max(widths)
        second = max([each for each in widths if each < widest], default=_CELL_COLUMNS_MIN)
        sharing = [at for at, each in enumerate(widths) if each == widest]
        over = sum(widths) - room
        least = max(second, _CELL_COLUMNS_MIN, widest - -(-over // len(sharing)))
        for at in sharing:
            widths[at] = least
    return widths


def _row(cells: list[Line], widths: list[int], aligns: list[str]) -> list[Line]:
    wrapped = [wrap(cell, wide) for cell, wide in zip(cells, widths, strict=True)]
    drawn: list[Line] = []
    for number in range(max(map(len, wrapped))):
        line: Line = [(DIM, "│")]
        for rows, wide, align in zip(wrapped, widths, aligns, strict=True):
            cell = rows[number] if number < len(rows) else []
            free = wide - line_width(cell)
            before = {"r": free, "c": free // 2}.get(align, 0)
            line += [("", " " * (1 + before)), *pad(cell, wide - before), ("", " "), (DIM, "│")]
        drawn.append(line)
    return drawn


def _edge(corners: str, widths: list[int]) -> Line:
    bars = corners[1].join("─" * (wide + 2) for wide in widths)
    return [(DIM, f"{corners[0]}{bars}{corners[2]}")]


def _listed(rows: list[list[Line]], columns: int) -> list[Line]:
    """Too narrow for columns: each row as lines of head and cell."""
    head, *body = rows
    lines: list[Line] = []
    for row in body:
        for name, cell in zip(head, row, strict=True):
            if plain(cell):
                lines += wrap([*name, ("", ": "), *cell], columns, indent=[("", "  ")])
        lines.append([(DIM, "─" * min(8, columns))])
    return lines[:-1] if lines else [[(style, text) for cell in head for style, text in cell]]
