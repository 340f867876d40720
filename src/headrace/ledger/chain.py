"""One line of the journal, and the chain that binds each line to all before it.

A line is JSON: `{"v":1,"seq":n,"kind":…,"time_ns":…,"data":{…},"hash":"…"}` and a newline.
The hash is BLAKE2b over the hash of the line before, and this line up to its hash. The first
line follows a hash of the worker's name. So a line that was changed, lost, moved or put in is
seen by whoever reads on from any line he knows.
"""

from hashlib import blake2b

import msgspec

VERSION = 1
_HASH_BYTES = 32
_HASH_HEX = 2 * _HASH_BYTES
_MARK = b',"hash":"'
_END = b'"}\n'
_SUFFIX = len(_MARK) + _HASH_HEX + len(_END)


class Position(msgspec.Struct, frozen=True):
    """Just behind a record: where the next one begins, and what it must be chained to."""

    segment: int
    offset: int
    seq: int
    hash: str


class Record(msgspec.Struct, frozen=True):
    """One record as it was read; `data` is JSON for whoever knows the kind."""

    v: int
    seq: int
    kind: str
    time_ns: int
    data: bytes
    position: Position


class _Line(msgspec.Struct):
    v: int
    seq: int
    kind: str
    time_ns: int
    data: msgspec.Raw


_decoder = msgspec.json.Decoder(_Line)


def start(worker: str) -> Position:
    """Where a worker's journal begins."""
    return Position(1, 0, 0, _digest("", f"headrace journal of {worker}".encode()))


def seal(before: Position, kind: str, time_ns: int, data: bytes) -> tuple[bytes, str]:
    """The line that follows `before`, and its hash. `data` is a JSON object."""
    body = b'{"v":%d,"seq":%d,"kind":"%b","time_ns":%d,"data":%b' % (
        VERSION,
        before.seq + 1,
        kind.encode(),
        time_ns,
        data,
    )
    hashed = _digest(before.hash, body)
    return b"".join((body, _MARK, hashed.encode(), _END)), hashed


def follow(before: Position, line: bytes) -> Position | None:
    """Where a line ends that is whole and follows `before`; None for any other line."""
    body, mark = line[:-_SUFFIX], line[-_SUFFIX : -_SUFFIX + len(_MARK)]
    if mark != _MARK or not line.endswith(_END):
        return None
    hashed = _digest(before.hash, body)
    if line[-_SUFFIX + len(_MARK) : -len(_END)] != hashed.encode():
        return None
    return Position(before.segment, before.offset + len(line), before.seq + 1, hashed)


def decode(position: Position, line: bytes) -> Record | None:
    """The record of a line that `follow` accepted; None if it is not one."""
    try:
        read = _decoder.decode(line)
    except msgspec.MsgspecError:
        return None
    if read.seq != position.seq:
        return None
    return Record(read.v, read.seq, read.kind, read.time_ns, bytes(read.data), position)


def glance(line: bytes) -> Record | None:
    """A line as it stands, its chain unchecked; None if it is not a whole record."""
    try:
        read = _decoder.decode(line)
    except msgspec.MsgspecError:
        return None
    position = Position(0, 0, read.seq, "")
    return Record(read.v, read.seq, read.kind, read.time_ns, bytes(read.data), position)


def is_torn(rest: bytes) -> bool:
    r"""Whether the bytes behind the last good line are an unfinished write.

    A crash leaves a line without its newline. A power cut may also leave blocks of zeros
    before later blocks; JSON never holds a zero byte, and since a completed sync covers
    everything before it, nothing from there on was ever acknowledged. Anything else was
    written whole and changed afterwards.
    """
    return b"\n" not in rest or b"\x00" in rest


def hash_of(line: bytes) -> str:
    """The hash a whole line carries."""
    return line[-_SUFFIX + len(_MARK) : -len(_END)].decode("ascii", "replace")


def _digest(before: str, body: bytes) -> str:
    hasher = blake2b(before.encode(), digest_size=_HASH_BYTES)
    hasher.update(body)
    return hasher.hexdigest()
