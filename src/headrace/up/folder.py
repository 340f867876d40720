"""The data folder: private, and used by one `headrace up` at a time."""

import fcntl
import logging
import logging.handlers
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.core.errors import Conflict

_LOG_BYTES_MAX = 10 * 1024 * 1024
_LOG_FILES = 3


def prepare(data: Path) -> None:
    """Make the folder, or make it readable by its owner only."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if data.stat().st_mode & 0o077:
        data.chmod(0o700)
    (data / "logs").mkdir(mode=0o700, exist_ok=True)


@contextmanager
def locked(data: Path) -> Generator[None]:
    """Hold the folder against a second `up`; the lock ends with the process, however it ends.

    Raises:
        Conflict: Another process holds it.
    """
    descriptor = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(
            f"another headrace is starting or stopping on {data}",
            hint="wait for it, or name another folder with --data",
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def start_logging(data: Path, level: str) -> None:
    """Send the log to a bounded file in the folder, and errors to the terminal as well."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    file = logging.handlers.RotatingFileHandler(
        data / "logs" / "headrace.log",
        maxBytes=_LOG_BYTES_MAX,
        backupCount=_LOG_FILES,
        encoding="utf-8",
    )
    file.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.ERROR)
    terminal.setFormatter(_OneLine("headrace: %(message)s"))
    root.handlers = [file, terminal]


class _OneLine(logging.Formatter):
    """Escapes control characters, so that no text from outside can forge a line or a colour.

    The lines of a traceback, which may quote such text, are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        line = super().formatMessage(record)
        return line if line.isprintable() else line.encode("unicode_escape").decode("ascii")

    def formatException(self, ei: Any) -> str:  # noqa: N802, ANN401 - the library's name and type
        lines = super().formatException(ei).split("\n")
        shown = (each.encode("unicode_escape").decode("ascii") for each in lines)
        return "\n".join(f"    {line}" for line in shown)
