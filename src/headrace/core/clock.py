"""The one clock of the house.

Wall time is for people and records; durations come from the monotonic clock; order comes
from sequence numbers, never from time.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the house asks of a clock."""

    def now_ns(self) -> int:
        """UTC wall time in nanoseconds since 1970."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """UTC wall time in nanoseconds since 1970."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards."""
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when told to, for tests and replays."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        """The wall time last set."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """The time moved so far."""
        return self._monotonic_ns

    def move(self, by_ns: int) -> None:
        """Let time pass on both clocks.

        Raises:
            ValueError: `by_ns` is negative; use `jump` for a wall clock set back.
        """
        if by_ns < 0:
            raise ValueError("time does not pass backwards; use jump() to set the wall clock")
        self._now_ns += by_ns
        self._monotonic_ns += by_ns

    def jump(self, to_ns: int) -> None:
        """Set the wall clock, as an administrator or NTP would; durations are unaffected."""
        self._now_ns = to_ns
