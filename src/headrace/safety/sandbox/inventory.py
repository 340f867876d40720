"""Inventory: where in the roots protected names, git directories and secrets lie.

A mount can keep what exists; it cannot keep a name from being made. So the roots are looked
through before a command, for the mounts, and after it, for what is new. A folder is listed again
only if its change time moved, which no program can set back.
"""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from headrace.safety.protected import GIT_PROTECTED_NAMES, folded, is_secret
from headrace.safety.sandbox.denied import Denied
from headrace.safety.sandbox.quarantine import reopen
from headrace.safety.sandbox.seen import Folder, Identity, Seen, identity_of

_HEADS = {"HEAD", "head"}
_GIT_BULK = frozenset({"objects", "refs", "logs", "lfs"})  # hold nothing that git acts on
# Nobody opens an editor in an installed package, and these carry many such folders of their own.
_PACKAGES = frozenset({"node_modules", "site-packages"})
_SHOWN_SECRETS = (".pem", ".p12", ".pfx", ".jks", ".keystore", ".npmrc", ".pypirc")
_SETTLED_NS = 30_000_000  # a stamp as fresh as this may hide a later change
_COARSE_NS, _COARSE_SETTLED_NS = 1_000_000, 2_000_000_000
_DEPTH_MAX = 200
_OWNER_MAY_LOOK = 0o500


class Inventory:
    """Looks through roots again and again, cheaply.

    Args:
        roots: Where commands can write.
        protected_names: Names that must stay as they are.
        denied: Paths that must; None: there are none.
    """

    def __init__(
        self,
        roots: tuple[Path, ...],
        protected_names: frozenset[str],
        denied: Denied | None = None,
    ) -> None:
        self._denied = denied
        self._roots = [os.fspath(root) for root in roots]
        self._names = protected_names | {".git"}
        self._known: dict[str, Folder] = {}

    def look(self, before: Seen | None = None) -> Seen:
        """Find everything anew.

        A folder without the owner's right to read or to enter could hide what is in it. One that
        is no other than `before` is left alone; with `before`, others get those rights first.
        """
        known: dict[str, Folder] = {}
        seen = Seen({}, {}, {}, {}, {}, [], known)
        stack: list[tuple[str, bool, bool, bool | None, int]] = [
            (root, False, False, None, _DEPTH_MAX) for root in self._roots
        ]
        denied: dict[str, bool] = {}
        while stack:
            path, in_git, in_package, above, depth = stack.pop()
            folder = self._at(path, before, seen)
            if folder is None:
                continue
            known[path] = folder
            is_git = folder.is_git
            if is_git:
                seen.git[path] = folder.identity
                _add_all(path, _git_names(path), seen.protected)
            if not in_git and not in_package:
                _add_all(path, folder.protected, seen.protected)
                _add_all(path, folder.secrets, seen.secrets)
            own = {} if is_git or in_git else folder.denied
            denied |= _further(path, own, above)
            if depth:
                for name in folder.folders:
                    if not (is_git and name in _GIT_BULK):
                        inside = in_package or name in _PACKAGES
                        below = above or own.get(name, above)
                        within = in_git or is_git
                        stack.append((f"{path}/{name}", within, inside, below, depth - 1))
        self._known = known
        if self._denied is not None:
            # What a command made under such a name is shut to the next one, and stays.
            old = denied if before is None else {p: denied[p] for p in denied if p in before.denied}
            seen.denied.update(self._denied.find(known, old))
        return seen

    def _at(self, path: str, before: Seen | None, seen: Seen) -> Folder | None:
        with suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) and (
                not _is_closed(status) or self._reopened(path, status, before, seen)
            ):
                return self._folder(path, status)
        return None

    def _reopened(self, path: str, status: os.stat_result, before: Seen | None, seen: Seen) -> bool:
        identity = identity_of(status)
        if before is None or identity in before.closed.values():
            seen.closed[path] = identity
            return False
        reopen(path, self._roots)
        seen.reopened.append(path)
        return True

    def _folder(self, path: str, status: os.stat_result) -> Folder:
        stamp = (status.st_ino, status.st_ctime_ns, status.st_mtime_ns)
        known = self._known.get(path)
        if known is not None and known.stamp == stamp:
            return known
        now_ns = time.time_ns()  # as the file system's stamps, which no clock of ours sets
        folder = self._list(path, identity_of(status))
        coarse = status.st_ctime_ns % _COARSE_NS == 0
        settled_ns = _COARSE_SETTLED_NS if coarse else _SETTLED_NS
        if status.st_ctime_ns + settled_ns < now_ns:
            folder.stamp = stamp
        return folder

    def _list(self, path: str, identity: Identity) -> Folder:
        folder = Folder(identity)
        names: set[str] = set()
        denies = self._denied.denies if self._denied is not None else None
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if denies is not None and (hides := denies(f"{path}/{name}")) is not None:
                    folder.denied[name] = hides
                if entry.is_dir(follow_symlinks=False):
                    folder.folders.append(name)
                elif _is_hidden(name) and entry.is_file(follow_symlinks=False):
                    # A mount over a link would cover what it points to, or make that appear.
                    folder.secrets.append(name)
                if (name[0] == "." or not name.isascii() or "~" in name) and self._is_kept(name):
                    folder.protected.append(name)
                if name in {"HEAD", "head", "objects", "refs", "commondir"}:
                    names.add(name)
        folder.is_git = bool(names & _HEADS) and (
            "commondir" in names or {"objects", "refs"} <= names
        )
        return folder

    def _is_kept(self, name: str) -> bool:
        plain = folded(name)
        return plain in self._names or plain.startswith("git~")


def _is_closed(status: os.stat_result) -> bool:
    own = status.st_uid == os.geteuid() != 0
    return own and status.st_mode & _OWNER_MAY_LOOK != _OWNER_MAY_LOOK


def _is_hidden(name: str) -> bool:
    return is_secret(name) and not folded(name).endswith(_SHOWN_SECRETS)


def _further(folder: str, denied: dict[str, bool], above: bool | None) -> dict[str, bool]:  # noqa: FBT001 - what holds for the folder itself
    """What is denied in a folder beyond what is denied with it."""
    if above or not denied:
        return {}
    return {f"{folder}/{name}": hides for name, hides in denied.items() if hides or above is None}


def _git_names(path: str) -> list[str]:
    return [name for name in GIT_PROTECTED_NAMES if os.path.lexists(f"{path}/{name}")]


def _add_all(folder: str, names: list[str], into: dict[str, Identity]) -> None:
    for name in names:
        with suppress(OSError):
            into[f"{folder}/{name}"] = identity_of(os.lstat(f"{folder}/{name}"))
