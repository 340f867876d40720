"""What snapshots are kept in: one append-only file of objects, and a history, per workspace.

An object is a file's content or a folder's list, named by its hash, so that what did not change
is kept once. Objects are appended in frames. A frame that a crash cut short is dropped when the
store is next opened; since a snapshot is only told of after its frames, none refers to it.
"""

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import msgspec

from headrace.core.errors import NotFound, StoreError

DIGEST_BYTES = 20
_FRAME = struct.Struct("<4sIQI")  # magic, objects, bytes of data, CRC of the table
_ROW = struct.Struct(f"<{DIGEST_BYTES}sI")  # digest, bytes stored
_MAGIC = b"HRS1"
_FRAME_BYTES = 8 << 20
_FRAME_OBJECTS_MAX = 1 << 20
_RAW, _DEFLATED = b"\0", b"\1"
_COMPRESSED_FROM_BYTES = 128
_LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.01
_SIZE_BITS = 32
_LABEL_CHARS_MAX = 200
_TAIL_BYTES = 16 << 10


class Taken(msgspec.Struct, frozen=True):
    """One snapshot in the history; equal trees have equal ids."""

    id: str
    label: str
    time_ns: int


def digest_of(data: bytes) -> bytes:
    """The name of an object."""
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, only when files are kept

    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def id_of(digest: bytes, gits: bytes | None = None) -> str:
    """A snapshot's id: its root folder's digest in hex, and that of its git directories' list."""
    return f"{digest.hex()}-{gits.hex()}" if gits else digest.hex()


def digest_of_id(snapshot_id: str) -> bytes:
    """The root folder's digest.

    Raises:
        NotFound: No id of a snapshot looks like this.
    """
    return roots_of_id(snapshot_id)[0]


def roots_of_id(snapshot_id: str) -> list[bytes]:
    """The root folder's digest, and that of the list of git directories where there are some.

    Raises:
        NotFound: No id of a snapshot looks like this.
    """
    try:
        roots = [bytes.fromhex(part) for part in snapshot_id.split("-", 1)]
    except ValueError:
        roots = [b""]
    if any(len(root) != DIGEST_BYTES for root in roots):
        raise NotFound(f"not a snapshot's id: {snapshot_id[:120]!r}")
    return roots


class Objects:
    """The file of objects. Whoever writes holds the store's lock and has called `refresh`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._inode = 0
        self._end = 0
        # digest → offset and stored size in one integer: half the memory of a tuple.
        self._places: dict[bytes, int] = {}
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self.generation = 0

    def refresh(self) -> None:
        """Read what others have appended, cut off a torn end, notice a new file."""
        if self._fd < 0 or _inode(self.path) != self._inode:
            self._open()
        size = os.fstat(self._fd).st_size
        while self._end < size:
            after = self._read_frame(self._end, size)
            if after is None:
                os.ftruncate(self._fd, self._end)
                return
            self._end = after

    def _open(self) -> None:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self.path, flags, 0o600)
        self._inode = os.fstat(self._fd).st_ino
        self._end = 0
        self._places = {}
        self.generation += 1

    def _read_frame(self, start: int, size: int) -> int | None:
        """Note the frame's objects; returns where the next begins, None for a torn one."""
        head = os.pread(self._fd, _FRAME.size, start)
        if len(head) < _FRAME.size:
            return None
        magic, count, data_bytes, crc = _FRAME.unpack(head)
        table_start = start + _FRAME.size
        offset = table_start + count * _ROW.size
        if magic != _MAGIC or count > _FRAME_OBJECTS_MAX or offset + data_bytes > size:
            return None
        table = os.pread(self._fd, count * _ROW.size, table_start)
        if zlib.crc32(table) != crc:
            return None
        for digest, stored in _ROW.iter_unpack(table):
            self._places[digest] = offset << _SIZE_BITS | stored
            offset += stored
        return offset

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places or digest in self._waiting

    def add(self, data: bytes) -> bytes:
        """Keep an object and return its name; it is there for others after `flush`."""
        digest = digest_of(data)
        if digest in self:
            return digest
        stored = _packed(data)
        self._waiting[digest] = stored
        self._waiting_bytes += len(stored)
        if self._waiting_bytes > _FRAME_BYTES:
            self.flush()
        return digest

    def flush(self) -> None:
        """Write what was added."""
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        table = b"".join(_ROW.pack(digest, len(stored)) for digest, stored in waiting.items())
        data = b"".join(waiting.values())
        head = _FRAME.pack(_MAGIC, len(waiting), len(data), zlib.crc32(table))
        try:
            _write_all(self._fd, self._end, head + table + data)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise StoreError(f"cannot keep a snapshot in {self.path}: {error.strerror}") from error
        size = self._end + _FRAME.size + len(table) + len(data)
        self._read_frame(self._end, size)
        self._end = size

    def drop_waiting(self) -> None:
        """Forget what was added and not written."""
        self._waiting, self._waiting_bytes = {}, 0

    def read(self, digest: bytes) -> bytes:
        """An object's bytes.

        Raises:
            NotFound: It is not kept (any more).
            StoreError: It is damaged.
        """
        if (waiting := self._waiting.get(digest)) is not None:
            return _unpacked(waiting)
        stored = self.read_stored(digest)
        try:
            data = _unpacked(stored)
        except (zlib.error, IndexError):
            data = None
        if data is None or digest_of(data) != digest:
            raise StoreError(f"an object in {self.path} is damaged: {digest.hex()}")
        return data

    def read_stored(self, digest: bytes) -> bytes:
        """An object's bytes as they stand in the file."""
        place = self._places.get(digest)
        if place is None:
            raise NotFound(f"this snapshot is not kept any more: {digest.hex()} is missing")
        return os.pread(self._fd, place & (1 << _SIZE_BITS) - 1, place >> _SIZE_BITS)

    def stored_bytes(self, digest: bytes) -> int:
        """What an object takes up; 0 where it is not kept."""
        return self._places.get(digest, 0) & (1 << _SIZE_BITS) - 1

    @property
    def size_bytes(self) -> int:
        """What the file takes up."""
        return self._end

    def sync(self) -> None:
        """Wait until all of it is on the disk."""
        os.fsync(self._fd)

    def rewrite(self, live: Iterable[bytes]) -> None:
        """Put a file in this one's place that holds only these objects."""
        beside = self.path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        new = Objects(beside)
        new.refresh()
        for digest in live:
            new.add_stored(digest, self.read_stored(digest))
        new.flush()
        new.sync()
        new.close()
        beside.replace(self.path)
        self.refresh()

    def add_stored(self, digest: bytes, stored: bytes) -> None:
        """Keep an object as another file had it."""
        self._waiting[digest] = stored
        self._waiting_bytes += len(stored)
        if self._waiting_bytes > _FRAME_BYTES:
            self.flush()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Store:
    """Objects, history and lock of one workspace, in a folder of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self.objects = Objects(folder / "objects")
        self._history = folder / "history.jsonl"

    @contextmanager
    def locked(self, stop: Callable[[], bool] = lambda: False) -> Generator[int]:
        """Hold the lock that all sessions in this workspace share; yields the kernel's time.

        That time, in ns, is what files are stamped with that change from now on.

        Raises:
            StoreError: Another process holds it for too long, or `stop` says to give up.
        """
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(lock, stop)
            os.utime(lock)
            self.objects.refresh()
            yield os.fstat(lock).st_mtime_ns
        finally:
            self.objects.drop_waiting()
            os.close(lock)

    def history(self) -> tuple[Taken, ...]:
        """All snapshots, oldest first; lines that a crash has torn are passed over."""
        try:
            return _lines(self._history.read_bytes())
        except FileNotFoundError:
            return ()

    def newest(self) -> Taken | None:
        """The last line of the history."""
        try:
            with self._history.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
                tail = file.read()
        except FileNotFoundError:
            return None
        return next(iter(_lines(tail)[::-1]), None)

    def log(self, taken: Taken) -> None:
        """Append to the history."""
        taken = msgspec.structs.replace(taken, label=taken.label[:_LABEL_CHARS_MAX])
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        history = os.open(self._history, flags, 0o600)
        try:
            size = os.fstat(history).st_size
            torn = size > 0 and os.pread(history, 1, size - 1) != b"\n"
            os.write(history, b"\n" * torn + msgspec.json.encode(taken) + b"\n")
        finally:
            os.close(history)

    def keep_only(self, kept: Iterable[Taken], live: Iterable[bytes]) -> None:
        """Put a history and objects in place that hold only these; a crash leaves more."""
        write_file(
            self._history, b"".join(msgspec.json.encode(taken) + b"\n" for taken in kept), sync=True
        )
        self.objects.rewrite(live)

    def close(self) -> None:
        """Close its files."""
        self.objects.close()


def write_file(path: Path, data: bytes, *, sync: bool) -> None:
    """Put a private file in its place at once, or not at all."""
    beside = path.with_name(path.name + ".new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(file, 0, data)
        if sync:
            os.fsync(file)
    finally:
        os.close(file)
    beside.replace(path)


def _lines(data: bytes) -> tuple[Taken, ...]:
    taken: list[Taken] = []
    for line in data.split(b"\n"):
        try:
            taken.append(msgspec.json.decode(line, type=Taken))
        except msgspec.DecodeError:
            continue
    return tuple(taken)


def _lock(lock: int, stop: Callable[[], bool]) -> None:
    waited_s = 0.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited_s > _LOCK_WAIT_S or stop():
                raise StoreError(
                    "another session holds the snapshots of this workspace",
                    hint="Wait until it is done, or end it.",
                ) from None
            time.sleep(_LOCK_POLL_S)
            waited_s += _LOCK_POLL_S
        else:
            return


def _packed(data: bytes) -> bytes:
    if len(data) >= _COMPRESSED_FROM_BYTES:
        deflated = zlib.compress(data, 1)
        if len(deflated) < len(data):
            return _DEFLATED + deflated
    return _RAW + data


def _unpacked(stored: bytes) -> bytes:
    return zlib.decompress(stored[1:]) if stored[:1] == _DEFLATED else stored[1:]


def _write_all(file: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - called before and after every command
    except FileNotFoundError:
        return 0
