"""What git needs in a sandbox: who commits, and the common folder of a linked worktree."""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headrace.safety.programs import program_outside

_POINTER_BYTES_MAX = 4_096
_WAIT_S = 5


def linked_git(root: Path) -> Path | None:
    """The git directory that a linked worktree shares with its main checkout.

    Taken only if that directory names this worktree in turn, and is a git directory with a
    worktree in it: nothing that a command left in some project passes for that, since commands
    can keep no git directory that they make.
    """
    pointer = _line(root / ".git").removeprefix("gitdir:").strip()
    if not pointer:
        return None
    own = Path(os.path.realpath(root / pointer))
    if _line(own / "gitdir") != str(root / ".git"):
        return None
    common = Path(os.path.realpath(own / _line(own / "commondir")))
    if own.parent != common / "worktrees" or common.is_relative_to(root):
        return None
    is_git = all(os.path.lexists(common / name) for name in ("HEAD", "objects", "refs"))
    return common if is_git and os.path.lexists(own / "HEAD") else None


async def identity(home: str, writable: Iterable[Path]) -> str:
    """Git settings with the user's name and address for commits, and nothing else.

    Args:
        home: The user's home folder.
        writable: Where commands can write: git is not taken from there.
    """
    user: dict[str, str] = {}
    program = program_outside("git", writable)
    if program is None:
        return ""
    with suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            program,
            *("config", "--file", f"{home}/.gitconfig", "--get-regexp", "^user\\.(name|email)$"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
        )
        printed, _ = await asyncio.wait_for(process.communicate(), _WAIT_S)
        for line in printed.decode(errors="replace").splitlines():
            key, _, value = line.partition(" ")
            user[key.removeprefix("user.")] = value.replace("\\", "\\\\").replace('"', '\\"')
    lines = "".join(f'\t{key} = "{value}"\n' for key, value in user.items())
    return f"[user]\n{lines}"


def _line(path: Path) -> str:
    """The first line of a small file; empty where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, _POINTER_BYTES_MAX).decode(errors="replace").partition("\n")[0]
    except OSError:
        return ""
    finally:
        os.close(fd)
