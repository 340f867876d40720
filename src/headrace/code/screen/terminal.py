"""Terminal: raw mode and back, whatever happens; bytes in and out."""

import atexit
import os
import signal
import sys
import termios
import tty
from types import FrameType

_COLUMNS, _ROWS = 80, 24
_LEAST_COLUMNS, _LEAST_ROWS = 8, 3
_READ_BYTES = 65_536
# Paste brackets; keys told apart as Kitty's protocol does (others ignore it); no wrapping, so
# that a character measured wrongly cannot push a row down.
_ENTER = "\x1b[?2004h\x1b[>1u\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[<u\x1b[?2004l\x1b[?25h\x1b[0m"
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def is_dumb() -> bool:
    """Whether the terminal cannot place a cursor."""
    return os.environ.get("TERM", "dumb") in {"", "dumb", "unknown"}


def wants_colour() -> bool:
    """Whether colours may be drawn (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


class Terminal:
    """The terminal this process stands in."""

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self.source = source
        self.sink = sink
        self.bytes_written = 0
        self._kept: list[int | list[bytes | int]] | None = None
        self._handlers: dict[int, object] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is taken over now."""
        return self._kept is not None

    def open(self) -> None:
        """Take the terminal over.

        Raises:
            InvalidRequest: There is none; the text says what to do.
        """
        if not (os.isatty(self.source) and os.isatty(self.sink)):
            # With what it brings it costs as much as all of the first paint.
            from headrace.core.errors import InvalidRequest  # noqa: PLC0415

            raise InvalidRequest(
                "the screen needs a terminal for its input and its output",
                hint='say it in one go instead: headrace code -p "…"',
            )
        atexit.register(self.close)
        for number in _ENDINGS:
            # Before the event loop runs there is nobody else who would put things back.
            self._handlers[number] = signal.signal(number, self._ended)
        self.enter()

    def enter(self) -> None:
        """Raw mode; also after a stop."""
        if self._kept is None:
            self._kept = termios.tcgetattr(self.source)
        tty.setraw(self.source, termios.TCSADRAIN)
        self.write(_ENTER)

    def leave(self) -> None:
        """As it was before, for a while or for good. Harmless when done twice."""
        if self._kept is None:
            return
        kept, self._kept = self._kept, None
        try:
            self.write(_LEAVE)
            termios.tcsetattr(self.source, termios.TCSADRAIN, kept)
        except (OSError, termios.error):
            # The terminal is gone: nobody sees what is left on it.
            return

    def close(self) -> None:
        """As it was before, for good."""
        self.leave()
        atexit.unregister(self.close)

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self.sink)
        except OSError:
            columns, rows = 0, 0
        return (
            max(_LEAST_COLUMNS, columns or _COLUMNS),
            max(_LEAST_ROWS, rows or _ROWS),
        )

    def read(self) -> bytes:
        """What was typed; empty when the terminal has gone."""
        try:
            return os.read(self.source, _READ_BYTES)
        except OSError:
            return b""

    def write(self, text: str) -> None:
        """Write all of it."""
        data = text.encode("utf-8", "replace")
        self.bytes_written += len(data)
        while data:
            data = data[os.write(self.sink, data) :]

    def stop(self) -> None:
        """Stop this job as ctrl+z does, and come back when it is continued."""
        self.leave()
        # The whole job, since the shell waits for whatever started us, too.
        os.kill(0, signal.SIGTSTP)
        self.enter()

    def _ended(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.leave()
        signal.signal(number, signal.SIG_DFL)
        sys.stdout.flush()
        os.kill(os.getpid(), number)
