"""What git needs in a sandbox: who commits, and the common folder of a linked worktree."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

# For each git that we run ourselves, in a repository that nobody vouches for: nothing that its
# settings name is run, and a bare repository inside a checkout is not taken for one.
SAFE_GIT_VARIABLES = {
    "GIT_CONFIG_COUNT": "6",
    "GIT_CONFIG_KEY_0": "core.fsmonitor",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.hooksPath",
    "GIT_CONFIG_VALUE_1": os.devnull,
    "GIT_CONFIG_KEY_2": "safe.bareRepository",
    "GIT_CONFIG_VALUE_2": "explicit",
    "GIT_CONFIG_KEY_3": "diff.external",
    "GIT_CONFIG_VALUE_3": "",
    "GIT_CONFIG_KEY_4": "core.pager",
    "GIT_CONFIG_VALUE_4": "cat",
    "GIT_CONFIG_KEY_5": "core.sshCommand",
    "GIT_CONFIG_VALUE_5": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}
_POINTER_BYTES_MAX = 4_096
_WAIT_S = 5


def linked_git(root: Path) -> Path | None:
    """The git directory that a linked worktree shares with its main checkout.

    Taken only if that directory names this worktree in turn, which no repository can make true
    of another by what it contains.
    """
    pointer = _line(root / ".git").removeprefix("gitdir:").strip()
    if not pointer:
        return None
    own = Path(os.path.realpath(root / pointer))
    if _line(own / "gitdir") != str(root / ".git"):
        return None
    common = Path(os.path.realpath(own / _line(own / "commondir")))
    return common if own.parent == common / "worktrees" else None


async def identity(home: str) -> str:
    """Git settings with the user's name and address for commits, and nothing else."""
    user: dict[str, str] = {}
    with suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            "git",
            *("config", "--file", f"{home}/.gitconfig", "--get-regexp", "^user\\.(name|email)$"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
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
