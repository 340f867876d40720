"""Journal: the truth about calls and money, append-only, one writer per file.

`append` is one write to the operating system, so a record survives the death of this process
at any instant. `durable` waits until the record survives a power cut; all who wait share one
sync, done by a thread, which waits a moment for more of them while many calls end. After a
failed write or sync nothing more is taken or acknowledged: what a disk says after such an error
cannot be believed, so the process must start anew.
"""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import StoreError
from headrace.ledger import chain
from headrace.ledger.chain import Position
from headrace.ledger.opening import create_segment, open_last_segment
from headrace.ledger.segments import path_of, sync_file

SEGMENT_BYTES: Final = 64 * 1024 * 1024
# When a sync was of so many records, those of about three calls, the next one is not hurried:
# waking the thread for each few of them costs a call 30 us, most of it by handing the
# interpreter over and back.
_RECORDS_MANY: Final = 6
_GATHER_S: Final = 0.002

_Waiter = tuple[int, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Journal:
    """A journal open for writing. Made by `Journal.open`; its methods are thread-safe."""

    def __init__(
        self,
        directory: Path,
        worker: str,
        clock: Clock,
        *,
        descriptors: tuple[int, int],
        last: Position,
        segment_bytes: int,
    ) -> None:
        self.directory = directory
        self.worker = worker
        self._clock = clock
        self._lock_descriptor, self._descriptor = descriptors
        self._last = last
        self._segment_bytes = segment_bytes
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        self._orders: SimpleQueue[None] = SimpleQueue()  # wakes at a third of a condition's cost
        self._watchers: list[Callable[[], None]] = []
        self._waiters: list[_Waiter] = []
        self._retired: list[int] = []
        self._synced_seq = 0
        self._sync_wanted = False
        self._last_sync_records = 0
        self._closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._sync_loop, name="journal-sync", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls, directory: Path, worker: str, clock: Clock, *, segment_bytes: int = SEGMENT_BYTES
    ) -> "Journal":
        """Open for appending; a torn last line is cut off and kept as `torn-…` beside it.

        Args:
            directory: The folder of journals, created if missing.
            worker: Whose journal: lower-case letters, digits and `_`.
            clock: Stamps the records.
            segment_bytes: A file that would grow beyond this is followed by the next one.

        Raises:
            StoreError: Another process writes it, or the chain of the last file is broken.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(directory, worker)
        try:
            descriptor, last = open_last_segment(directory, worker, clock)
        except BaseException:
            os.close(lock)
            raise
        return cls(
            directory,
            worker,
            clock,
            descriptors=(lock, descriptor),
            last=last,
            segment_bytes=segment_bytes,
        )

    @property
    def failure(self) -> str | None:
        """Why nothing more can be written, None while all is well."""
        return self._failure

    @property
    def last(self) -> Position:
        """Behind the newest record."""
        return self._last

    def append(self, kind: str, data: msgspec.Struct) -> Position:
        """Hand one record to the operating system.

        Raises:
            StoreError: It was not written, and nothing will be until the next start.
        """
        encoded = self._encoder.encode(data)
        with self._lock:
            self._check()
            line, hashed = chain.seal(self._last, kind, self._clock.now_ns(), encoded)
            try:
                if self._last.offset and self._last.offset + len(line) > self._segment_bytes:
                    self._rotate()
                written = os.write(self._descriptor, line)
            except OSError as error:
                raise self._fail(f"the journal cannot be written: {error}") from error
            if written != len(line):
                raise self._fail("the journal cannot be written: the disk took half a record")
            last = self._last
            self._last = Position(last.segment, last.offset + written, last.seq + 1, hashed)
            position = self._last
        for watcher in self._watchers:
            watcher()
        return position

    async def durable(self, position: Position) -> None:
        """Wait until the record at `position` is on the disk.

        Raises:
            StoreError: It may not be; nobody may be told that it is.
        """
        if position.seq <= self._synced_seq:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            if position.seq <= self._synced_seq:
                return
            self._check()
            self._waiters.append((position.seq, loop, future))
            self._order()
        await future

    def sync_soon(self) -> None:
        """Bring what was appended to the disk behind the caller's back."""
        with self._lock:
            self._order()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after every append, on the thread that appends."""
        self._watchers.append(watcher)

    def close(self) -> None:
        """Bring everything to the disk, close, and let another process write."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._sync_wanted = self._last.seq > self._synced_seq
            self._orders.put(None)
        self._thread.join()
        for descriptor in (*self._retired, self._descriptor, self._lock_descriptor):
            os.close(descriptor)

    def _check(self) -> None:
        if self._failure is not None:
            raise _refusal(self._failure)
        if self._closing:
            raise _refusal("the journal is closed")

    def _rotate(self) -> None:
        """Begin the next segment; called with the lock held.

        The old one is synced first: only the last segment may ever have a torn end.
        """
        sync_file(self._descriptor)
        number = self._last.segment + 1
        descriptor = create_segment(path_of(self.directory, self.worker, number))
        # The sync thread may be using the old descriptor, so that thread closes it.
        self._retired.append(self._descriptor)
        self._descriptor = descriptor
        self._last = Position(number, 0, self._last.seq, self._last.hash)

    def _fail(self, why: str) -> StoreError:
        """Go read-only for good; called with the lock held."""
        self._failure = self._failure or why
        waiters, self._waiters = self._waiters, []
        _settle(waiters, why)
        return _refusal(why)

    def _order(self) -> None:
        """Have a sync made, unless one is about to begin; called with the lock held."""
        if not self._sync_wanted:
            self._sync_wanted = True
            self._orders.put(None)

    def _sync_loop(self) -> None:
        closing = False
        while not closing:
            self._orders.get()
            if self._last_sync_records >= _RECORDS_MANY and not self._closing:
                time.sleep(_GATHER_S)
            with self._lock:
                closing = self._closing
                wanted, self._sync_wanted = self._sync_wanted, False
                if not wanted or self._failure is not None:
                    continue
                retired, self._retired = self._retired, []
                descriptor, target = self._descriptor, self._last.seq
            self._sync(retired, descriptor, target)

    def _sync(self, retired: list[int], descriptor: int, target: int) -> None:
        """One sync for all who wait; called without the lock, so that appends go on."""
        for old in retired:
            os.close(old)
        try:
            sync_file(descriptor)
        except OSError as error:
            with self._lock:
                self._fail(f"the journal cannot be brought to the disk: {error}")
            return
        with self._lock:
            if self._failure is not None:
                return
            self._last_sync_records = target - self._synced_seq
            self._synced_seq = target
            due = [waiter for waiter in self._waiters if waiter[0] <= target]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > target]
        _settle(due, None)


def _refusal(why: str) -> StoreError:
    return StoreError(why, hint="See to the disk's room and health, then start Headrace again.")


def _settle(waiters: list[_Waiter], failure: str | None) -> None:
    """Wake those who wait, each on its own loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, future in waiters:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, futures, failure)


def _wake(futures: list["asyncio.Future[None]"], failure: str | None) -> None:
    for future in futures:
        if future.done():
            continue  # its caller gave up
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(_refusal(failure))


def _lock(directory: Path, worker: str) -> int:
    """The lock that makes this process the only writer, held until closed or dead."""
    path = directory / f"{worker}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"another process writes the journal {directory / worker}",
            hint="Only one headrace may run on a data folder; stop the other one.",
        ) from None
    return descriptor
