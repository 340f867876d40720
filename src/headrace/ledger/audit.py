"""Audit: who changed what, in the journal's chain like the calls."""

from headrace.core.clock import Clock
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.ledger.journal import Journal
from headrace.ledger.records import AUDITED, Audited


class AuditLog:
    """Writes changes down; what was not written has not happened.

    Args:
        journal: That of the control process, which alone changes anything.
        clock: The house's clock.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def note(self, actor: Scope, action: str, object_id: str, **detail: object) -> None:
        """Write down one change and wait until no power cut can undo that.

        Args:
            actor: Who changes it.
            action: Two words, such as `budget.set`.
            object_id: The id of what is changed.
            detail: What is set; never names or addresses of people, which must stay erasable.

        Raises:
            StoreError: It was not written.
        """
        record = Audited(
            id=new_id(self._clock),
            organisation_id=actor.organisation_id,
            actor_id=actor.account_id,
            action=action,
            object_id=object_id,
            time_ns=self._clock.now_ns(),
            detail=detail,
        )
        await self._journal.durable(self._journal.append(AUDITED, record))
