"""What one look through the roots found, and how two differ."""

import os
import stat
from collections.abc import Mapping

import msgspec

Identity = tuple[int, int, bool]  # device, inode, whether a link


class Folder(msgspec.Struct):
    """A folder as it was last listed; names in it only.

    `denied`: names that rules hide (True) or keep (False).
    """

    identity: Identity
    stamp: tuple[int, int, int] = (0, 0, 0)
    folders: list[str] = []
    protected: list[str] = []
    secrets: list[str] = []
    denied: dict[str, bool] = {}
    is_git: bool = False


class Seen(msgspec.Struct, frozen=True):
    """What one look found, by absolute path, each with its identity.

    Attributes:
        protected: Names that must stay as they are, those in git directories among them.
        git: Git directories, whatever their names.
        secrets: Files that commands may not read.
        denied: Paths that the policy names, to stay as they are.
        closed: Folders that their owner, who we are, cannot look into.
        reopened: Those that were closed and were opened to be looked into.
        folders: All folders that there were.
    """

    protected: dict[str, Identity]
    git: dict[str, Identity]
    secrets: dict[str, Identity]
    denied: dict[str, Identity]
    closed: dict[str, Identity]
    reopened: list[str]
    folders: Mapping[str, Folder]

    def has(self, folder: str, identity: Identity) -> bool:
        """Whether this very folder was at this path."""
        known = self.folders.get(folder)
        return known is not None and known.identity == identity


def identity_of(status: os.stat_result) -> Identity:
    """Which file this is, whatever its name."""
    return status.st_dev, status.st_ino, stat.S_ISLNK(status.st_mode)


def new_in(before: Seen, after: Seen) -> list[str]:
    """Protected names and git directories that were not there before, outermost first.

    What was there under another name is not new: a folder that holds it was renamed. What was
    replaced in its place was replaced by somebody else, since commands find it under a mount;
    only where a folder above it is another one did a command put it there.
    """
    fresh: list[str] = []
    for old, now in (
        (before.git, after.git),
        (before.protected, after.protected),
        (before.denied, after.denied),
    ):
        had = set(old.values())
        for path, identity in now.items():
            if identity == old.get(path):
                continue
            is_new = identity not in had and (path not in old or _moved(path, before, after))
            if identity[2] or is_new:
                fresh.append(path)
    found: list[str] = []
    for path in sorted(set(fresh)):
        if not any(path.startswith(f"{outer}/") for outer in found):
            found.append(path)
    return found


def _moved(path: str, before: Seen, after: Seen) -> bool:
    """Whether some folder above a path is not the one that was there."""
    above = path.rpartition("/")[0]
    while above in after.folders:
        if not before.has(above, after.folders[above].identity):
            return True
        above = above.rpartition("/")[0]
    return False
