"""`file:` — bring a file of this machine into the catalogue, without copying where possible."""

import contextlib
import os
import stat
import sys
from pathlib import Path

from headrace.catalog.fetching import CHUNK_BYTES, Fetched, Order, require_room
from headrace.catalog.sources import FileSource
from headrace.core.errors import CatalogError

_FICLONE = 0x40049409


def fetch(source: FileSource, order: Order) -> Fetched:
    """Clone, else hard-link, else copy the file.

    A clone (copy on write) shares the room until either is changed. A hard link shares it for
    good: a later change of the original then changes the installed model, which its next
    verification notices and refuses.

    Raises:
        CatalogError: The file is not there, no regular file, or there is no room for it.
    """
    try:
        path = source.path.resolve(strict=True)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CatalogError(f"{source.path} is not a regular file")
        order.target.unlink(missing_ok=True)
        if not _clone(path, order.target) and not _link(path, order.target):
            require_room(order.folder, status.st_size, "the copy of the model")
            _copy(path, order, status.st_size)
    except OSError as error:
        raise CatalogError(f"cannot take {source.path}: {error.strerror or error}") from None
    order.progress(status.st_size, status.st_size, "copying")
    return Fetched(order.target, str(source))


def _clone(path: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415 - only on the way of an import

    with path.open("rb") as original, target.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
        except OSError:
            target.unlink()
            return False
    return True


def _link(path: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):
        os.link(path, target)
        return True
    return False


def _copy(path: Path, order: Order, total_bytes: int) -> None:
    done = 0
    with path.open("rb", buffering=0) as original, order.target.open("xb") as copy:
        while chunk := original.read(CHUNK_BYTES):
            copy.write(chunk)
            done += len(chunk)
            order.progress(done, total_bytes, "copying")
