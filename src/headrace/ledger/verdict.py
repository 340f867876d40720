"""What verifying finds, and what it remembers of the journals to hold sums against."""

import msgspec

from headrace.ledger.rows import RefundDetail
from headrace.store.outcomes import OutcomeRow

PROBLEMS_MAX = 100


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it must be: what is looked at, where, and what is wrong."""

    check: str
    where: str
    text: str


class Verdict(msgspec.Struct):
    """What was looked at, and what is wrong; of many problems the first hundred.

    `open` calls have begun and not ended: they run, or the next start settles them.
    """

    journals: int = 0
    records: int = 0
    generations: int = 0
    open: int = 0
    postings: int = 0
    changes: int = 0
    charged_nano: int = 0
    refunded_nano: int = 0
    problems_count: int = 0
    problems: list[Problem] = msgspec.field(default_factory=list[Problem])

    def wrong(self, check: str, where: str, text: str) -> None:
        """Note a problem."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(check, where, text))


class Refunds(msgspec.Struct):
    """What was given back for a call: in all, and as far as the rows know.

    `claims` say whose call it was: the refund, its organisation, and what it tells.
    """

    nano: int = 0
    projected_nano: int = 0
    claims: list[tuple[str, str, RefundDetail]] = msgspec.field(
        default_factory=list[tuple[str, str, RefundDetail]]
    )


class Expected(msgspec.Struct):
    """What the journals say that sums must come to, as far as they are projected.

    `tail_prices` are those of calls whose ends are not: account and price. `posted` are the ids
    of all postings, `changed_ns` the last changes that have no rows.
    """

    balances: dict[tuple[str, str], list[int]] = {}
    outcomes: dict[tuple[str, str], set[OutcomeRow]] = {}
    hours: dict[tuple[str, str, int], list[int]] = {}
    refunds: dict[str, Refunds] = {}
    hour_refunds: dict[tuple[str, int, str], list[int]] = {}
    tail_prices: dict[str, tuple[str, int]] = {}
    posted: set[str] = set()
    changed_ns: dict[str, int] = {}
    postings: int = 0
    changes: int = 0
