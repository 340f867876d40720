"""What a command printed: all of it in a file, its two ends in memory."""

from pathlib import Path
from typing import Literal

import msgspec

SHOWN_CHARACTERS_MAX = 2_300

KilledBy = Literal["timeout", "memory", "processes", "stopped"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended and what it printed, both streams together.

    Attributes:
        status: Its exit status; 128 + N where signal N ended it.
        head: The output's beginning; all of it where `path_of_rest` is None.
        tail: Its end, where head does not reach that far; does not overlap head.
        bytes_total: Printed in all.
        path_of_rest: The file of mode 0600 that has all of it, up to the limit.
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
    raise NotImplementedError
