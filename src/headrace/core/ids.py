"""Ids: UUID version 7 (RFC 9562), so that ids sort by creation time."""

import os
import re
import threading

from headrace.core.clock import Clock

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_lock = threading.Lock()
_last_ms = 0
_counter = 0
_COUNTER_BITS = 12
_RANDOM_BYTES = 8
_DRAWN_BYTES = 512 * _RANDOM_BYTES
# Random bytes that no id has used yet. Each call of the system lets other threads take over,
# which costs a model call more than all else about its id.
_drawn = b""


def new_id(clock: Clock) -> str:
    """A fresh UUIDv7 in its canonical text form.

    Ids made by one process rise strictly: 12 bits after the millisecond count up within it
    (RFC 9562, section 6.2, method 1), and a wall clock set back reuses the last millisecond.
    """
    global _last_ms, _counter, _drawn  # noqa: PLW0603 - one counter per process is the point
    with _lock:
        ms = clock.now_ns() // 1_000_000
        if not _drawn:
            _drawn = os.urandom(_DRAWN_BYTES)
        random, _drawn = _drawn[:_RANDOM_BYTES], _drawn[_RANDOM_BYTES:]
        if ms > _last_ms:
            _last_ms, _counter = ms, 0
        else:
            _counter += 1
            if _counter >> _COUNTER_BITS:
                _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    random_62 = int.from_bytes(random, "big") & ((1 << 62) - 1)
    value = (ms << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | random_62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Whether `text` is a canonical UUIDv7, as ids chosen by clients must be."""
    return _ID.fullmatch(text) is not None
