"""Patches: unified diffs and the apply_patch form, applied by what their lines say.

The numbers in a hunk's head are what models get wrong most often; they are read over.
"""

import re
from typing import NamedTuple

from headrace.code.edits import match
from headrace.code.edits.lines import Page
from headrace.code.edits.results import Applied, Refused, Result

_FILE = re.compile(r"\*\*\* (Add|Update|Delete) File: (.+)")
_HUNK = re.compile(r"@@(?: -\d+(?:,\d+)? \+\d+(?:,\d+)? @@)? ?(.*)")
_HOW = (
    "Write a unified diff (---, +++, @@) or *** Begin Patch, *** Update File: NAME, @@, lines "
    "that begin with a space, - or +, and *** End Patch."
)


class Hunk(NamedTuple):
    """Lines to find and what they become; `anchor` is a line that stands before them."""

    old: str
    new: str
    anchor: str = ""


class FilePatch(NamedTuple):
    """What a patch does to one file. A file that is added has hunks without old lines."""

    path: str
    hunks: tuple[Hunk, ...]
    adds: bool = False
    deletes: bool = False


def read(text: str) -> tuple[FilePatch, ...] | Refused:
    """The files of a patch, or why it is none."""
    lines = text.replace("\r\n", "\n").split("\n")
    found = _begin_patch(lines) if any(map(_FILE.fullmatch, lines)) else _unified(lines)
    whole = found and all(each.hunks or each.deletes for each in found)
    return tuple(found) if whole else Refused(f"This is no patch that can be read. {_HOW}")


def apply(before: str | None, patch: FilePatch) -> Result:
    """The file with all hunks applied, or with none.

    Args:
        before: The file's text; None where there is none.
        patch: What to do to it.
    """
    if patch.adds:
        if before:
            return Refused(f"{patch.path} exists already; update it instead.")
        text = "".join(hunk.new for hunk in patch.hunks)
        return Applied(text=text, first_line=1, last_line=text.count("\n"))
    if before is None:
        return Refused(f"{patch.path} is not there; add it, or name the right file.")
    text, notes = before, ()
    for number, hunk in enumerate(patch.hunks, 1):
        result = _hunk(text, hunk)
        if isinstance(result, Refused):
            return Refused(f"Hunk {number} of {len(patch.hunks)}: {result.why}")
        text, notes = result.text, notes + result.notes
    first, last = match.changed_lines(before, text)
    return Applied(text=text, first_line=first, last_line=last, notes=notes)


def _hunk(text: str, hunk: Hunk) -> Result:
    if hunk.old:
        whole = match.apply(text, hunk.old, hunk.new)
        if isinstance(whole, Applied) or not hunk.anchor:
            return whole
    page = Page.of(text)
    at = [place for place in range(len(page.bodies)) if page.bodies[place].strip() == hunk.anchor]
    if len(at) != 1:
        return Refused(
            "It has no lines to find. Give lines of the file before and after the change."
        )
    head = page.spliced(at[0] + 1, len(page.bodies), [])
    rest = text[len(head) :]
    if not hunk.old:
        return Applied(text=head + hunk.new + rest, first_line=1, last_line=1)
    result = match.apply(rest, hunk.old, hunk.new)
    if isinstance(result, Refused):
        return result
    return Applied(text=head + result.text, first_line=1, last_line=1, notes=result.notes)


def _hunks(lines: list[str]) -> tuple[Hunk, ...]:
    hunks: list[Hunk] = []
    old: list[str] = []
    new: list[str] = []
    anchor = ""
    for line in [*lines, "@@"]:
        head = _HUNK.fullmatch(line)
        if head is not None:
            if old != new:
                hunks.append(Hunk(_text(old), _text(new), anchor))
            old, new, anchor = [], [], head[1].strip()
        elif line.startswith("-"):
            old.append(line[1:])
        elif line.startswith("+"):
            new.append(line[1:])
        elif not line.startswith("\\"):
            kept = line.removeprefix(" ")
            old.append(kept)
            new.append(kept)
    return tuple(hunks)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _begin_patch(lines: list[str]) -> list[FilePatch]:
    found: list[FilePatch] = []
    at = 0
    while at < len(lines):
        head = _FILE.fullmatch(lines[at])
        at += 1
        if head is None:
            continue
        stop = at
        while stop < len(lines) and not lines[stop].startswith("*** "):
            stop += 1
        body = lines[at:stop]
        while body and not body[-1]:
            body.pop()
        verb, path = head[1], head[2].strip()
        found.append(FilePatch(path, _hunks(body), adds=verb == "Add", deletes=verb == "Delete"))
        at = stop
    return found


def _unified(lines: list[str]) -> list[FilePatch]:
    starts = [
        at
        for at in range(len(lines) - 1)
        if lines[at].startswith("--- ") and lines[at + 1].startswith("+++ ")
    ]
    found: list[FilePatch] = []
    for at, stop in zip(starts, [*starts[1:], len(lines)], strict=False):
        before, after = (_path(line) for line in lines[at : at + 2])
        body = lines[at + 2 : stop]
        cut = next(
            (i for i, line in enumerate(body) if line.startswith(("diff --git ", "```"))), None
        )
        body = body[:cut]
        while body and not body[-1]:
            body.pop()
        adds, deletes = before == "/dev/null", after == "/dev/null"
        found.append(FilePatch(before if deletes else after, _hunks(body), adds, deletes))
    return found


def _path(line: str) -> str:
    path = line[4:].split("\t", maxsplit=1)[0].strip()
    return path[2:] if path.startswith(("a/", "b/")) else path
