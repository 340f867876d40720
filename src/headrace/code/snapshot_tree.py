"""Walks a workspace and keeps what changed since the last walk.

A file is read again only when its stat changed: times, size, inode or mode. One that changed so
short a time before it was read that a later change could bear the same stamp is read again next
time. Folders are walked by descriptor and links never followed, so that a folder swapped for a
link leads nowhere.
"""

import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from headrace.code.snapshot_store import Objects
from headrace.core.errors import StoreError

Kind = Literal["file", "link", "folder", "left", "linked"]

EXCLUDED = frozenset(
    {
        ".gradle",
        ".hypothesis",
        ".mypy_cache",
        ".next",
        ".nox",
        ".nuxt",
        ".parcel-cache",
        ".pytest_cache",
        ".ruff_cache",
        ".terraform",
        ".tox",
        ".turbo",
        ".venv",
        "__pycache__",
        "bower_components",
        "node_modules",
        "venv",
    }
)
GIT = ".git"
_DEPTH_MAX = 200  # one descriptor and one Python frame for each
_READ_BYTES = 1 << 20
_COARSE_NS = 1_000_000  # stamps that are whole milliseconds come from a coarse file system
_COARSE_STEP_NS = 2_000_000_000
_CACHE_TAG = "CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"

_pack = struct.Struct("<qqqQI").pack
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot keeps, and how long.

    Attributes:
        file_bytes_max: Larger files are not kept; they are named, and no restore touches them.
        total_bytes_max: Of all files of one snapshot; the largest files are left out first.
        files_max: Files in one snapshot.
        excluded: Names of folders that are not kept, wherever they stand; nor are folders that
            a `CACHEDIR.TAG` marks when they are first seen.
        keep_days: Older snapshots go when `gc` runs, but for the newest.
        store_bytes_max: What all snapshots of a workspace may take up on disk.
    """

    file_bytes_max: int = 16 << 20
    total_bytes_max: int = 1 << 30
    files_max: int = 200_000
    excluded: frozenset[str] = EXCLUDED
    keep_days: int = 30
    store_bytes_max: int = 2 << 30


class Node(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One name in a folder as a snapshot has it.

    `ref` is the digest of a file's content or a folder's list, a link's target, the name of a
    file that is `linked` (`snapshot_links.py`), or why it was left out. `size` and `mode` are 0
    where they say nothing.
    """

    name: bytes
    kind: Kind
    mode: int
    size: int
    ref: bytes


class Known(NamedTuple):
    """A file as it was last seen; `racy`: it may have changed since under the same stamp."""

    stamp: bytes
    racy: bool
    node: Node


class Folder:
    """A folder as it was last seen.

    Attributes:
        mode: Its permission bits.
        stamp: What tells whether names came or went; empty where that cannot be relied on.
        digest: Of its list, which says all that is below.
        files: All names but folders.
        skipped: Folders that are left out.
        folders: The others.
        bytes_below: Of all files that are kept here and below.
        files_below: How many those are.
        left_below: What is left out here and below, with the reasons.
        has_git: Whether a git directory stands here, which is kept apart.
        gits_below: Paths of all of them, here and below.
        fixed: Whether files come and go here but never change, as git's objects.
        clean: Whether the last look found this folder's own names and files as they were.
        whole: Whether it found all that is below so, too.
    """

    __slots__ = (
        "bytes_below",
        "clean",
        "digest",
        "files",
        "files_below",
        "fixed",
        "folders",
        "gits_below",
        "has_git",
        "left_below",
        "mode",
        "skipped",
        "stamp",
        "whole",
    )

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.stamp = b""
        self.digest = b""
        self.files: dict[str, Known] = {}
        self.skipped: dict[str, Node] = {}
        self.folders: dict[str, Folder] = {}
        self.bytes_below = 0
        self.files_below = 0
        self.left_below: tuple[tuple[str, str], ...] = ()
        self.has_git = False
        self.gits_below: tuple[str, ...] = ()
        self.fixed = False
        self.clean = False
        self.whole = False


class TooMuch(Exception):
    """The files come to more than `total_bytes_max`."""


def stamp_of(status: os.stat_result) -> bytes:
    """What tells whether a file changed."""
    return _pack(
        status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode
    )


def tree(objects: Objects, digest: bytes) -> dict[bytes, Node]:
    """A folder's list by name."""
    nodes = msgspec.msgpack.decode(objects.read(digest), type=list[Node])
    return {node.name: node for node in nodes}


def look(path: str, known: Folder) -> bool:
    """Mark each folder that is as it was; whether all are.

    A file's stat costs the same by either road, but a folder need not be opened and listed.
    """
    whole = known.clean = _looks_clean(path, known)
    for name, child in known.folders.items():
        whole = look(f"{path}/{name}", child) and whole
    known.whole = whole
    return whole


def _looks_clean(path: str, known: Folder) -> bool:
    try:
        if not known.digest or stamp_of(os.lstat(path)) != known.stamp:
            return False
        if known.fixed:
            return True
        prefix = path + "/"
        for name, file in known.files.items():
            status = os.lstat(prefix + name)
            if file.racy or file.stamp != _pack(
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_size,
                status.st_ino,
                status.st_mode,
            ):
                return False
    except OSError:
        return False
    return True


def add_up(path: str, folder: Folder) -> None:
    """Fill in what a folder says of all that is below; its folders have done so."""
    gits = [path + GIT] if folder.has_git else []
    left = [(f"{path}{name}/", node.ref.decode()) for name, node in folder.skipped.items()]
    folder.files_below = len(folder.files)
    folder.bytes_below = 0
    for name, known in folder.files.items():
        if known.node.kind == "left":
            left.append((path + name, known.node.ref.decode()))
        else:
            folder.bytes_below += known.node.size
    for child in folder.folders.values():
        folder.files_below += child.files_below
        folder.bytes_below += child.bytes_below
        left.extend(child.left_below)
        gits.extend(child.gits_below)
    folder.left_below = tuple(left)
    folder.gits_below = tuple(gits)


class Walk:
    """One walk of a workspace.

    Args:
        objects: Where contents go.
        limits: What is kept.
        now_ns: The kernel's time at the beginning.
        own: The snapshots' folder, where it lies in the workspace; passed over.
        temporary: Name of a restore's unfinished file, which is removed where it is met.
        stop: Says that nobody needs the walk any more.
    """

    def __init__(
        self,
        objects: Objects,
        limits: Limits,
        *,
        now_ns: int,
        own: str | None = None,
        temporary: str | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._objects = objects
        self._limits = limits
        self._now_ns = now_ns
        self._own = own
        self._temporary = temporary
        self._stop = stop
        self._files_left = limits.files_max
        self._bytes_left = limits.total_bytes_max
        self.read_files = 0

    def root(self, path: Path, old: Folder | None) -> Folder:
        """Walk a workspace; `old` is how it was last seen.

        Raises:
            TooMuch: Over `total_bytes_max`.
            StoreError: The store refuses, or `stop` says so.
        """
        if old is not None and look(str(path), old):
            return old
        try:
            fd = os.open(path, OPEN_FOLDER)
        except FileNotFoundError:
            gone = Folder(0)
            gone.digest = self._objects.add(encoded(gone))
            return gone
        return self.opened(fd, old)

    def opened(self, fd: int, old: Folder | None) -> Folder:
        """Walk an open folder, and close it; whoever has `old` has looked at it."""
        try:
            return self._folder(fd, "", old)
        finally:
            os.close(fd)

    def _folder(self, fd: int, path: str, old: Folder | None, depth: int = 0) -> Folder:
        if self._stop():
            raise StoreError("no snapshot was taken: the session ends")
        status = os.fstat(fd)
        new = Folder(stat.S_IMODE(status.st_mode))
        new.stamp = b"" if self._racy(status) else stamp_of(status)
        if old is not None and old.clean:
            new.files, new.skipped, names = old.files, old.skipped, list(old.folders)
            new.has_git, new.fixed = old.has_git, old.fixed
        else:
            names = self._files(fd, new, old)
        for name in names:
            child = old.folders.get(name) if old is not None else None
            if child is not None and child.whole:
                new.folders[name] = child
                self._files_left -= child.files_below
                self._bytes_left -= child.bytes_below
            else:
                self._child(fd, path, name, new, old=child, depth=depth)
        add_up(path, new)
        self._files_left -= len(new.files)
        self._bytes_left -= new.bytes_below - sum(
            child.bytes_below for child in new.folders.values()
        )
        if self._bytes_left < 0:
            raise TooMuch
        if old is not None and old.digest and _same(old, new):
            new.digest = old.digest
        else:
            new.digest = self._objects.add(encoded(new))
        return new

    def _files(self, fd: int, new: Folder, old: Folder | None) -> list[str]:
        """Note all but folders in `new`; returns the names of folders, sorted."""
        seen = old.files if old is not None else {}
        names: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name == GIT:
                        new.has_git = True
                    else:
                        names.append(name)
                    continue
                known = seen.get(name)
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except PermissionError:
                    known = _unreadable(name)
                else:
                    if known is None or known.racy or known.stamp != stamp_of(status):
                        known = self._keep(fd, name, status)
                if known is not None:
                    new.files[name] = known
        return sorted(names)

    def _child(
        self, fd: int, path: str, name: str, new: Folder, *, old: Folder | None, depth: int
    ) -> None:
        if path + name == self._own:
            return
        why = self._why_left(name, depth)
        try:
            child = -1 if why else os.open(name, OPEN_FOLDER, dir_fd=fd)
        except PermissionError:
            child, why = -1, "unreadable"
            new.stamp = b""  # it may become readable without a trace in this folder
        except OSError:
            return  # it went, or became something else, while we looked
        if why is None:
            try:
                if old is None and _is_cache(child):
                    why = "cache"
                else:
                    new.folders[name] = self._folder(child, f"{path}{name}/", old, depth + 1)
            finally:
                os.close(child)
        if why is not None:
            new.skipped[name] = left(name, why)

    def _why_left(self, name: str, depth: int) -> str | None:
        if name in self._limits.excluded:
            return "excluded"
        if depth >= _DEPTH_MAX:
            return "too deep"
        if self._files_left <= 0:
            return "too many files"
        return None

    def _keep(self, fd: int, name: str, status: os.stat_result) -> Known | None:
        """A file or link as it is now; None where it went."""
        if name == self._temporary:
            os.unlink(name, dir_fd=fd)
            return None
        stamp = stamp_of(status)
        if stat.S_ISLNK(status.st_mode):
            try:
                target = os.fsencode(os.readlink(name, dir_fd=fd))
            except OSError:
                return None
            node = Node(os.fsencode(name), "link", 0, 0, target)
            return Known(stamp, self._racy(status), node)
        if not stat.S_ISREG(status.st_mode):
            return Known(stamp, False, left(name, "no regular file"))  # noqa: FBT003
        if status.st_size > self._limits.file_bytes_max:
            return Known(stamp, False, left(name, "too large", status))  # noqa: FBT003
        self.read_files += 1
        return self._read(fd, name)

    def _read(self, fd: int, name: str) -> Known | None:
        try:
            file = os.open(name, OPEN_FILE, dir_fd=fd)
        except PermissionError:
            return _unreadable(name)
        except OSError:
            return None
        try:
            before = os.fstat(file)
            regular = stat.S_ISREG(before.st_mode)
            data = _content(file, self._limits.file_bytes_max) if regular else None
            after = os.fstat(file)
        except OSError:
            return _unreadable(name)
        finally:
            os.close(file)
        if data is None:
            return Known(b"", True, left(name, "too large", after))  # noqa: FBT003
        mode = stat.S_IMODE(before.st_mode)
        node = Node(os.fsencode(name), "file", mode, len(data), self._objects.add(data))
        stamp = stamp_of(before)
        return Known(stamp, self._racy(before) or stamp != stamp_of(after), node)

    def _racy(self, status: os.stat_result) -> bool:
        newest_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        if status.st_ctime_ns % _COARSE_NS == 0:
            newest_ns += _COARSE_STEP_NS
        return newest_ns >= self._now_ns


def encoded(folder: Folder) -> bytes:
    """A folder's list, the same bytes for the same content."""
    nodes = [known.node for known in folder.files.values()]
    nodes.extend(folder.skipped.values())
    nodes.extend(
        Node(os.fsencode(name), "folder", child.mode, 0, child.digest)
        for name, child in folder.folders.items()
    )
    nodes.sort(key=lambda node: node.name)
    return msgspec.msgpack.encode(nodes)


def sizes(root: Path, excluded: frozenset[str]) -> Iterator[int]:
    """Sizes of all files below, in bytes."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in excluded and name != GIT]
        for name in files:
            try:
                status = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield status.st_size


def _same(old: Folder, new: Folder) -> bool:
    """Whether two folders have the same list."""
    if old.files.keys() != new.files.keys() or old.folders.keys() != new.folders.keys():
        return False
    return (
        old.skipped == new.skipped
        and all(
            child.digest == old.folders[name].digest and child.mode == old.folders[name].mode
            for name, child in new.folders.items()
        )
        and all(known.node == old.files[name].node for name, known in new.files.items())
    )


def left(name: str, why: str, status: os.stat_result | None = None) -> Node:
    """A name that is not kept, and why."""
    size = status.st_size if status is not None else 0
    return Node(os.fsencode(name), "left", 0, size, why.encode())


def _unreadable(name: str) -> Known:
    return Known(b"", True, left(name, "unreadable"))  # noqa: FBT003


def _content(file: int, bytes_max: int) -> bytes | None:
    """All of an open file; None where it is over the limit."""
    parts: list[bytes] = []
    total = 0
    while part := os.read(file, _READ_BYTES):
        parts.append(part)
        total += len(part)
        if total > bytes_max:
            return None
    return b"".join(parts)


def _is_cache(folder: int) -> bool:
    """Whether a folder says that it can be made again (https://bford.info/cachedir/)."""
    try:
        tag = os.open(_CACHE_TAG, OPEN_FILE, dir_fd=folder)
    except OSError:
        return False
    try:
        return os.read(tag, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(tag)
