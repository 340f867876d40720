"""Definitions from a model's answer put into a file in the place of those of the same name.

A small model that is asked for a whole file copies most of it, forgets half of the task and is
slow. Asked for what changes alone, it writes a function or a class with some of its methods; here
each goes where it belongs, in the file's own indentation. Nothing that the answer leaves out is
deleted.
"""

import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from headrace.code.edits import match, whole_file
from headrace.code.edits.indents import style_of
from headrace.code.edits.lines import Page, indent_of
from headrace.code.edits.results import Applied, Refused, Result
from headrace.code.guided.outline import Item, outline

_FROM_IMPORT = re.compile(r"\s*from\s+(\S+)\s+import\s+(?!\*)\(?([^)]*)\)?\s*(?:#.*)?", re.DOTALL)
_SELF = re.compile(r"\s*(?:async\s+)?def\s+\w+\(\s*(?:self|cls)\b", re.MULTILINE)
UNCHANGED = "The answer repeats what stands there."
UNPARSED = "The code of the answer does not parse."


class _Splice(msgspec.Struct, frozen=True):
    """Lines of the file from `start` to `stop` become `lines`."""

    start: int
    stop: int
    lines: list[str]


class _Side(msgspec.Struct, frozen=True):
    """One of the two texts: its lines and items."""

    lines: list[str]
    items: tuple[Item, ...]

    def of(self, item: Item) -> list[str]:
        return self.lines[item.first : item.last]


def graft(name: str, before: str, code: str, *, inside: str = "") -> Result:
    """The file with the definitions of an answer in their places.

    Args:
        name: The file's name; its ending tells the language.
        before: The file's text.
        code: Definitions, in any number and order; a whole file is one case of it.
        inside: The class that methods without one belong to, where their names do not tell.

    Returns:
        Refused where the code does not parse, leaves lines out or changes nothing.
    """
    if (left_out := whole_file.elision(before, code)) is not None:
        return Refused(f"`{left_out[1][:80]}` stands for lines left out. Write them.")
    page = Page.of(before)
    code = textwrap.dedent(code.replace("\r\n", "\n").expandtabs(4)).strip("\n") + "\n"
    items, wanted = outline(name, before), outline(name, code)
    if items is None:
        return whole_file.replace(before, code)
    if wanted is None:
        return Refused(UNPARSED)
    file, answer = _Side(page.bodies, items), _Side(code.split("\n"), wanted)
    answer = _housed(file, answer, inside)
    splices = _merged(file, answer, file.items, answer.items, "")
    text = before
    # From the end, so that places above stay right; of two at one place the later goes first.
    for splice in sorted(splices, key=lambda one: (one.start, one.stop))[::-1]:
        text = Page.of(text).spliced(splice.start, splice.stop, splice.lines)
    if text == before:
        return Refused(UNCHANGED)
    first, last = match.changed_lines(before, text)
    return Applied(text=text, first_line=first, last_line=last)


def _housed(file: _Side, answer: _Side, inside: str) -> _Side:
    """The answer with its bare methods moved into the class that they belong to."""
    tops = {item.key for item in file.items}
    items = list(answer.items)
    for number, item in enumerate(items):
        if not item.name or item.key in tops or item.holds:
            continue
        homes = [one for one in file.items if any(m.key == item.key for m in one.members)]
        if not homes and _SELF.match("\n".join(answer.of(item))):
            homes = [one for one in file.items if one.holds and one.name == inside]
            homes = homes or [one for one in file.items if one.holds]
        if len(homes) == 1:
            home = homes[0]
            first, last = item.first, item.last
            items[number] = Item(home.key, home.name, first, last, first, (item,), first)
    return _Side(answer.lines, tuple(items))


def _merged(
    file: _Side, answer: _Side, ours: Sequence[Item], theirs: Sequence[Item], indent: str
) -> list[_Splice]:
    """What changes in the file, item by item."""
    splices: list[_Splice] = []
    known = {item.key: item for item in ours if item.key}
    place: Item | None = None
    for item in theirs:
        if not item.key:
            continue
        there = known.get(item.key)
        if there is None:
            lines = _indented(file, answer.of(item), indent)
            splices.append(_added(file, ours, place, item, lines))
            continue
        place = there
        if item.key.startswith("import "):
            splices += _imported(file, answer, there, item)
        elif there.holds and item.holds:
            inner = _member_indent(file, there, indent)
            splices += _headed(file, answer, there, item, indent)
            splices += _merged(file, answer, there.members, item.members, inner)
        else:
            lines = _indented(file, answer.of(item), indent)
            first = _first(there, item)
            if lines != file.lines[first : there.last]:
                splices.append(_Splice(first, there.last, lines))
    return splices


def _first(there: Item, item: Item) -> int:
    """From where an item is replaced: decorators stay where the answer has none."""
    return there.bare if item.bare == item.first else there.first


def _headed(file: _Side, answer: _Side, there: Item, item: Item, indent: str) -> list[_Splice]:
    """The head of a class, where the answer has another one."""
    if item.body is None or there.body is None or item.body <= item.first:
        return []
    head = _indented(file, answer.lines[item.first : item.body], indent)
    head = _until_body(head)
    first = _first(there, item)
    old = _until_body(file.lines[first : there.body])
    if not head or not old or head == old:
        return []
    return [_Splice(first, first + len(old), head)]


def _until_body(lines: list[str]) -> list[str]:
    """Of the lines before a body those up to the one that opens it."""
    for number, line in enumerate(lines):
        if line.rstrip().endswith((":", "{")):
            return lines[: number + 1]
    return []


def _added(
    file: _Side, ours: Sequence[Item], place: Item | None, item: Item, lines: list[str]
) -> _Splice:
    """A new item: an import below the others, anything else behind what the answer has before."""
    if item.key.startswith("import "):
        imports = [one for one in ours if one.key.startswith("import ")]
        at = imports[-1].last if imports else _behind_docstring(file, ours)
        return _Splice(at, at, lines if imports else [*lines, ""])
    if place is None:
        place = ours[-1] if ours else None
    at = place.last if place is not None else len(file.lines)
    short = place is not None and len(lines) == 1 and place.last - place.first == 1
    gap = 0 if short else _gap(file, ours)
    behind = at < len(file.lines) and bool(file.lines[at].strip())
    return _Splice(at, at, [*[""] * gap, *lines, *([""] * gap if behind else [])])


def _behind_docstring(file: _Side, ours: Sequence[Item]) -> int:
    if ours and not ours[0].key and file.of(ours[0])[0].lstrip().startswith(('"', "'", "r")):
        return ours[0].last
    return ours[0].first if ours else 0


def _gap(file: _Side, ours: Sequence[Item]) -> int:
    """How many empty lines part the longer items."""
    for one, other in pairwise(ours):
        if other.last - other.first > 1 and other.key and not other.key.startswith("import "):
            between = file.lines[one.last : other.first]
            return sum(not line.strip() for line in between)
    return 1 if ours and file.of(ours[0])[0][:1] in {" ", "\t"} else 2


def _imported(file: _Side, answer: _Side, there: Item, item: Item) -> list[_Splice]:
    """The names of a `from` import added to the one of the same module."""
    old, new = file.of(there), answer.of(item)
    ours, theirs = (_FROM_IMPORT.fullmatch("\n".join(lines)) for lines in (old, new))
    if ours is None or theirs is None:
        return []
    names = [one.strip() for one in ours[2].split(",") if one.strip()]
    more = [one.strip() for one in theirs[2].split(",") if one.strip() and one.strip() not in names]
    if not more:
        return []
    listed = ", ".join(sorted({*names, *more}))
    line = f"from {ours[1]} import {listed}"
    if len(line) > max(79, *map(len, old)):
        line = f"from {ours[1]} import ({listed})"
    return [_Splice(there.first, there.last, [line])]


def _member_indent(file: _Side, there: Item, indent: str) -> str:
    if there.members:
        return indent_of(file.lines[there.members[0].first])
    style = style_of(file.lines, ())
    return indent + style.indent(style.unit)


def _indented(file: _Side, lines: Sequence[str], indent: str) -> list[str]:
    """Lines of the answer at an indentation of the file, in tabs where it uses tabs."""
    shift = len(indent_of(lines[0])) if lines else 0
    style = style_of(file.lines, lines)
    base = style.columns(indent)
    moved: list[str] = []
    for line in lines:
        if not line.strip():
            moved.append("")
            continue
        columns = max(0, len(indent_of(line)) - shift) + base
        moved.append(style.indent(columns) + line.lstrip())
    return moved
