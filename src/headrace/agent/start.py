"""Finding the running Headrace of this user, or starting one in the background."""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from headrace.agent.client import Client
from headrace.agent.terminal import neutral
from headrace.config.runfile import RunFile, read_live
from headrace.core.errors import EngineUnavailable, HeadraceError, TimedOut

_POLL_S = 0.1
_START_S_MAX = 1_800.0
_READY_S_MAX = 120.0
_RIVAL_S = 5.0
_LOG_BYTES_MAX = 4 * 1024 * 1024
_TAIL_BYTES = 4_096
_TAIL_LINES = 12
_LINE_CHARS = 60
_TOLD_EVERY_S = 10.0


class Watcher(Protocol):
    """Who hears how a start goes on."""

    def tell(self, text: str) -> None:
        """A line that stays."""
        ...

    def waits(self, text: str, seconds: float) -> None:
        """What is waited for, and for how long by now; the next takes its place. "": no more."""
        ...


class OnStderr:
    """Tells it on stderr: on one line of a terminal, now and then where it is none."""

    def __init__(self) -> None:
        self._told_s = 0.0

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._write(f"headrace: {text}\n")

    def waits(self, text: str, seconds: float) -> None:
        """What is waited for."""
        if sys.stderr.isatty():
            self._write(f"\r\x1b[K  {seconds:3.0f} s  {text}" if text else "\r\x1b[K")
        elif text and seconds >= self._told_s + _TOLD_EVERY_S:
            self._told_s = seconds
            self._write(f"  {seconds:3.0f} s  {text}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


async def find_or_start(
    data: Path, model: str | None, *, cwd: Path | None = None, watcher: Watcher | None = None
) -> tuple[RunFile, bool]:
    """The Headrace that runs on this data folder; one is started when there is none.

    What is started outlives us.

    Args:
        data: The data folder.
        model: What a new one shall serve; None leaves it to its settings.
        cwd: The folder that a new one starts in, whose `headrace.toml` it reads; None: this one.
        watcher: Hears how it goes on; None: it is told on stderr.

    Returns:
        Its run file, and whether it was started now.

    Raises:
        EngineUnavailable: It did not start; the hint holds the end of its log.
        TimedOut: It took too long.
    """
    run = read_live(data)
    if run is not None:
        return run, False
    async with _alone(_logs(data) / "start.lock"):
        # Whoever held the lock before us may just have started one.
        run = read_live(data)
        if run is not None:
            return run, False
        log = _logs(data) / "up.log"
        return await _start(data, log, model, cwd, watcher or OnStderr()), True


def _logs(data: Path) -> Path:
    logs = data / "logs"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.mkdir(mode=0o700, exist_ok=True)
    return logs


async def wait_ready(client: Client) -> None:
    """Return when the server would take a call.

    Raises:
        TimedOut: It does not get ready.
    """
    try:
        async with asyncio.timeout(_READY_S_MAX):
            while True:
                if await client.ready():
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise TimedOut(
            "Headrace runs but its engine does not get ready", hint="headrace doctor tells more"
        ) from None


@asynccontextmanager
async def _alone(path: Path) -> AsyncGenerator[None]:
    """One starter at a time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            if _try_lock(descriptor):
                break
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _start(
    data: Path, log: Path, model: str | None, cwd: Path | None, watcher: Watcher
) -> RunFile:
    watcher.tell(f"no Headrace is running, starting one in the background (log: {log})")
    process, log_start = _launch(data, log, model, cwd)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    while (taken_s := loop.time() - started_s) < _START_S_MAX:
        run = read_live(data)
        if run is not None:
            watcher.waits("", taken_s)
            watcher.tell(f"ready after {taken_s:.0f} s; kill {run.pid} stops it")
            return run
        if process.poll() is not None:
            watcher.waits("", taken_s)
            return await _rival(data, process.returncode, _tail(log, log_start))
        last = _tail(log, log_start).rpartition("\n")[2]
        watcher.waits(last[:_LINE_CHARS] or "starting", taken_s)
        await asyncio.sleep(_POLL_S)
    raise TimedOut(f"headrace up does not get ready; its log is {log}")


def _launch(
    data: Path, log: Path, model: str | None, cwd: Path | None
) -> tuple["subprocess.Popen[bytes]", int]:
    """Start `headrace up` in a session of its own; also where its part of the log begins."""
    # -P: no module of the working folder may stand in for one of ours.
    command = [sys.executable, "-P", "-m", "headrace", "up", "--yes", "--no-browser"]
    command += ["--data", str(data), *(["--model", model] if model else [])]
    if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
        log.unlink()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        # Its screen shows keys and links, which belong in no log: only stderr is kept.
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    return process, size


async def _rival(data: Path, code: int, tail: str) -> RunFile:
    """Ours ended: the run file of one that a person started meanwhile, if there is."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + (_RIVAL_S if "another headrace" in tail else 0)
    while (run := read_live(data)) is None:
        if loop.time() >= until_s:
            raise _failure(code, tail)
        await asyncio.sleep(_POLL_S)
    return run


def _failure(code: int, tail: str) -> HeadraceError:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return EngineUnavailable(f"headrace up ended with {how}", hint=tail or "its log is empty")


def _tail(log: Path, start: int) -> str:
    """The last lines that this start wrote to the log."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    # Progress bars write over their line; what they wrote last is what counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")]
    return "\n".join(neutral(line) for line in lines[-_TAIL_LINES:])
