"""Background: a command that runs beside others."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.safety.sandbox.output import Ran
from headrace.safety.sandbox.process import Child

_UNREAD_BYTES_MAX = 16_384


class Background:
    """A command that runs beside others, its input open; `Sandbox.start` makes one."""

    def __init__(self, command: str) -> None:
        self.command = command
        self._unread = bytearray()
        self._dropped_bytes = 0
        self._child: Child | None = None
        self._ending: asyncio.Task[Ran] | None = None

    def follow(self, child: Child, finish: Callable[[], Awaitable[Ran]]) -> None:
        """Take charge of a child; `finish` leads it to its end."""

        async def follow() -> Ran:
            return await finish()

        self._child = child
        self._ending = asyncio.create_task(follow())

    def take(self, data: bytes) -> None:
        """Keep output until it is read."""
        self._unread += data
        over = len(self._unread) - _UNREAD_BYTES_MAX
        if over > 0:
            del self._unread[:over]
            self._dropped_bytes += over

    def read_new(self) -> bytes:
        """What it printed since the last look, at most the last 16 kB of that."""
        new = bytes(self._unread)
        if self._dropped_bytes:
            new = b"[... %d bytes left out ...]\n" % self._dropped_bytes + new
        self._unread.clear()
        self._dropped_bytes = 0
        return new

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Give it input; `last` closes its input.

        Raises:
            Conflict: It has ended, or closed its input.
        """
        child, _ = self._both()
        await child.give(data, last=last)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        _, ending = self._both()
        if not ending.done() or ending.cancelled() or ending.exception() is not None:
            return None if not ending.done() else 1
        return ending.result().status

    async def wait(self) -> Ran:
        """Wait for its end. Being cancelled leaves it running."""
        _, ending = self._both()
        return await asyncio.shield(ending)

    async def stop(self) -> Ran:
        """Kill it with all that it started."""
        child, ending = self._both()
        child.kill("stopped")
        return await asyncio.shield(ending)

    def _both(self) -> tuple[Child, asyncio.Task[Ran]]:
        if self._child is None or self._ending is None:
            raise RuntimeError("it was not started")
        return self._child, self._ending
