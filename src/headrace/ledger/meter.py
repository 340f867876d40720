"""Meter: how the gateway writes down each model call, when it begins and when it ends."""

from headrace.ledger.journal import Journal
from headrace.ledger.records import CLOSED, OPENED, GenerationClosed, GenerationOpened


class Meter:
    """Writes generations into a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def failure(self) -> str | None:
        """Why no call can be written down any more, None while all is well."""
        return self._journal.failure

    def open(self, opened: GenerationOpened) -> None:
        """A call begins. Survives the death of this process from now on; waits for no disk.

        Raises:
            StoreError: The journal takes nothing; the call must not begin.
        """
        self._journal.append(OPENED, opened)

    async def close(self, closed: GenerationClosed, *, durable: bool = True) -> None:
        """A call has ended.

        Args:
            closed: What it used and how it ended.
            durable: Return only when a power cut cannot undo it. Otherwise it is on its way
                to the disk when this returns, for calls whose caller has gone.

        Raises:
            StoreError: It was not written, or the disk failed; acknowledge nothing.
        """
        position = self._journal.append(CLOSED, closed)
        if durable:
            await self._journal.durable(position)
        else:
            self._journal.sync_soon()
