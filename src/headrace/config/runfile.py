"""The private file of a running `headrace up`, by which commands of the same user find it."""

import os
import sys
from pathlib import Path

import msgspec

RUN_FILE = "run.json"


class RunFile(msgspec.Struct, frozen=True):
    """Where the running Headrace is and how its owner's commands get in.

    `credential` is made anew at each start. `process_start` tells this process from a later
    one that got the same number.
    """

    url: str
    pid: int
    process_start: str
    credential: str
    started_ns: int
    version: int = 1


def process_start(pid: int) -> str | None:
    """When a process started, as the system tells it; None when there is no such process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return _process_start_by_ps(pid)


def _process_start_by_ps(pid: int) -> str | None:
    import subprocess  # noqa: PLC0415 - only where there is no /proc

    shown = subprocess.run(  # noqa: S603 - fixed program, numeric argument
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


def write(data: Path, run: RunFile) -> None:
    """Put the file in place at once and readable by its owner only."""
    partial = data / f"{RUN_FILE}.{run.pid}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(run))
    partial.replace(data / RUN_FILE)


def remove(data: Path, run: RunFile) -> None:
    """Take the file away if it is still ours."""
    if _read(data) == run:
        (data / RUN_FILE).unlink(missing_ok=True)


def read_live(data: Path) -> RunFile | None:
    """The run file of a Headrace that is still running on this data folder, else None."""
    run = _read(data)
    if run is None or process_start(run.pid) != run.process_start:
        return None
    return run


def _read(data: Path) -> RunFile | None:
    try:
        return msgspec.json.decode((data / RUN_FILE).read_bytes(), type=RunFile)
    except (OSError, msgspec.MsgspecError):
        return None
