"""Snapshots: the workspace as it was around each tool call that may write, shell included."""

from pathlib import Path

import msgspec

from headrace.agent.tools import Diff
from headrace.core.clock import Clock


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot keeps, and how long.

    Attributes:
        file_bytes_max: Larger files are not kept; they are named, and never touched by a restore.
        total_bytes_max: Of all files of one snapshot; the largest files are left out first.
        files_max: Files and folders in one snapshot.
        excluded: Names of folders that are not kept, wherever they stand.
        keep_days: Older snapshots go when `gc` runs, but for the newest.
        store_bytes_max: What all snapshots of a workspace may take up on disk.
    """

    file_bytes_max: int = 16 << 20
    total_bytes_max: int = 1 << 30
    files_max: int = 200_000
    excluded: frozenset[str] = frozenset()
    keep_days: int = 30
    store_bytes_max: int = 2 << 30


class Taken(msgspec.Struct, frozen=True):
    """One snapshot in the history; equal trees have equal ids."""

    id: str
    label: str
    time_ns: int


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did. `before` is the snapshot that undoes it; `left` names what was not
    touched, each with its reason.
    """

    before: str
    after: str
    written: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Snapshots:
    """Snapshots of one workspace, kept in a folder outside it.

    Args:
        workspace: The folder.
        folder: Where they are kept, one per workspace; made with mode 0700.
        clock: For the history.
        limits: What is kept.
    """

    def __init__(
        self, workspace: Path, folder: Path, clock: Clock, limits: Limits | None = None
    ) -> None:
        self.notices: tuple[str, ...] = ()
        """What the newest snapshot does not keep, a line each."""

    async def take(self, label: str) -> str:
        """Keep the workspace as it is now; the id is the same while nothing changes."""
        raise NotImplementedError

    async def restore(self, snapshot_id: str) -> Restored:
        """Put the files back as they were.

        Raises:
            NotFound: There is no such snapshot, or not all of it.
            Conflict: Files that would be overwritten were changed by others since the newest
                snapshot. They are kept now: the same call again puts them back, too.
        """
        raise NotImplementedError

    async def diff(self, before_id: str, after_id: str) -> tuple[Diff, ...]:
        """The files that differ between two snapshots, sorted by path."""
        raise NotImplementedError

    def history(self) -> tuple[Taken, ...]:
        """All snapshots of the workspace, oldest first."""
        raise NotImplementedError

    async def gc(self) -> int:
        """Forget what is over the limits; returns the bytes freed."""
        raise NotImplementedError

    def close(self) -> None:
        """Keep what makes the next session's first snapshot quick."""
        raise NotImplementedError
