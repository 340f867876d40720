"""Puts a workspace back to a snapshot, and says how two snapshots differ.

What no snapshot keeps is never touched: folders and files that were left out stay, and so does
whatever changes while this runs. Each file is written beside its place and renamed into it, so
that a crash leaves it as it was or as it should be.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.agent.tools import Diff
from headrace.code.snapshot_store import Objects
from headrace.code.snapshot_tree import OPEN_FOLDER, Folder, Node, stamp_of, tree

_SHOWN_BYTES_MAX = 256 << 10
_OWNER_MAY_CHANGE = 0o300


class Change(NamedTuple):
    """A file, link or folder that differs; None where it is not there."""

    path: str
    before: Node | None
    after: Node | None


def changes(
    objects: Objects, before: bytes | None, after: bytes | None, path: str = ""
) -> Iterator[Change]:
    """What differs between two folders' lists, by path; whole folders down to their files."""
    if before == after:
        return
    old = tree(objects, before) if before else {}
    new = tree(objects, after) if after else {}
    for name in sorted(old.keys() | new.keys()):
        have, want = old.get(name), new.get(name)
        if have == want:
            continue
        here = path + os.fsdecode(name)
        was = have.ref if have is not None and have.kind == "folder" else None
        now = want.ref if want is not None and want.kind == "folder" else None
        if was is None or now is None or (have and have.mode) != (want and want.mode):
            yield Change(here, have, want)
        yield from changes(objects, was, now, here + "/")


def diff_of(objects: Objects, change: Change) -> Diff | None:
    """A change for people; None for a folder that comes or goes, since its files tell that."""
    nodes = [node for node in (change.before, change.after) if node is not None]
    if all(node.kind == "folder" for node in nodes) and len(nodes) == 1:
        return None
    before, after = (_shown(objects, node) for node in (change.before, change.after))
    if before == after and len(nodes) > 1:
        before, after = (f"mode {node.mode:o}\n" for node in nodes)
    return Diff(change.path, before, after)


def _shown(objects: Objects, node: Node | None) -> str | None:
    if node is None or node.kind == "folder":
        return None
    if node.kind == "link":
        return f"link to {os.fsdecode(node.ref)}\n"
    if node.kind == "left":
        return f"({node.ref.decode()}: {node.size} bytes, not kept)\n"
    if node.size <= _SHOWN_BYTES_MAX:
        try:
            return objects.read(node.ref).decode()
        except UnicodeDecodeError:
            pass
    return f"({node.size} bytes, {node.ref.hex()[:12]})\n"


def verify(objects: Objects, now: bytes, want: bytes) -> None:
    """Read all that a restore would need, before anything is touched.

    Raises:
        NotFound: Some of it is not kept any more.
        StoreError: Some of it is damaged.
    """
    for change in changes(objects, now, want):
        if change.after is not None and change.after.kind == "file":
            objects.read(change.after.ref)


class Restore:
    """One restore.

    Args:
        objects: Where contents are kept.
        temporary: Name for the file that is being written.
        step: Called after each change.
    """

    def __init__(
        self, objects: Objects, *, temporary: str, step: Callable[[], None] = lambda: None
    ) -> None:
        self._objects = objects
        self.temporary = temporary
        self._step = step
        self.written: list[str] = []
        self.deleted: list[str] = []
        self.left: list[str] = []

    def root(self, path: Path, now: Folder | None, want: bytes) -> None:
        """Make a workspace like `want`; `now` is how it was just seen."""
        path.mkdir(parents=True, exist_ok=True)
        self.opened(os.open(path, OPEN_FOLDER), "", now, want)

    def opened(self, fd: int, path: str, now: Folder | None, want: bytes) -> None:
        """Make an open folder like `want`, and close it; `path` is told before each name."""
        try:
            self._folder(fd, path, now, want)
        finally:
            os.close(fd)

    def _folder(self, fd: int, path: str, now: Folder | None, want: bytes | None) -> None:
        have = tree(self._objects, now.digest) if now is not None else {}
        aim = tree(self._objects, want) if want is not None else {}
        different = [
            name for name in sorted(have.keys() | aim.keys()) if have.get(name) != aim.get(name)
        ]
        if not different:
            return
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        locked = mode & _OWNER_MAY_CHANGE != _OWNER_MAY_CHANGE
        if locked:
            os.fchmod(fd, mode | _OWNER_MAY_CHANGE)
        try:
            for name in different:
                self._name(fd, path, now, have.get(name), aim.get(name))
        finally:
            if locked:
                os.fchmod(fd, mode)

    def _name(
        self, fd: int, path: str, now: Folder | None, have: Node | None, want: Node | None
    ) -> None:
        name = os.fsdecode((have or want or _NONE).name)
        here = path + name
        if (have and have.kind == "left") or (want and want.kind == "left"):
            node = have if have is not None and have.kind == "left" else want
            self.left.append(f"{here}: {(node or _NONE).ref.decode()}")
            return
        try:
            child = now.folders.get(name) if now is not None else None
            if have is not None and have.kind == "folder":
                if want is None or want.kind != "folder":
                    if not self._remove_folder(fd, here, name, child):
                        return
                    have = None
            elif have is not None and not self._as_seen(fd, name, now):
                self.left.append(f"{here}: changed while files were put back")
                return
            if want is None:
                if have is not None:
                    os.unlink(name, dir_fd=fd)
                    self._done(self.deleted, here)
            elif want.kind == "folder":
                self._make_folder(fd, here, have, want, child)
            else:
                self._put(fd, here, have, want)
        except OSError as error:
            self.left.append(f"{here}: {error.strerror}")

    def _as_seen(self, fd: int, name: str, now: Folder | None) -> bool:
        known = now.files.get(name) if now is not None else None
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return True
        return known is not None and known.stamp == stamp_of(status)

    def _remove_folder(self, fd: int, here: str, name: str, now: Folder | None) -> bool:
        """Remove what was seen in a folder, and the folder if nothing else is in it."""
        child = os.open(name, OPEN_FOLDER, dir_fd=fd)
        try:
            self._folder(child, here + "/", now, None)
        finally:
            os.close(child)
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError:
            self.left.append(f"{here}/: holds what is not kept in snapshots")
            return False
        self._done(self.deleted, here + "/")
        return True

    def _make_folder(
        self, fd: int, here: str, have: Node | None, want: Node, now: Folder | None
    ) -> None:
        name = os.fsdecode(want.name)
        if have is not None and have.kind != "folder":
            os.unlink(name, dir_fd=fd)
            have = None
        if have is None:
            os.mkdir(name, 0o700, dir_fd=fd)
            self._done(self.written, here + "/")
            now = None
        child = os.open(name, OPEN_FOLDER, dir_fd=fd)
        try:
            self._folder(child, here + "/", now, want.ref)
            if stat.S_IMODE(os.fstat(child).st_mode) != want.mode:
                os.fchmod(child, want.mode)
        finally:
            os.close(child)

    def _put(self, fd: int, here: str, have: Node | None, want: Node) -> None:
        name = os.fsdecode(want.name)
        if have is None and _is_there(fd, name):
            self.left.append(f"{here}: appeared while files were put back")
            return
        if want.kind == "link":
            os.symlink(os.fsdecode(want.ref), self.temporary, dir_fd=fd)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            data = self._objects.read(want.ref)
            file = os.open(self.temporary, flags, 0o600, dir_fd=fd)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
                os.fchmod(file, want.mode)
            finally:
                os.close(file)
        os.rename(self.temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        self._done(self.written, here)

    def _done(self, told: list[str], here: str) -> None:
        told.append(here)
        self._step()


_NONE = Node(b"", "left", 0, 0, b"")


def _is_there(fd: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True
