"""Which program a name means where part of PATH may be written by commands."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_SHUNNED: set[str] = set()


def shun(roots: Iterable[Path]) -> None:
    """Never again take a program from these folders in this process.

    Said once for the folders that commands may write, since whoever starts a program of the user's
    somewhere deep in the assistant does not know them all.
    """
    _SHUNNED.update(os.path.realpath(root) for root in roots)


def path_outside(roots: Iterable[Path]) -> str:
    """The folders of PATH that are neither in a root nor shunned nor relative."""
    inside = [*map(os.path.realpath, roots), *_SHUNNED]
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(
        folder
        for folder in folders
        if os.path.isabs(folder) and not _is_in(folder, inside)  # noqa: PTH117 - text is at hand
    )


def program_outside(name: str, roots: Iterable[Path]) -> str | None:
    """A program of the user's: absolute; neither it nor its folder is in a root or shunned.

    A PATH often names a folder of the workspace, such as `.venv/bin`; what lies there was perhaps
    made by a command, which must not choose what runs outside its sandbox.
    """
    roots = tuple(roots)
    inside = [*map(os.path.realpath, roots), *_SHUNNED]
    for folder in filter(None, path_outside(roots).split(os.pathsep)):
        found = shutil.which(name, path=folder)
        if found is not None and not _is_in(found, inside):
            return found
    return None


def _is_in(path: str, roots: list[str]) -> bool:
    real = os.path.realpath(path)
    return any(f"{real}/".startswith(f"{root.rstrip('/')}/") for root in roots)
