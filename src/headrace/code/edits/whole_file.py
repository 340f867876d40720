"""Whole files in a model's reply: found among its prose, and refused where parts are left out."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from headrace.code.edits.lines import split
from headrace.code.edits.match import UNCHANGED, changed_lines
from headrace.code.edits.results import Applied, Refused, Result

_FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)\n", re.MULTILINE)
_NAME = re.compile(r"[\w./+-]*[\w-]\.\w+|[\w./+-]*(?:Makefile|Dockerfile|Justfile)")
_SHELL = frozenset({"sh", "bash", "shell", "console", "zsh", "shell-session", "text", "output"})
_COMMENT = r"(?:#+|//+|/\*+|<!--|--|;+|%)"
_REST = r"(?:rest|remaining|remainder|existing|previous|other|same|unchanged|omitted|your|original)"
_ELISION = re.compile(
    rf"\s*(?:{_COMMENT}\s*(?:\.{{3}}|…).*|{_COMMENT}.*(?:\.{{3}}|…)\s*(?:\*/|-->)?"
    rf"|{_COMMENT}\s*\W*{_REST}\b.*\b(?:code|file|unchanged|same|here|functions?|methods?|above)"
    r"\b.*|\[?(?:\.{3}|…)\]?)\s*",
    re.IGNORECASE,
)


class WholeFile(NamedTuple):
    """A file as the reply has it; `name` None where the reply does not say which."""

    name: str | None
    text: str


def find(reply: str, names: Sequence[str] = ()) -> tuple[WholeFile, ...]:
    """The files in a reply: its fenced blocks, without those of a shell; else all of it.

    Args:
        reply: What the model wrote.
        names: Files that it may mean. A block whose file the reply does not name is given to the
            only one, if there is only one.

    Returns:
        The last block of each name; empty where there is none.
    """
    files: dict[str | None, WholeFile] = {}
    shell_only = True
    for info, text, before in blocks(reply):
        language = info.split(":")[0].split()[0].lower() if info.split() else ""
        name = named(info, before, text, names)
        if language in _SHELL and (name is None or not name.endswith((".sh", ".bash"))):
            continue
        shell_only = False
        if name is None and len(names) == 1:
            name = names[0]
        files[name] = WholeFile(name, text)
    if files or not shell_only or _FENCE.search(reply):
        return tuple(files.values())
    if len(names) == 1 and _looks_like_code(reply):
        return (WholeFile(names[0], reply.strip("\n") + "\n"),)
    return ()


def replace(before: str | None, text: str) -> Result:
    """A whole file instead of what was there, with its line ends and final line feed.

    Args:
        before: The file's text; None where there is none yet.
        text: The new text.
    """
    text = text.replace("\r\n", "\n")
    left_out = elision(before, text)
    if left_out is not None and before:
        number, line = left_out
        return Refused(
            f"Line {number} of the new text, `{line[:120]}`, stands for lines left out. Nothing "
            "was written. Write the whole file, every line of it."
        )
    if before is None:
        return Applied(text=text, first_line=1, last_line=line_count(text))
    if "\r\n" in before and "\n" not in before.replace("\r\n", ""):
        text = text.replace("\n", "\r\n")
    if text == before or text.rstrip() == before.rstrip():
        return Refused(UNCHANGED)
    first, last = changed_lines(before, text)
    return Applied(text=text, first_line=first, last_line=last)


def elision(before: str | None, text: str) -> tuple[int, str] | None:
    """The first line of new text that stands for lines left out, with its number from 1."""
    known = frozenset(line.strip() for line in (before or "").split("\n"))
    for number, line in enumerate(text.split("\n"), 1):
        if _ELISION.fullmatch(line) and line.strip() not in known:
            return number, line.strip()
    return None


def line_count(text: str) -> int:
    """How many lines a text has."""
    return len(split(text)[0])


def blocks(reply: str) -> list[tuple[str, str, str]]:
    """Each fenced block: what stands behind its fence, its text, and the line before it.

    A block that the reply's end cuts off counts, and a fence inside a block of more marks too.
    """
    blocks: list[tuple[str, str, str]] = []
    at = 0
    while (found := _FENCE.search(reply, at)) is not None:
        close = re.compile(rf"^{re.escape(found['mark'])}[`~]*[ \t]*$", re.MULTILINE)
        ended = close.search(reply, found.end())
        stop = ended.start() if ended else len(reply)
        before = reply[: found.start()].rstrip().rpartition("\n")[2]
        blocks.append((found["info"].strip(), reply[found.end() : stop], before))
        at = ended.end() if ended else len(reply)
    return blocks


def named(info: str, before: str, text: str, names: Sequence[str]) -> str | None:
    """The file that a block is of: by its fence, the line before it, or its first comment."""
    first = text.partition("\n")[0]
    comment = first if re.match(rf"\s*{_COMMENT}", first) else ""
    for place in (info, before, comment):
        said = [
            word.strip("./") if word.startswith("./") else word for word in _NAME.findall(place)
        ]
        for word in said:
            known = [name for name in names if name == word or name.endswith(f"/{word}")]
            if len(known) == 1:
                return known[0]
        if said and not names and place is not comment:
            return said[-1]
    return None


def _looks_like_code(reply: str) -> bool:
    lines = [line for line in reply.split("\n") if line.strip()]
    coded = sum(
        bool(re.search(r"[=(){};:\[\]<>]|^\s+\S|^(import|from|def|class|#)", line))
        for line in lines
    )
    return len(lines) > 1 and coded * 2 > len(lines)
