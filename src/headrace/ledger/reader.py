"""Reading a journal: in order, the chain checked line by line, also while it is written."""

import math
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.errors import StoreError
from headrace.ledger import chain
from headrace.ledger.chain import Position, Record
from headrace.ledger.segments import path_of, segments_of

_CHUNK_BYTES = 1 << 20
_NEAR_BYTES = 1 << 16


def workers(directory: Path) -> tuple[str, ...]:
    """The workers whose journals lie here."""
    return tuple(segments_of(directory))


def read(directory: Path, worker: str, after: Position | None = None) -> Iterator[Record]:
    """The records behind `after`, up to the last whole one.

    Raises:
        StoreError: The chain is broken, or the journal ends before `after`.
    """
    position = after or chain.start(worker)
    while True:
        path = path_of(directory, worker, position.segment)
        # Looked at first: once the next segment is there, this one grows no more.
        is_last = not path_of(directory, worker, position.segment + 1).exists()
        for record in _records(path, position, is_last=is_last):
            yield record
            position = record.position
        if is_last:
            return
        position = Position(position.segment + 1, 0, position.seq, position.hash)


def _records(path: Path, position: Position, *, is_last: bool) -> Iterator[Record]:
    """The records of one segment behind `position`."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        if position.seq == 0:
            return  # nothing was ever written
        raise _ended(path, position) from None
    with file:
        if file.seek(0, 2) < position.offset:
            raise _ended(path, position)
        for line, reached in walk(file, position):
            record = None if reached is None else chain.decode(reached, line)
            if record is None:
                file.seek(position.offset)
                if is_last and chain.is_torn(file.read()):
                    return
                raise broken(path, position)
            yield record
            position = record.position
        if not is_last and file.seek(0, 2) > position.offset:
            raise broken(path, position)


def walk(file: BinaryIO, position: Position) -> Iterator[tuple[bytes, Position | None]]:
    """The lines of a segment behind `position`, each with where it ends.

    The first line that does not follow comes with None and is the last one. An end without a
    newline does not come at all.
    """
    file.seek(position.offset)
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for bare in lines:
            line = bare + b"\n"
            reached = chain.follow(position, line)
            yield line, reached
            if reached is None:
                return
            position = reached


def lines_from(directory: Path, worker: str, time_ns: int, *, bytes_max: int) -> Iterator[bytes]:
    """The lines from about `time_ns` on, `bytes_max` of them in all, their chain unchecked.

    Where the clock was put back, records of a time may stand elsewhere.
    """
    count = segments_of(directory).get(worker, 0)
    numbers = range(1, count + 1)
    begin = max(1, bisect(numbers, time_ns, key=lambda n: _begin_ns(path_of(directory, worker, n))))
    left = bytes_max
    for number in range(begin, count + 1):
        with path_of(directory, worker, number).open("rb") as file:
            file.seek(_place_of(file, time_ns) if number == begin else 0)
            for line in file:
                yield line
                left -= len(line)
                if left < 0:
                    return


def _begin_ns(path: Path) -> float:
    """When a segment begins; the newest one may be empty yet."""
    with path.open("rb") as file:
        record = chain.glance(file.readline())
    return math.inf if record is None else record.time_ns


def _place_of(file: BinaryIO, time_ns: int) -> int:
    """Where a line begins, not far before the first one of a time."""
    low, high = 0, file.seek(0, 2)
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        place = file.tell()
        record = chain.glance(file.readline())
        if record is None or record.time_ns >= time_ns:
            high = middle
        else:
            low = place
    return low


def verify(directory: Path) -> list[str]:
    """Read everything; returns what is wrong, in words. An empty list means the chains hold."""
    try:
        found = workers(directory)
    except StoreError as error:
        return [error.message]
    problems: list[str] = []
    for worker in found:
        try:
            for _ in read(directory, worker):
                pass
        except StoreError as error:
            problems.append(error.message)
    return problems


def broken(path: Path, position: Position) -> StoreError:
    """The line behind `position` is not the one that was written there."""
    return StoreError(
        f"the journal's chain is broken in {path.name} behind record {position.seq}"
        f" (byte {position.offset})",
        hint="The file was changed or damaged. Put it back from a backup.",
    )


def _ended(path: Path, position: Position) -> StoreError:
    return StoreError(
        f"the journal ends before record {position.seq} in {path.name}, which the database knows",
        hint="The journal folder was emptied or is an older copy. Put the newer one back.",
    )
