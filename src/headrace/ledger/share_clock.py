"""Share clock: how much of a machine's time each call had, by processor sharing.

While n calls run on a machine, each has the n-th part of it. With V(t) the integral of dt/n(t), a
call's share is V(end) - V(begin), so that the shares of all calls sum to the time in which at
least one ran, exactly: what does not divide by n waits, in nanoseconds, and the last of the calls
takes it. The rest of a machine's time is idle.
"""

from collections.abc import Sequence
from pathlib import Path

from headrace.core.clock import Clock
from headrace.ledger.shared_page import SharedPage

_V, _REST, _BUSY, _AT, _RUNNING, _SLOTS = range(6)


class Share:
    """A call's part of a machine's time, from `ShareClock.begin` until `end`."""

    __slots__ = ("_began", "_clock", "_first", "_machine", "machine_ns", "prefill_ns")

    def __init__(self, clock: "ShareClock", machine: int) -> None:
        self._clock = clock
        self._machine = machine
        self._first: int | None = None
        self.machine_ns: int | None = None
        """Its share in nanoseconds, None while it runs."""
        self.prefill_ns = 0
        """What of it had passed by the first token."""
        self._began = clock.enter(machine)

    def first_token(self) -> None:
        """The prompt is computed; only the first call of this counts."""
        if self._first is None and self.machine_ns is None:
            self._first = self._clock.look(self._machine)

    def end(self) -> None:
        """The call leaves the machine; only the first call of this counts."""
        if self.machine_ns is not None:
            return
        self.machine_ns = self._clock.leave(self._machine) - self._began
        first = self._first
        self.prefill_ns = self.machine_ns if first is None else first - self._began


class ShareClock:
    """The clocks of all machines; processes that use the same ones share them in a file.

    Args:
        path: The file.
        machines: Their names; the same ones in the same order in every process.
        clock: The house's clock; monotonic time is the same in all processes of a system.
        slot: This process: 0 is the control process, which opens the file before the others and
            begins anew, and the others count from 1. Whoever opens a slot forgets the calls of
            the one who had it before and was killed.
        slots: How many processes there are.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(
        self, path: Path, machines: Sequence[str], clock: Clock, *, slot: int = 0, slots: int = 1
    ) -> None:
        self.machines = tuple(machines)
        self._clock = clock
        self._slot = slot
        self._words = _SLOTS + slots
        self._at = {name: index * self._words for index, name in enumerate(self.machines)}
        # One word at least: no file of no length can be mapped.
        total = max(1, self._words * len(self.machines))
        self._page = SharedPage(path, total, alone=slots == 1)
        with self._page as words:
            if not slot:
                words[:total] = memoryview(bytes(8 * total)).cast("q")
            for base in self._at.values():
                self._forget(words, base, slot)

    def begin(self, machine: str) -> Share:
        """A call begins to run on a machine, which is one of `machines`."""
        return Share(self, self._at[machine])

    def busy_ns(self, machine: str) -> int:
        """Time in which at least one call ran there, since the control process began."""
        base = self._at[machine]
        with self._page as words:
            self._advance(words, base)
            return words[base + _BUSY]

    def running(self, machine: str) -> int:
        """Calls that run there now."""
        return self._page.words[self._at[machine] + _RUNNING]

    def enter(self, base: int) -> int:
        """V at the beginning of a call."""
        with self._page as words:
            self._advance(words, base)
            words[base + _RUNNING] += 1
            words[base + _SLOTS + self._slot] += 1
            return words[base + _V]

    def look(self, base: int) -> int:
        """V now."""
        with self._page as words:
            self._advance(words, base)
            return words[base + _V]

    def leave(self, base: int) -> int:
        """V at the end of a call."""
        with self._page as words:
            self._advance(words, base)
            words[base + _RUNNING] -= 1
            words[base + _SLOTS + self._slot] -= 1
            return words[base + _V]

    def forget(self, slot: int) -> None:
        """The process of a slot has ended; its calls run no more."""
        with self._page as words:
            for base in self._at.values():
                self._forget(words, base, slot)

    def close(self) -> None:
        """Let go of the file."""
        self._page.close()

    def _advance(self, words: memoryview, base: int) -> None:
        """Bring V to now; called with the page held."""
        now_ns = self._clock.monotonic_ns()
        passed_ns = now_ns - words[base + _AT]
        words[base + _AT] = now_ns
        running = words[base + _RUNNING]
        if not running or passed_ns < 0:
            return
        words[base + _BUSY] += passed_ns
        each, rest = divmod(passed_ns + words[base + _REST], running)
        words[base + _V] += each
        words[base + _REST] = rest

    def _forget(self, words: memoryview, base: int, slot: int) -> None:
        """Calls of whoever had this slot run no more; called with the page held."""
        self._advance(words, base)
        words[base + _RUNNING] -= words[base + _SLOTS + slot]
        words[base + _SLOTS + slot] = 0
