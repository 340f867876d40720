"""SEARCH/REPLACE blocks in a model's reply."""

import re
from typing import NamedTuple

_BLOCK = re.compile(
    r"^[ \t]*<{5,9}[ \t]*(?:SEARCH|ORIGINAL)?[^\n]*\n(?P<old>.*?)"
    r"^[ \t]*={5,9}[ \t]*\n(?P<new>.*?)^[ \t]*>{5,9}[ \t]*(?:REPLACE|UPDATED)?[^\n]*$",
    re.MULTILINE | re.DOTALL,
)
_NAME = re.compile(r"[\w./+-]*[\w-]\.\w+|[\w./+-]*(?:Makefile|Dockerfile|Justfile)")
_LINES_LOOKED_AT = 3


class Block(NamedTuple):
    """One replacement; `name` None where the reply does not say in which file."""

    name: str | None
    old: str
    new: str


def find(reply: str) -> tuple[Block, ...]:
    """All blocks of a reply, in order; a block without a name is of the file named before."""
    blocks: list[Block] = []
    name: str | None = None
    at = 0
    for found in _BLOCK.finditer(reply.replace("\r\n", "\n")):
        before = reply.replace("\r\n", "\n")[at : found.start()].rstrip().split("\n")
        for line in before[-_LINES_LOOKED_AT:]:
            said = _NAME.findall(line)
            name = said[-1] if said else name
        blocks.append(Block(name, found["old"], found["new"]))
        at = found.end()
    return tuple(blocks)
