"""Quarantine: takes out of the roots what a command made there under a protected name."""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headrace.safety.beneath import FOLDER, open_beneath

_GIT_MARKS = ("HEAD", "head", "commondir", "config")


ACTS = "which other programs act on"


def remove(
    path: str, roots: tuple[Path, ...], shelf: Path, *, was_there: bool, why: str = ACTS
) -> list[str]:
    """Move it to a place of its own below `shelf`.

    Args:
        path: Absolute, in one of the roots.
        roots: Where commands can write.
        shelf: The folder to move to.
        was_there: The folder at `path` is older and only became a git directory: what makes it
            one is moved, not the folder.
        why: What people are told about it.

    Returns:
        One line for each thing moved, or why it could not be.
    """
    names = [path]
    if was_there:
        names = [f"{path}/{mark}" for mark in _GIT_MARKS if os.path.lexists(f"{path}/{mark}")]
    return [_remove(name, roots, shelf, why) for name in names]


def _remove(path: str, roots: tuple[Path, ...], shelf: Path, why: str) -> str:
    root = next(root for root in roots if path.startswith(f"{root}/"))
    inside = path.removeprefix(f"{root}/")
    parent, _, name = inside.rpartition("/")
    inside = plain(inside)
    target = _free(shelf) / name
    try:
        fd = open_beneath_root(root, parent)
        try:
            _move(fd, name, target)
        finally:
            os.close(fd)
    except OSError as error:
        return (
            f"made {inside}, {why}, and it could not be moved away"
            f" ({error.strerror}): look at it before you use it"
        )
    return f"made {inside}, {why}: moved to {target}; move it back to keep it"


def open_beneath_root(root: Path, path: str) -> int:
    """A descriptor of a folder below a root, reached through no link."""
    fd = os.open(root, FOLDER)
    if not path:
        return fd
    try:
        return open_beneath(fd, path, FOLDER)
    finally:
        os.close(fd)


def reopen(path: str, roots: Sequence[str]) -> None:
    """Give the owner of a folder, who we are, all rights to it, through no link.

    Raises:
        OSError: It cannot be done.
    """
    root = next(root for root in roots if f"{path}/".startswith(f"{root}/"))
    parent, _, name = path.removeprefix(root).strip("/").rpartition("/")
    above = open_beneath_root(Path(root), parent) if name else os.open(Path(root).parent, FOLDER)
    name = name or Path(root).name
    try:
        if sys.platform != "linux":
            mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=above, follow_symlinks=False)
            return
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            os.chmod(f"/proc/self/fd/{fd}", mode | 0o700)  # noqa: PTH101 - that very folder
        finally:
            os.close(fd)
    finally:
        os.close(above)


def plain(path: str) -> str:
    """A path in one line, whatever its name holds."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in path)


def _move(fd: int, name: str, target: Path) -> None:
    try:
        os.rename(name, target, src_dir_fd=fd)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(fd, name, target)


def _move_across(fd: int, name: str, target: Path) -> None:
    """To another file system: a copy, then the original goes. What cannot be copied is lost."""
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        below = os.open(name, FOLDER, dir_fd=fd)
        try:
            with suppress(shutil.Error, OSError):
                shutil.copytree(f"/proc/self/fd/{below}", target, symlinks=True)
        finally:
            os.close(below)
        shutil.rmtree(name, dir_fd=fd)
        return
    if stat.S_ISREG(status.st_mode):
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
        with open(source, "rb") as read, target.open("xb") as write:  # noqa: PTH123 - a descriptor
            shutil.copyfileobj(read, write)
    os.unlink(name, dir_fd=fd)


def _free(shelf: Path) -> Path:
    number = 1
    while True:
        folder = shelf / str(number)
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
