"""How an answer is begun for the model, its code, and the file that each block of it is of."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.code.edits import whole_file
from headrace.code.guided.outline import outline, walk
from headrace.code.guided.places import Place

_NAMED_LINE = re.compile(
    r"^[ \t]*(?:#|//|/\*|--|<!--)\s*(?:file:\s*)?`?([\w./-]+\.\w+)`?\s*(?:\*/|-->)?\s*$"
)
_DEFINED = re.compile(r"\b(?:def|class|func|function|fn|struct|interface)\s+(\w+)")
_UNFENCED = re.compile(
    r"^\s*(?:async\s+)?(?:def|class|func|function|fn|import|from)\s+\w", re.MULTILINE
)

_FENCE = "```"
_LANGUAGES = {"py": "python", "js": "javascript", "ts": "typescript", "rs": "rust", "rb": "ruby"}


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


def beginning(place: Place, code: str) -> str:
    """What an answer about a place begins with: its fence, and its definition up to the name.

    A small model that may choose its first words explains, copies what it was shown, or writes
    another function. It ends at the name: models write what follows as one token with it.

    Args:
        place: What is asked for.
        code: It as it is now, from the left edge; empty where it is new.
    """
    fence = f"```{_LANGUAGES.get(place.file.rpartition('.')[2], '')}"
    found = re.search(rf"\b{re.escape(place.name)}\b", code)
    if found is not None:
        return f"{fence}\n{code[: found.end()]}"
    if not place.new or not place.file.endswith(".py"):
        return fence
    if place.name.isupper():
        return f"{fence}\n{place.name}"
    return f"{fence}\n{'class' if place.name[0].isupper() else 'def'} {place.name}"


def continues(begun: str, answer: str) -> bool:
    """Whether an answer goes on with what was begun, and is not another one."""
    first = answer[:1]
    word = first.isalnum() or first in {"_", "`"}
    return bool(begun) and bool(first) and not word and not answer.lstrip().startswith(_FENCE)


def whole(begun: str, answer: str) -> str:
    """An answer with what was begun for it, unless the model began anew."""
    return f"{begun}{answer}\n{_FENCE}" if continues(begun, answer) else answer


def first_code(answer: str) -> str:
    """The first block of code, for showing it again."""
    fenced: Sequence[tuple[str, str, str]] = whole_file.blocks(answer)
    return (fenced[0][1] if fenced else answer).strip("\n")
