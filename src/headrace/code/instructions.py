"""Instructions: AGENTS.md and CLAUDE.md, from the user's own down to the folder's."""

from collections.abc import Callable
from pathlib import Path

import msgspec


class Instructions(msgspec.Struct, frozen=True):
    """What was found: `text` for the model, `sources` and `notices` for people."""

    text: str
    sources: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def load(
    workspace: Path,
    *,
    home: Path,
    denied: Callable[[Path], bool] | None = None,
    bytes_max: int = 32 << 10,
) -> Instructions:
    """Read all instruction files, the nearest last; runs nothing.

    Args:
        workspace: The folder that the session works in.
        home: The user's home folder.
        denied: Says of a path whether the permission rules deny reading it.
        bytes_max: Of all files together; the farthest are cut first.
    """
    raise NotImplementedError
