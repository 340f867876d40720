"""Which program a name means where part of PATH may be written by commands."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def program_outside(name: str, roots: Iterable[Path]) -> str | None:
    """A program of the user's: absolute, and neither it nor its folder lies in a root.

    A PATH often names a folder of the workspace, such as `.venv/bin`; what lies there was perhaps
    made by a command, which must not choose what runs outside its sandbox.
    """
    inside = [os.path.realpath(root) for root in roots]
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(name, path=folder) if os.path.isabs(folder) else None  # noqa: PTH117
        if found is not None and not (_is_in(folder, inside) or _is_in(found, inside)):
            return found
    return None


def _is_in(path: str, roots: list[str]) -> bool:
    real = os.path.realpath(path)
    return any(f"{real}/".startswith(f"{root.rstrip('/')}/") for root in roots)
