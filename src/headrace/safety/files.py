"""Workspace: reads and writes files below given folders, whatever links and races do."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec


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


class Workspace:
    """Files below a root, and below further roots that may be read or written.

    Args:
        root: The folder worked in; links in its own path are resolved once, here.
        write_roots: Further folders that may be written (`--add-dir`).
        read_roots: Further folders that may be read.
    """

    def __init__(
        self, root: Path, *, write_roots: Sequence[Path] = (), read_roots: Sequence[Path] = ()
    ) -> None:
        raise NotImplementedError

    @property
    def root(self) -> Path:
        """The folder worked in, absolute, links resolved."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the folders."""

    def absolute(self, path: str) -> str:
        """The path, normalised by its letters alone; for rules and the screen. Asks no disk."""
        raise NotImplementedError

    def relative(self, path: str) -> str:
        """The path as seen from the root; one in another root stays absolute.

        Raises:
            Forbidden: It lies outside all roots.
            InvalidRequest: It is no path: empty, NUL, lone surrogates, too long.
        """
        raise NotImplementedError

    def read(self, path: str, bytes_max: int = 16 << 20) -> bytes:
        """A regular file's bytes.

        Raises:
            Forbidden: Outside all roots, or reached through a link.
            NotFound: There is none.
            TooLarge: Larger than `bytes_max`.
            InvalidRequest: A folder, device or the like, or no path.
        """
        raise NotImplementedError

    def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """Put a file in place, whole or not at all; missing folders are made.

        A file that was there keeps its mode; a new one gets `mode`, or 0666 less the umask.

        Raises:
            Forbidden: Outside the roots that may be written, through a link, or a protected name.
            InvalidRequest: A folder, device or the like stands there, or no path.
            Conflict: The disk is full, or the file system read-only.
        """
        raise NotImplementedError

    def delete(self, path: str) -> None:
        """Remove a file. Raises as `write` does, and NotFound."""
        raise NotImplementedError

    def stat(self, path: str) -> Status:
        """What stands there; a link is told, not followed. Raises as `read` does."""
        raise NotImplementedError

    def walk(self, path: str = ".", *, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
        """All names below, sorted, folders before what they hold; links are not followed.

        Args:
            path: The folder to begin with.
            skip: Names of folders that are not entered; `.git` never is.
        """
        raise NotImplementedError
