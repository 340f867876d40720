"""The traces of unexpected errors, kept in a file of the data folder: no screen is for them."""

import logging
import os
from pathlib import Path

from headrace.code.connect import data_folder
from headrace.code.flags import Flags

_BYTES_MAX = 4 * 1024 * 1024


def trace_path(flags: Flags) -> Path:
    """The file that they are kept in."""
    return data_folder(flags) / "logs" / "code.log"


def keep_traces(flags: Flags) -> None:
    """Write warnings and errors of this process there from now on, instead of to stderr."""
    root = logging.getLogger()
    if not any(isinstance(handler, _File) for handler in root.handlers):
        root.addHandler(_File(trace_path(flags)))


class _File(logging.Handler):
    """A file that is made with the first line, for its owner alone, and begun anew when long."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.WARNING)
        self._path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record; where that cannot be, the run goes on without."""
        line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > _BYTES_MAX:
                self._path.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
