"""`headrace ledger verify`: proves from the journals that the books are right.

All journals are read from their first record on, beside one snapshot of the database. Up to where
the snapshot's projections reach, rows must say what records say; what stands behind that only has
to be sound in itself. Sums are then proved from the rows. Memory is bounded: of calls, only those
that are open are remembered.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from headrace.ledger.verdict import Verdict
from headrace.ledger.verify_journals import verify_journals
from headrace.ledger.verify_sums import verify_budgets, verify_sums


def verify(connection: Connection, directory: Path, progress: Callable[[int], None]) -> Verdict:
    """Prove the books of all organisations.

    Args:
        connection: Of a read: one snapshot, also while Headrace runs.
        directory: The folder of the journals.
        progress: Is told now and then how many records were read.
    """
    verdict = Verdict()
    expected = verify_journals(connection, directory, verdict, progress)
    if expected is not None:
        # Behind a broken chain nobody can say what the sums must be.
        verify_sums(connection, expected, verdict)
    verify_budgets(connection, {} if expected is None else expected.changed_ns, verdict)
    return verdict
