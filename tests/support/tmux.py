"""A real terminal: tmux with a server of its own, its screen read as text."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_SHORT_S = 0.02


class Tmux:
    """One window of a tmux server."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def run(self, *words: str) -> str:
        """One tmux command."""
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def keys(self, *names: str) -> None:
        """Press keys, as tmux names them."""
        self.run("send-keys", *names)

    def type(self, text: str) -> None:
        """Type characters as they are."""
        self.run("send-keys", "-l", text)

    def say(self, text: str) -> None:
        """Type and press Enter."""
        self.type(text)
        self.keys("Enter")

    def paste(self, text: str) -> None:
        """Paste as a terminal does, in brackets where the program asked for them."""
        self.run("set-buffer", text)
        self.run("paste-buffer", "-p")

    def screen(self, *, styles: bool = False) -> str:
        """What is seen now."""
        return self.run("capture-pane", "-p", *(["-e"] if styles else []))

    def whole(self) -> str:
        """The scrollback and what is seen now."""
        return self.run("capture-pane", "-p", "-S", "-")

    def resize(self, columns: int, rows: int) -> None:
        """Make the window that large."""
        self.run("resize-window", "-x", str(columns), "-y", str(rows))

    def wait(self, text: str, *, gone: bool = False, timeout_s: float = 10) -> str:
        """Wait until the screen shows a text (`gone`: no longer shows it); returns the screen."""
        ends = time.monotonic() + timeout_s
        while True:
            shown = self.screen()
            if (text in shown) != gone:
                return shown
            if time.monotonic() > ends:
                pytest.fail(f"waited for {text!r} (gone={gone}); the screen:\n{shown}")
            time.sleep(_SHORT_S)

    def wait_end(self, *, timeout_s: float = 10) -> None:
        """Wait until the program in the window has ended."""
        ends = time.monotonic() + timeout_s
        # Not by the words that tmux writes then: now and then it writes none.
        while self.run("display-message", "-p", "#{pane_dead}").strip() != "1":
            if time.monotonic() > ends:
                pytest.fail(f"the program did not end; the screen:\n{self.screen()}")
            time.sleep(_SHORT_S)

    def pid(self) -> int:
        """The process in the window."""
        return int(self.run("display-message", "-p", "#{pane_pid}"))


@contextmanager
def terminal(
    command: list[str],
    folder: Path,
    *,
    columns: int = 80,
    rows: int = 24,
    environment: Mapping[str, str] | None = None,
) -> Generator[Tmux]:
    """Run a command in a terminal of that size; what it leaves stays readable after its end."""
    if shutil.which("tmux") is None:
        if os.environ.get("CI"):
            pytest.fail("tmux is missing")
        pytest.skip("tmux is missing")
    tmux = Tmux(folder / "tmux")
    settings = [f"{name}={value}" for name, value in (environment or {}).items()]
    line = shlex.join(["env", *settings, *command])
    size = ("-x", str(columns), "-y", str(rows))
    options = ("set-option", "-g", "remain-on-exit", "on", ";")
    more = ("set-option", "-g", "escape-time", "0", ";")
    tmux.run("start-server", ";", *options, *more, "new-session", "-d", *size, line)
    try:
        yield tmux
    finally:
        tmux.run("kill-server")
