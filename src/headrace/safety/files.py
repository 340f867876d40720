"""Workspace: reads and writes files below given folders, whatever links and races do.

These calls run in our own process, where no sandbox holds them. So every path is opened below a
descriptor of its root that was opened at the start, never by a name that was checked before.
"""

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import msgspec

from headrace.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, TooLarge
from headrace.safety.beneath import FOLDER, open_beneath
from headrace.safety.obeyed import Obeyed
from headrace.safety.protected import protected_part

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_BYTES_MAX = 4_095
_NAME_BYTES_MAX = 255
_DEPTH_MAX = 200  # one descriptor for each folder on the way
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class Status(msgspec.Struct, frozen=True):
    """What is known of a name without reading it; `kind` other: no file, folder or link."""

    kind: Literal["file", "folder", "link", "other"]
    size_bytes: int
    mode: int
    mtime_ns: int


class Found(msgspec.Struct, frozen=True):
    """A name that a walk came by; `path` is relative to where the walk began."""

    path: str
    is_folder: bool


class _Root(NamedTuple):
    fd: int
    path: str
    named: str  # as it was given, links unresolved
    writable: bool


class _Place(NamedTuple):
    root: _Root
    path: str  # relative to the root, normalised; "." is the root itself
    shown: str  # as it was asked for, for messages


class Workspace:
    """Files below a root, and below further roots that may be read or written.

    Args:
        root: The folder worked in; links in its own path are resolved once, here.
        write_roots: Further folders that may be written (`--add-dir`).
        read_roots: Further folders that may be read.

    Raises:
        NotFound: One of them is no folder.
    """

    def __init__(
        self, root: Path, *, write_roots: Sequence[Path] = (), read_roots: Sequence[Path] = ()
    ) -> None:
        self._roots: list[_Root] = []
        try:
            for path in (root, *write_roots):
                self._roots.append(_open_root(path, writable=True))
            for path in read_roots:
                self._roots.append(_open_root(path, writable=False))
        except BaseException:
            self.close()
            raise
        self._obeyed = Obeyed([each.path for each in self._roots if each.writable])

    @property
    def root(self) -> Path:
        """The folder worked in, absolute, links resolved."""
        return Path(self._roots[0].path)

    def close(self) -> None:
        """Let go of the folders."""
        while self._roots:
            os.close(self._roots.pop().fd)

    def absolute(self, path: str) -> str:
        """The path, normalised by its letters alone; for rules and the screen. Asks no disk.

        Raises:
            InvalidRequest: It is no path: empty, NUL, lone surrogates, too long.
        """
        return os.path.normpath(os.path.join(self._roots[0].path, _checked(path)))  # noqa: PTH118 - text only

    def relative(self, path: str) -> str:
        """The path as seen from the root; one in another root stays absolute.

        Raises:
            Forbidden: It lies outside all roots.
            InvalidRequest: It is no path: empty, NUL, lone surrogates, too long.
        """
        place = self._place(path)
        if place.root is self._roots[0]:
            return place.path
        return os.path.normpath(f"{place.root.path}/{place.path}")

    def read(self, path: str, bytes_max: int = 16 << 20) -> bytes:
        """A regular file's bytes.

        Raises:
            Forbidden: Outside all roots, or reached through a link.
            NotFound: There is none.
            TooLarge: Larger than `bytes_max`.
            InvalidRequest: A folder, device or the like, or no path.
        """
        place = self._place(path)
        fd = _open(place, _READ)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidRequest(f"{place.shown} is {_what(status.st_mode)}, not a file")
            if status.st_size > bytes_max:
                raise TooLarge(f"{place.shown} has {status.st_size:,} bytes, at most {bytes_max:,}")
            os.set_blocking(fd, True)
            data = _read_up_to(fd, bytes_max + 1)
        finally:
            os.close(fd)
        if len(data) > bytes_max:
            raise TooLarge(f"{place.shown} grew beyond {bytes_max:,} bytes while it was read")
        return data

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """Put a file in place, whole or not at all; missing folders are made.

        A file that was there keeps its mode; a new one gets `mode`, or 0666 less the umask.

        Raises:
            Forbidden: Outside the roots that may be written, through a link, or a protected name.
            InvalidRequest: A folder, device or the like stands there, or no path.
            Conflict: The disk is full, or the file system read-only.
        """
        place = self._to_change(path)
        with _parent(place, create=True) as (folder, name):
            _replace(folder, name, data, _mode_there(folder, name, place) or mode)

    def delete(self, path: str) -> None:
        """Remove a file, or a link itself. Raises as `write` does, and NotFound."""
        place = self._to_change(path)
        with _parent(place) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
                raise InvalidRequest(f"{place.shown} is {_what(status.st_mode)}, not a file")
            os.unlink(name, dir_fd=folder)

    def stat(self, path: str) -> Status:
        """What stands there; a link is told, not followed. Raises as `read` does."""
        place = self._place(path)
        with _parent(place) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return Status(_kind(status.st_mode), status.st_size, status.st_mode, status.st_mtime_ns)

    def walk(self, path: str = ".", *, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
        """All names below, sorted, each folder before what it holds; links are not followed.

        Folders that cannot be opened, or vanish meanwhile, are passed by.

        Args:
            path: The folder to begin with.
            skip: Names of folders that are not entered; `.git` never is.

        Raises:
            Forbidden: Outside all roots, or reached through a link.
            NotFound: There is no such folder.
        """
        place = self._place(path)
        fd = _open_folder(place, place.path)
        yield from _walk(fd, "", skip | {".git"}, _DEPTH_MAX)

    def _to_change(self, path: str) -> _Place:
        place = self._place(path)
        if not place.root.writable:
            raise Forbidden(f"{place.shown} lies in {place.root.path}, which may only be read")
        if place.path == ".":
            raise InvalidRequest(f"{place.shown} is a folder, not a file")
        part = protected_part(place.path)
        if part is not None:
            raise Forbidden(
                f"{place.shown}: {part} is protected, since other programs act on it",
                hint="only the user changes it, by hand",
            )
        if why := self._obeyed.why(place.root.fd, place.root.path, place.path):
            raise Forbidden(f"{place.shown}: {why}", hint="only the user changes it, by hand")
        return place

    def _place(self, path: str) -> _Place:
        shown = _checked(path)
        if not self._roots:
            raise Conflict("the workspace is closed")
        if shown == "~" or shown.startswith("~"):
            first = shown.partition("/")[0]
            if "/" in shown or first == "~":
                raise Forbidden(f"{shown}: ~ means nothing here; name the path in full")
        wanted = self.absolute(shown)
        for root in self._roots:
            for start in {root.path, root.named}:
                inside = _below(wanted, start)
                if inside is not None:
                    return _Place(root, inside, shown)
        raise Forbidden(
            f"{shown} lies outside the workspace {self._roots[0].path}",
            hint="start with --add-dir FOLDER to work there, too",
        )


def _open_root(path: Path, *, writable: bool) -> _Root:
    named = os.path.abspath(path)  # noqa: PTH100 - links in it are not resolved
    real = os.path.realpath(path)
    try:
        return _Root(os.open(real, FOLDER), real, named, writable)
    except OSError as error:
        raise NotFound(f"{path} cannot be opened as a folder: {error.strerror}") from None


def _checked(path: str) -> str:
    if not path:
        raise InvalidRequest("the path is empty")
    if "\0" in path:
        raise InvalidRequest(f"{path!r} holds a NUL, which no path can")
    try:
        name = path.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{path!a} holds half a character (a lone surrogate)") from None
    if len(name) > _PATH_BYTES_MAX or any(len(p) > _NAME_BYTES_MAX for p in name.split(b"/")):
        raise InvalidRequest(f"the path {path[:60]!r}… is longer than a path may be")
    return path


def _below(path: str, root: str) -> str | None:
    if path == root:
        return "."
    start = root if root.endswith("/") else f"{root}/"
    return path.removeprefix(start) if path.startswith(start) else None


def _open(place: _Place, flags: int) -> int:
    try:
        return open_beneath(place.root.fd, place.path, flags)
    except OSError as error:
        _refuse(error, place)


@contextmanager
def _parent(place: _Place, *, create: bool = False) -> Generator[tuple[int, str]]:
    """The folder that holds a place, open, and the place's name in it."""
    parent, _, name = place.path.rpartition("/")
    folder = _open_folder(place, parent, create=create)
    try:
        yield folder, name
    except OSError as error:
        _refuse(error, place)
    finally:
        os.close(folder)


def _open_folder(place: _Place, path: str, *, create: bool = False) -> int:
    """A descriptor of a folder in the place's root that may be scanned."""
    try:
        return open_beneath(place.root.fd, path or ".", FOLDER)
    except OSError as error:
        if error.errno != errno.ENOENT or not create:
            _refuse(error, place)
    fd = os.dup(place.root.fd)
    try:
        for part in path.split("/"):
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=fd)
            below = open_beneath(fd, part, FOLDER)
            os.close(fd)
            fd = below
    except OSError as error:
        os.close(fd)
        _refuse(error, place)
    return fd


def _mode_there(folder: int, name: str, place: _Place) -> int | None:
    """The permission bits of the file that is to be replaced; None where there is none."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "a link", place.path)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequest(f"{place.shown} is {_what(status.st_mode)}, not a file")
    return stat.S_IMODE(status.st_mode) & 0o777


def _replace(folder: int, name: str, data: bytes, mode: int | None) -> None:
    """Write beside it, make it last, then give it the name: a reader sees all or nothing."""
    beside = f".{os.urandom(8).hex()}.tmp"
    fd = os.open(beside, _NEW, 0o666, dir_fd=folder)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            _keep_owner(folder, name, fd)
            if mode is not None:
                os.fchmod(fd, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(fd)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise


def _keep_owner(folder: int, name: str, fd: int) -> None:
    """Where root edits somebody's file, or a member of a group the group's, it stays theirs."""
    with suppress(OSError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mine = os.fstat(fd)
        if (status.st_uid, status.st_gid) != (mine.st_uid, mine.st_gid):
            os.fchown(fd, status.st_uid if os.geteuid() == 0 else -1, status.st_gid)


def _read_up_to(fd: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0 and (part := os.read(fd, min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _walk(fd: int, prefix: str, skip: frozenset[str], depth: int) -> Iterator[Found]:
    try:
        with os.scandir(fd) as entries:
            names = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
        for name, is_folder in names:
            yield Found(prefix + name, is_folder)
            if is_folder and name not in skip and depth:
                with suppress(OSError):
                    yield from _walk(
                        os.open(name, FOLDER, dir_fd=fd), f"{prefix}{name}/", skip, depth - 1
                    )
    finally:
        os.close(fd)


def _refuse(error: OSError, place: _Place) -> NoReturn:
    """Say an error of the system in words that help."""
    code, shown = error.errno, place.shown
    link = _link_on(place) if code in {errno.ELOOP, errno.ENOTDIR, errno.EXDEV} else None
    if link is not None:
        raise Forbidden(
            f"{shown} leads through the link {link[0]} → {link[1]}", hint="name the file itself"
        ) from None
    if code in {errno.ELOOP, errno.EXDEV}:
        raise Forbidden(f"{shown} leads out of the workspace") from None
    if code == errno.ENOENT:
        raise NotFound(f"there is no {shown}") from None
    if code in {errno.EACCES, errno.EPERM}:
        raise Forbidden(f"{shown}: the system says {error.strerror}") from None
    if code in _FULL:
        raise Conflict(f"{shown} was not written: {error.strerror}") from None
    if code == errno.ENOTDIR:
        raise InvalidRequest(f"{shown}: a part of the path is a file") from None
    raise InvalidRequest(f"{shown}: {error.strerror}") from None


def _link_on(place: _Place) -> tuple[str, str] | None:
    """The first link on the way and where it points; only for the message."""
    path = place.root.path
    for part in place.path.split("/"):
        path = f"{path}/{part}"
        with suppress(OSError):
            return os.path.relpath(path, place.root.path), os.readlink(path)  # noqa: PTH115
    return None


def _kind(mode: int) -> Literal["file", "folder", "link", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def _what(mode: int) -> str:
    kind = _kind(mode)
    return {"folder": "a folder", "link": "a link"}.get(kind, "a device, socket or pipe")
