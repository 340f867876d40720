"""A page of numbers in a file, mapped into the memory of every process on a data folder.

It is for state that all of them count in together. It survives a process that is killed, in
whatever order it wrote; it is not synced, so a power cut may take its last seconds.
"""

import fcntl
import mmap
import os
from pathlib import Path

from headrace.core.errors import StoreError

_WORD_BYTES = 8
_FILL_BYTES = 1 << 16


class SharedPage:
    """Signed 64-bit numbers, all zero in a new file; `with page:` holds them for this process.

    Reading or writing one number is atomic, holding is for what belongs together. It lasts until
    the end of the `with`, so nothing in there may wait, and it keeps out processes, not threads:
    one thread of each process may use a page.

    Args:
        path: The file, made or lengthened where needed.
        words: How many numbers.
        alone: No other process uses it meanwhile, so that holding costs no system call.

    Raises:
        StoreError: The file cannot be made; the disk may be full.
    """

    __slots__ = ("_alone", "_descriptor", "_memory", "words")

    def __init__(self, path: Path, words: int, *, alone: bool) -> None:
        self._alone = alone
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot(path, error) from error
        try:
            _lengthen(self._descriptor, words * _WORD_BYTES)
            self._memory = mmap.mmap(self._descriptor, words * _WORD_BYTES)
        except OSError as error:
            os.close(self._descriptor)
            raise _cannot(path, error) from error
        self.words = memoryview(self._memory).cast("q")

    def __enter__(self) -> memoryview:
        """Hold the page against other processes; gives its numbers."""
        if not self._alone:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self.words

    def __exit__(self, *_: object) -> None:
        """Let the others."""
        if not self._alone:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the memory and the file."""
        self.words.release()
        self._memory.close()
        os.close(self._descriptor)


def _lengthen(descriptor: int, size_bytes: int) -> None:
    """Zeros up to a size; really written, as a hole on a full disk would end the process later."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        at = os.fstat(descriptor).st_size
        while at < size_bytes:
            at += os.pwrite(descriptor, bytes(min(_FILL_BYTES, size_bytes - at)), at)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _cannot(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be opened: {error}", hint="See to the disk's room.")
