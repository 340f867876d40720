"""Where limits are counted: one number for each bucket, in memory that all processes share.

A bucket is the time at which it will be full again, on the monotonic clock. What is used moves
that time on, what is given back moves it back, and time itself refills the bucket without
anybody's doing. A bucket is empty when it will be full a whole period from now.

Running calls are counted by each process in numbers of its own, which are set to zero when it
starts and when it has ended: whoever is killed holds no places.
"""

import struct
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from headrace.core.clock import Clock
from headrace.core.errors import Conflict
from headrace.ledger.shared_page import SharedPage

SLOTS = 4096
"""How many limits may stand."""

_LAYOUT = 1
# The head: the layout, and two clocks that were read together at the last start, and the newest
# time that anybody has read from the second one of them.
_VERSION, _WALL, _MONOTONIC, _SEEN = 0, 1, 2, 3
_NAMES = 8
_TIMES = _NAMES + 2 * SLOTS
_COUNTS = _TIMES + SLOTS


class LimitPage:
    """The numbers, by slot. Change them inside of `with page.shared`.

    Args:
        path: The file.
        clock: The house's clock.
        process: Which process this is: 0 the control process, from 1 on the workers.
        processes: How many there are.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(self, path: Path, clock: Clock, *, process: int, processes: int) -> None:
        self._clock = clock
        self._processes = processes
        words = _COUNTS + processes * SLOTS
        self.shared = SharedPage(path, words, alone=processes == 1)
        self.words = self.shared.words
        self.own_counts = _COUNTS + process * SLOTS
        """Where the running calls of this process stand, by slot."""
        with self.shared:
            if process == 0:
                self._settle_in()
            self.forget(process)

    def slots_of(self, names: Iterable[str]) -> list[int]:
        """The slots of limits by name, which they keep until the next start.

        Raises:
            Conflict: There are no more slots.
        """
        digests = [_digest(name) for name in names]
        with self.shared:
            flat = self.words[_NAMES:_TIMES].tolist()
            known = {
                pair: slot for slot, pair in enumerate(zip(flat[::2], flat[1::2], strict=True))
            }
            free = (slot for slot in range(SLOTS) if not flat[2 * slot])
            for digest in digests:
                if digest not in known:
                    known[digest] = self._name(next(free, None), digest)
        return [known[digest] for digest in digests]

    def time_at(self, slot: int) -> int:
        """Where the time of a slot stands at which its bucket is full."""
        return _TIMES + slot

    def running(self, slot: int) -> int:
        """The calls that run in all processes."""
        if self._processes == 1:
            return self.words[_COUNTS + slot]
        end = _COUNTS + self._processes * SLOTS
        return sum(self.words[at] for at in range(_COUNTS + slot, end, SLOTS))

    def seen(self, now_ns: int) -> None:
        """Note the monotonic time, for a start after the next end."""
        self.words[_SEEN] = now_ns

    def forget(self, process: int) -> None:
        """A process has ended or begins: no calls of it are running."""
        at = _COUNTS + process * SLOTS
        self.words[at : at + SLOTS] = _zeros(SLOTS)

    def close(self) -> None:
        """Let go of the memory."""
        self.shared.close()

    def _settle_in(self) -> None:
        """Bring what an earlier process has left to the clocks of this one."""
        words, now_ns = self.words, self._clock.monotonic_ns()
        if words[_VERSION] != _LAYOUT:
            words[:] = _zeros(len(words))
            words[_VERSION] = _LAYOUT
        seen_ns, passed_ns = words[_SEEN], self._passed_ns(now_ns)
        for slot in range(SLOTS):
            at = _TIMES + slot
            missing_ns = words[at] - seen_ns - passed_ns
            words[at] = now_ns + missing_ns if missing_ns > 0 else 0
            if missing_ns <= 0:
                # Full, so it may be another's: a limit that is not used leaves no trace.
                words[_NAMES + 2 * slot] = words[_NAMES + 2 * slot + 1] = 0
        words[_WALL] = self._clock.now_ns()
        words[_MONOTONIC] = words[_SEEN] = now_ns

    def _passed_ns(self, now_ns: int) -> int:
        """How long nobody was here: what both clocks agree on, as either may have been changed.

        The monotonic one begins anew with the machine, and says nothing then.
        """
        words = self.words
        seen_wall_ns = words[_WALL] + words[_SEEN] - words[_MONOTONIC]
        passed_ns = max(0, self._clock.now_ns() - seen_wall_ns)
        return passed_ns if now_ns < words[_SEEN] else min(passed_ns, now_ns - words[_SEEN])

    def _name(self, slot: int | None, digest: tuple[int, int]) -> int:
        if slot is None:
            raise Conflict(
                f"{SLOTS} limits stand or have stood since the start, which is the most there"
                " can be",
                hint="Start Headrace again; limits that were taken away are forgotten then.",
            )
        at = _NAMES + 2 * slot
        self.words[at], self.words[at + 1] = digest
        return slot


def _digest(name: str) -> tuple[int, int]:
    first, second = struct.unpack("<qq", blake2b(name.encode(), digest_size=16).digest())
    return first or 1, second  # a slot whose first number is 0 is free


def _zeros(count: int) -> memoryview:
    return memoryview(bytes(count * 8)).cast("q")
