"""Worktrees: a session's own checkout and branch beside the repository, for `--worktree`."""

import os
import re
import shutil
from pathlib import Path
from zlib import crc32

import msgspec

from headrace.code.git import Ran, git
from headrace.code.snapshot_tree import EXCLUDED
from headrace.core.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BRANCHES = "headrace/"
_CHECKOUT_S = 300.0
_SUBMODULE_MODE = "160000"


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout of its own: `path` on branch `branch`, made from commit `base`.

    `workspace` is where the session works in it: the folder that stands for the one it began in.
    """

    repository: Path
    path: Path
    workspace: Path
    branch: str
    base: str


async def create(workspace: Path, state: Path, name: str) -> Worktree:
    """Check out the repository's HEAD into a new folder on a new branch `headrace/NAME`.

    Args:
        workspace: A folder in the repository.
        state: Folder for all worktrees, outside the repository; made with mode 0700.
        name: Of the branch and the folder.

    Raises:
        InvalidRequest: No git repository, no commit, submodules, or a bad or taken name.
    """
    if _NAME.fullmatch(name) is None or name.endswith((".lock", ".")) or ".." in name:
        raise InvalidRequest(
            f"not a name for a worktree: {name[:80]!r}",
            hint="Use letters, digits, dots, dashes and underscores.",
        )
    repository = await _repository(workspace)
    base = await _base(repository)
    path = _free_place(state, repository, name)
    branch = _BRANCHES + name
    words = ("worktree", "add", "--no-checkout", "-b", branch, str(path), base)
    made = await git(repository, *words, timeout_s=_CHECKOUT_S)
    if made.status == 0:
        # From there, since settings may count in the worktree alone, filters among them.
        made = await git(path, "reset", "--hard", "--quiet", timeout_s=_CHECKOUT_S)
    if made.status != 0:
        shutil.rmtree(path, ignore_errors=True)
        raise InvalidRequest(f"git made no worktree: {_reason(made)}")
    here = _same_folder(workspace, repository, path)
    return Worktree(repository=repository, path=path, workspace=here, branch=branch, base=base)


async def finish(worktree: Worktree) -> str:
    """Remove the worktree if nothing was changed in it; returns what to tell the user."""
    kept = f"The worktree stays: {worktree.path} on branch {worktree.branch}."
    if not worktree.path.exists():
        return f"The worktree {worktree.path} is gone; its branch {worktree.branch} stays."
    status = await git(worktree.path, "status", "--porcelain", "--ignored", "-z")
    head = await git(worktree.path, "rev-parse", "--verify", "HEAD")
    if status.status != 0 or _changes(status.out) or head.out.strip() != worktree.base:
        return kept
    # Without --force git itself refuses where a file came up in the meantime.
    removed = await git(worktree.repository, "worktree", "remove", str(worktree.path))
    if removed.status != 0:
        return f"{kept} Git would not remove it: {_reason(removed)}"
    await git(worktree.repository, "branch", "-d", worktree.branch)
    return f"Nothing was changed in the worktree {worktree.path.name}; it was removed."


def _changes(status: str) -> bool:
    """Whether anything is there that was not; folders that tools make again do not count."""
    for field in filter(None, status.split("\0")):
        letters, path = field[:2], Path(field[3:])
        if letters != "!!" or EXCLUDED.isdisjoint(path.parts):
            return True
    return False


def _free_place(state: Path, repository: Path, name: str) -> Path:
    # Repositories of one name must not meet.
    beside = state.resolve() / f"{repository.name}-{crc32(os.fsencode(repository)):08x}"
    path = beside / name
    if path.exists():
        raise InvalidRequest(
            f"the worktree {path} is there already",
            hint=f"Take another name, or remove it: git worktree remove {path}",
        )
    for folder in (state, beside):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _same_folder(workspace: Path, repository: Path, path: Path) -> Path:
    here = path / workspace.resolve().relative_to(repository)
    here.mkdir(parents=True, exist_ok=True)  # it may hold nothing that git knows
    return here


async def _repository(workspace: Path) -> Path:
    top = await git(workspace, "rev-parse", "--show-toplevel")
    if top.status != 0:
        hint = None
        if "not a git repository" in top.error:
            hint = "Run `git init` and commit, or start without --worktree."
        raise InvalidRequest(f"no worktree for {workspace}: {_reason(top)}", hint=hint)
    repository = Path(top.out.removesuffix("\n"))
    if not _holds(repository, workspace):
        raise InvalidRequest(f"no worktree for {workspace}: its repository works in {repository}")
    return repository


def _holds(repository: Path, workspace: Path) -> bool:
    return workspace.resolve().is_relative_to(repository)


async def _base(repository: Path) -> str:
    head = await git(repository, "rev-parse", "--verify", "HEAD^{commit}")
    if head.status != 0:
        raise InvalidRequest(
            f"no worktree for {repository}: it has no commit yet", hint="Commit something first."
        )
    listed = await git(repository, "ls-files", "--stage", "-z")
    submodules = [
        line.partition("\t")[2]
        for line in listed.out.split("\0")
        if line.startswith(_SUBMODULE_MODE)
    ]
    if submodules:
        raise InvalidRequest(
            f"no worktree for {repository}: git cannot give submodules to one "
            f"({', '.join(submodules[:3])})",
            hint="Start without --worktree.",
        )
    return head.out.strip()


def _reason(ran: Ran) -> str:
    lines = [line for line in ran.error.splitlines() if line.startswith(("fatal:", "error:"))]
    return (lines or [ran.error.strip() or f"status {ran.status}"])[0][:300]
