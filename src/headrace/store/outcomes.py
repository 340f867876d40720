"""Outcomes: what became of answers, as clients tell, summed up by day."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from headrace.store.statements import run_many


class OutcomeDay(NamedTuple):
    """What a sum is of; `team_id` is empty for accounts of no team."""

    organisation_id: str
    day_ns: int
    team_id: str
    account_id: str
    model_id: str
    kind: str


def add(connection: Connection, counts: Mapping[OutcomeDay, int]) -> None:
    """Add counts.

    Takes no scope: the sums carry theirs.
    """
    if counts:
        run_many(connection, _ADD, [(*place, count) for place, count in sorted(counts.items())])


_KEY = ", ".join(OutcomeDay._fields)
_ADD = (
    f"INSERT INTO outcome_day ({_KEY}, count) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names above
    f" ON CONFLICT ({_KEY}) DO UPDATE SET count = outcome_day.count + excluded.count"
)
