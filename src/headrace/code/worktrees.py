"""Worktrees: a session's own checkout and branch beside the repository, for `--worktree`."""

from pathlib import Path

import msgspec


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout of its own: `path` on branch `branch`, made from commit `base`."""

    repository: Path
    path: Path
    branch: str
    base: str


async def create(workspace: Path, state: Path, name: str) -> Worktree:
    """Check out the repository's HEAD into a new folder under `state` on a new branch.

    Raises:
        InvalidRequest: No git repository, no commit, submodules, or a name that is taken.
    """
    raise NotImplementedError


async def finish(worktree: Worktree) -> str:
    """Remove the worktree if nothing was changed in it; returns what to tell the user."""
    raise NotImplementedError
