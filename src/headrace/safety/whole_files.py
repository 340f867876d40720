"""Small files that are read without following links, and replaced whole or not at all."""

import os
import stat
from pathlib import Path

BYTES_MAX = 1 << 20


def read_plain(path: Path) -> bytes | None:
    """The bytes of a regular file; None where there is none, or a link, or over `BYTES_MAX`.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        if path.is_symlink():
            return None
        raise
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = file.read(BYTES_MAX + 1)
    return content if len(content) <= BYTES_MAX else None


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put `content` in the place of a file, so that a crash leaves the old or the new one.

    Raises:
        OSError: The folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
