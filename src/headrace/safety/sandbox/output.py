"""What a command printed: all of it in a file, its two ends in memory."""

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from headrace.safety.sandbox.policy import Limits

SHOWN_CHARACTERS_MAX = 2_300
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HEAD_SHARE = 0.6  # of what is shown; errors stand at the end, their cause often at the beginning

KilledBy = Literal["timeout", "memory", "processes", "stopped"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended and what it printed, both streams together.

    Attributes:
        status: Its exit status; 128 + N where signal N ended it.
        head: The output's beginning, up to `Limits.head_bytes`.
        tail: Its end, of what comes after head.
        bytes_total: Printed in all.
        path_of_rest: The file of mode 0600 that has all of it, up to the limit; None where it
            is short enough to be shown whole.
        killed_by: Which limit ended it; None where none did.
        blocked: What the sandbox refused it and how to allow that, one line each.
    """

    status: int
    head: bytes
    tail: bytes = b""
    bytes_total: int = 0
    path_of_rest: Path | None = None
    killed_by: KilledBy | None = None
    blocked: tuple[str, ...] = ()


def shorten(ran: Ran, characters_max: int = SHOWN_CHARACTERS_MAX) -> str:
    """The output in at most so many characters: head, where the rest lies, tail."""
    held = ran.head + ran.tail
    if len(held) == ran.bytes_total:
        text = held.decode(errors="replace")
        if len(text) <= characters_max:
            return text
    where = f"; all of it: {ran.path_of_rest}" if ran.path_of_rest else ""
    gap = f"\n[… of {ran.bytes_total:,} bytes the middle is left out{where} …]\n"
    room = max(0, characters_max - len(gap))
    head_characters = int(room * _HEAD_SHARE)
    tail_characters = room - head_characters
    head = ran.head.decode(errors="replace")[:head_characters]
    # A few characters may take four bytes each, and none is cut apart at its beginning.
    end = held[-4 * tail_characters :].decode(errors="ignore")
    tail = end[-tail_characters:] if tail_characters else ""
    return f"{_to_line_end(head)}{gap}{_from_line_begin(tail)}"


def _to_line_end(text: str) -> str:
    cut = text.rfind("\n")
    return text[:cut] if cut > len(text) // 2 else text


def _from_line_begin(text: str) -> str:
    cut = text.find("\n")
    return text[cut + 1 :] if 0 <= cut < len(text) // 2 else text


class Keeper:
    """Takes output as it comes. `folder` gets a file once there is more than can be shown."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._fd: int | None = None
        self.path: Path | None = None
        self.bytes_total = 0

    def take(self, data: bytes) -> None:
        """Keep some more."""
        before = self.bytes_total
        self.bytes_total += len(data)
        self._to_file(data, before)
        room = self._limits.head_bytes - len(self._head)
        self._head += data[:room]
        rest = data[room:] if room > 0 else data
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
            while self._tail_bytes - len(self._tail[0]) >= self._limits.tail_bytes:
                self._tail_bytes -= len(self._tail.popleft())

    def ends(self) -> tuple[bytes, bytes]:
        """The head, and the tail of what follows it."""
        return bytes(self._head), b"".join(self._tail)[-self._limits.tail_bytes :]

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _to_file(self, data: bytes, before: int) -> None:
        if self.path is None:
            if self.bytes_total <= SHOWN_CHARACTERS_MAX:
                return
            self._open()
            data = bytes(self._head) + data
            before = 0
        if self._fd is not None:
            with suppress(OSError):  # a full disk must not end the command
                os.write(self._fd, data[: max(0, self._limits.output_bytes_max - before)])

    def _open(self) -> None:
        number = 1
        while True:
            path = self._folder / f"output-{number}.txt"
            try:
                self._fd = os.open(path, _NEW, 0o600)
            except FileExistsError:
                number += 1
            else:
                self.path = path
                return
