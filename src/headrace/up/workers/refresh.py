"""Refresh: a worker hears that the control process has changed something."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from headrace.core.errors import StoreError
from headrace.identity.epoch import Epoch

_POLL_S = 0.25

_log = logging.getLogger(__name__)


class Refresh:
    """Reads everything anew when the epoch has risen; nobody gets past a change.

    Args:
        epoch: Rises with every change.
        reloads: What reads the parts anew.
    """

    def __init__(self, epoch: Epoch, reloads: Sequence[Callable[[], Awaitable[None]]]) -> None:
        self._epoch = epoch
        self._reloads = reloads
        self._seen = epoch.now()
        self._lock = asyncio.Lock()

    def stale(self) -> bool:
        """Whether something has changed since it was read."""
        return self._epoch.now() != self._seen

    async def run(self) -> None:
        """Read it anew, unless somebody else has just done so."""
        async with self._lock:
            # From before they are read: a change in between then makes them stale.
            seen = self._epoch.now()
            if seen == self._seen:
                return
            for reload in self._reloads:
                await reload()
            self._seen = seen

    async def keep(self) -> None:
        """Do so also while nobody asks, until cancelled.

        A call that runs must count in a new budget before any other process parts with its money.
        """
        while True:
            await asyncio.sleep(_POLL_S)
            if self.stale():
                try:
                    await self.run()
                except StoreError:
                    _log.exception("what has changed cannot be read")
