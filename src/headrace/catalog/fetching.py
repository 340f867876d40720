"""What all sources share: progress, room on the disk, digests of files."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace.core.errors import CatalogError

Progress = Callable[[int, int | None, str], None]
"""Called with the bytes done, the bytes in all where known, and what is going on."""

CHUNK_BYTES = 1 << 20
MODEL_BYTES_MAX = 500 * 10**9
_SPARE_BYTES = 64 * 1024 * 1024


class Order(msgspec.Struct, frozen=True):
    """What to fetch into which folder; `digest` and `size_bytes` where they are known before.

    The folder is this pull's own and may hold a partial file of an earlier one.
    """

    folder: Path
    file: str
    progress: Progress
    digest: str | None = None
    size_bytes: int | None = None

    @property
    def target(self) -> Path:
        """Where the whole file is to lie, still under a name that nobody reads."""
        return self.folder / f"{self.file}.partial"


class Fetched(msgspec.Struct, frozen=True):
    """A file that came whole; `digest` is what its origin says it must be, where it says so."""

    path: Path
    source: str
    digest: str | None = None


def quiet(_done_bytes: int, _total_bytes: int | None, _what: str) -> None:
    """Progress that nobody watches."""


def require_room(folder: Path, need_bytes: int, what: str) -> None:
    """Refuse early rather than fill the disk.

    Raises:
        CatalogError: There is not enough room.
    """
    free = shutil.disk_usage(folder).free
    if free < need_bytes + _SPARE_BYTES:
        raise CatalogError(
            f"{what} needs {need_bytes / 1e9:.1f} GB on the disk of {folder},"
            f" {free / 1e9:.1f} GB are free",
            hint="make room, or choose another folder with --data",
        )


def file_digest(path: Path, progress: Progress = quiet) -> str:
    """The `sha256:` digest of a whole file.

    Raises:
        CatalogError: It cannot be read.
    """
    hasher, done = hashlib.sha256(), 0
    try:
        total = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                hasher.update(chunk)
                done += len(chunk)
                progress(done, total, "verifying")
    except OSError as error:
        raise CatalogError(f"cannot read {path}: {error.strerror or error}") from None
    return f"sha256:{hasher.hexdigest()}"


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
