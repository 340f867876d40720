"""What a folder holds, byte for byte."""

import os
import stat
from pathlib import Path


def tree_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content, target or nothing of everything below, links not followed."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content, mode = os.fsencode(path.readlink()), 0
        else:
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            mode = status.st_mode
        found[str(path.relative_to(root))] = (mode, content)
    return found
