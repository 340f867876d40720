"""Stopper: what runs in a turn can be ended at once, and nothing new begins then."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The turn was interrupted; whatever ran has ended."""


class Stopper:
    """Runs the waits of one turn."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self.stopped = False

    def stop(self) -> None:
        """End what runs; said again, it does not break into the cleaning up."""
        if self.stopped:
            return
        self.stopped = True
        for task in self._running:
            task.cancel()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`.

        Raises:
            Interrupted: It was ended by `stop`, or was not begun because of it.
        """
        if self.stopped:
            work.close()
            raise Interrupted
        task = asyncio.ensure_future(work)
        self._running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self.stopped and task.cancelled():
                raise Interrupted from None
            raise
        finally:
            self._running.discard(task)
