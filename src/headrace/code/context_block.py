"""The one block before the user's first words: folder, platform, date, git, files.

Everything is sorted and limited, and nothing is from the clock but the date, so that the same
folder gives the same bytes all day.
"""

import os
import sys
import time
from pathlib import Path

from headrace.code.git import git
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError

_FILES_MAX = 40
_CHANGED_MAX = 10
_LOOKED_AT_MAX = 400
_GIT_S = 3.0
_PASSED_OVER = frozenset({"node_modules", "venv", "__pycache__", "target", "build", "dist"})


async def context_block(
    workspace: Path, clock: Clock, *, trusted: bool, instructions: str = "", chars_max: int = 1_500
) -> str:
    """Say where the session works.

    Args:
        workspace: The folder, absolute.
        clock: For the date, in the machine's time zone.
        trusted: Whether programs such as git may look at the workspace.
        instructions: What `instructions.load` found; stands last.
        chars_max: Of all but the instructions.
    """
    today = time.strftime("%Y-%m-%d", time.localtime(clock.now_ns() // 10**9))
    lines = [f"Folder: {_plain(str(workspace))}", f"Platform: {sys.platform}", f"Date: {today}"]
    if trusted:
        lines.extend(await _git_lines(workspace))
    room = chars_max - sum(len(line) + 1 for line in lines)
    lines.extend(_files_line(workspace, room))
    block = "\n".join(lines)[:chars_max]
    return f"{block}\n\n{instructions}" if instructions else block


async def _git_lines(workspace: Path) -> list[str]:
    words = ("status", "--porcelain=v1", "--branch", "-z", "--ignore-submodules=all", "--", ".")
    try:
        ran = await git(workspace, *words, timeout_s=_GIT_S)
    except (HeadraceError, OSError):
        return []
    if ran.status != 0:
        return []
    first, *rest = ran.out.split("\0")
    branch = first.removeprefix("## ").removeprefix("No commits yet on ").partition("...")[0]
    changed = _changed(rest)
    shown = ", ".join(changed[:_CHANGED_MAX])
    more = len(changed) - _CHANGED_MAX
    status = f"changed: {shown}" + (f" and {more} more" if more > 0 else "") if changed else "clean"
    return [f"Git: branch {_plain(branch)}, {status}"]


def _changed(fields: list[str]) -> list[str]:
    """Paths with their two letters, sorted by path; of a rename the new one."""
    changed: list[tuple[str, str]] = []
    fields.reverse()
    while fields:
        field = fields.pop()
        if not field:
            continue
        letters, path = field[:2], field[3:]
        if "R" in letters or "C" in letters:
            fields.pop()  # where it came from
        changed.append((path, letters.strip()))
    return [f"{letters} {_plain(path)}" for path, letters in sorted(changed)]


def _files_line(workspace: Path, chars_max: int) -> list[str]:
    """All files if they are few, else what stands in the folder itself, else nothing."""
    for found in (_all_files(workspace), _top(workspace)):
        line = "Files: " + " ".join(found or ())
        if found and len(found) <= _FILES_MAX and len(line) <= chars_max:
            return [line]
    return []


def _all_files(workspace: Path) -> list[str] | None:
    """Paths of all files, hidden ones and packages passed over; None where they are many."""
    found: list[str] = []
    seen = 0
    for folder, folders, files in os.walk(workspace):
        folders[:] = sorted(name for name in folders if _shown(name))
        here = os.path.relpath(folder, workspace)
        found.extend(_plain(os.path.normpath(f"{here}/{name}")) for name in files if _shown(name))
        seen += len(folders) + len(files)
        if len(found) > _FILES_MAX or seen > _LOOKED_AT_MAX:
            return None
    return sorted(found)


def _top(workspace: Path) -> list[str]:
    with os.scandir(workspace) as entries:
        return sorted(
            _plain(entry.name) + "/" * entry.is_dir(follow_symlinks=False)
            for entry in entries
            if _shown(entry.name)
        )


def _shown(name: str) -> bool:
    return not name.startswith(".") and name not in _PASSED_OVER


def _plain(text: str) -> str:
    """A name on one line: what cannot be printed is escaped, as Python writes it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
