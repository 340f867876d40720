"""Files of a journal: `<worker>-<n>.jsonl`, numbered from 1 without gaps."""

import os
import re
import sys
from pathlib import Path

from headrace.core.errors import StoreError

_NAME = re.compile(r"(?P<worker>[a-z0-9_]+)-(?P<number>[0-9]{6,})\.jsonl")


def path_of(directory: Path, worker: str, number: int) -> Path:
    """The file of a segment."""
    return directory / f"{worker}-{number:06d}.jsonl"


def segments_of(directory: Path) -> dict[str, int]:
    """How many segments each worker's journal has.

    Raises:
        StoreError: One is missing between others.
    """
    found: dict[str, list[int]] = {}
    for name in os.listdir(directory) if directory.is_dir() else ():  # noqa: PTH208 - names suffice
        match = _NAME.fullmatch(name)
        if match is not None:
            found.setdefault(match["worker"], []).append(int(match["number"]))
    for worker, numbers in found.items():
        missing = set(range(1, max(numbers) + 1)) - set(numbers)
        if missing:
            lost = path_of(directory, worker, min(missing))
            raise StoreError(
                f"the journal has lost {lost.name}", hint=f"Put it back into {directory}."
            )
    return {worker: len(found[worker]) for worker in sorted(found)}


def sync_file(descriptor: int) -> None:
    """Return when everything written to the file so far is on the disk."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - there fsync stops at the drive's cache

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_path(path: Path) -> None:
    """`sync_file` for a file, or for a folder whose entries changed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path.is_dir():
            os.fsync(descriptor)
        else:
            sync_file(descriptor)
    finally:
        os.close(descriptor)
