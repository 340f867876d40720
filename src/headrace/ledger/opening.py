"""Opening the last segment of a journal for writing, and mending what a crash left."""

import os
from pathlib import Path

import msgspec

from headrace.core.clock import Clock
from headrace.ledger import chain
from headrace.ledger.chain import Position
from headrace.ledger.reader import broken, walk
from headrace.ledger.segments import path_of, segments_of, sync_path

_LINE_BYTES_MAX = 1 << 20


def create_segment(path: Path) -> int:
    """A new, empty segment whose name is on the disk; returns its descriptor."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        sync_path(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_last_segment(directory: Path, worker: str, clock: Clock) -> tuple[int, Position]:
    """The descriptor to append to, and the position behind the last whole record.

    Raises:
        StoreError: The chain is broken elsewhere than in an unfinished write at the end.
    """
    count = segments_of(directory).get(worker, 0)
    if count == 0:
        return create_segment(path_of(directory, worker, 1)), chain.start(worker)
    path = path_of(directory, worker, count)
    before = chain.start(worker) if count == 1 else _end_of(directory, worker, count - 1)
    last = _cut_torn_end(path, before, clock)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), last


def _end_of(directory: Path, worker: str, number: int) -> Position:
    """Where the segment after `number` begins, by the last line of that one."""
    path = path_of(directory, worker, number)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LINE_BYTES_MAX))
        line = file.read().removesuffix(b"\n").rpartition(b"\n")[2] + b"\n"
    try:
        seq = msgspec.json.decode(line, type=dict[str, msgspec.Raw])["seq"]
        return Position(number + 1, 0, int(bytes(seq)), chain.hash_of(line))
    except (msgspec.MsgspecError, KeyError, ValueError):
        raise broken(path, Position(number, size, 0, "")) from None


def _cut_torn_end(path: Path, before: Position, clock: Clock) -> Position:
    """Walk the whole segment; cut an unfinished write off its end and keep it aside."""
    last = before
    with path.open("rb") as file:
        for _, reached in walk(file, before):
            if reached is None:
                break
            last = reached
        file.seek(last.offset)
        torn = file.read()
    if not torn:
        return last
    if not chain.is_torn(torn):
        raise broken(path, last)
    aside = path.with_name(f"torn-{path.stem}-{last.offset}-{clock.now_ns()}")
    aside.write_bytes(torn)
    aside.chmod(0o600)
    sync_path(aside)
    sync_path(path.parent)
    os.truncate(path, last.offset)
    sync_path(path)
    return last
