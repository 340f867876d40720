"""Reading a journal: in order, the chain checked line by line, also while it is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.errors import StoreError
from headrace.ledger import chain
from headrace.ledger.chain import Position, Record
from headrace.ledger.segments import path_of, segments_of

_CHUNK_BYTES = 1 << 20


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
