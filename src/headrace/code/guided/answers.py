"""The code of an answer, and the file that each block of it is of."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.code.edits import whole_file
from headrace.code.guided.outline import outline, walk

_NAMED_LINE = re.compile(
    r"^[ \t]*(?:#|//|/\*|--|<!--)\s*(?:file:\s*)?`?([\w./-]+\.\w+)`?\s*(?:\*/|-->)?\s*$"
)
_DEFINED = re.compile(r"\b(?:def|class|func|function|fn|struct|interface)\s+(\w+)")
_UNFENCED = re.compile(
    r"^\s*(?:async\s+)?(?:def|class|func|function|fn|import|from)\s+\w", re.MULTILINE
)


class Block(NamedTuple):
    """Code of one file; `name` is one of the project's, or a new one."""

    name: str
    code: str


def blocks(answer: str, files: Mapping[str, str], target: str | None = None) -> tuple[Block, ...]:
    """The code of an answer by files.

    Args:
        answer: What the model wrote.
        files: The project's files that it may mean, with their texts.
        target: The file that was asked for; what the answer does not name is of it.
    """
    found: list[Block] = []
    fenced = whole_file.blocks(answer)
    if not fenced and _UNFENCED.search(answer):
        fenced = [("", answer, "")]
    for info, text, before in fenced:
        told = whole_file.named(info, before, "", tuple(files))
        for name, code in _parted(text, files):
            owner = name or told or target or _owner(code, files)
            if owner is not None and code.strip():
                found.append(Block(owner, code))
    return tuple(found)


def _parted(text: str, files: Mapping[str, str]) -> list[tuple[str | None, str]]:
    """A block at the lines that name files, as models write several files into one."""
    parts: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in text.split("\n"):
        said = _NAMED_LINE.match(line)
        name = _known(said[1], files) if said else None
        if name is not None:
            parts.append((name, []))
        else:
            parts[-1][1].append(line)
    return [(name, "\n".join(lines)) for name, lines in parts]


def _known(word: str, files: Mapping[str, str]) -> str | None:
    word = word.removeprefix("./")
    found = [name for name in files if name == word or name.endswith(f"/{word}")]
    return found[0] if len(found) == 1 else None


def _owner(code: str, files: Mapping[str, str]) -> str | None:
    """The file that defines most of what the code does, if there is one such."""
    wanted = set(_DEFINED.findall(code))
    counts = {name: len(wanted & _names(name, text)) for name, text in files.items()}
    best = sorted(counts, key=lambda name: counts[name], reverse=True)
    if not best or not counts[best[0]]:
        return best[0] if len(best) == 1 else None
    return None if len(best) > 1 and counts[best[0]] == counts[best[1]] else best[0]


def _names(name: str, text: str) -> set[str]:
    return {item.name for _, item in walk(outline(name, text) or ())}


def first_code(answer: str) -> str:
    """The first block of code, for showing it again."""
    fenced: Sequence[tuple[str, str, str]] = whole_file.blocks(answer)
    return (fenced[0][1] if fenced else answer).strip("\n")
