"""Outcomes: what became of answers, as clients tell."""

from collections.abc import Sequence
from operator import itemgetter

import msgspec
from sqlalchemy import Connection

from headrace.store.statements import run_many


class OutcomeRow(msgspec.Struct, frozen=True):
    """What an account told; the first of its `id` counts."""

    account_id: str
    id: str
    organisation_id: str
    team_id: str | None
    model_id: str
    kind: str
    count: int
    time_ns: int
    conversation_id: str | None


def add(connection: Connection, told: Sequence[OutcomeRow]) -> None:
    """Add those that are new.

    Takes no scope: they carry theirs.
    """
    if told:
        # In order, so that no two writers wait for each other.
        rows = sorted(map(msgspec.structs.astuple, told), key=itemgetter(0, 1))
        run_many(connection, _ADD, rows)


_ADD = (
    f"INSERT INTO outcome ({', '.join(OutcomeRow.__struct_fields__)})"  # noqa: S608 - names above
    f" VALUES ({', '.join('?' * len(OutcomeRow.__struct_fields__))})"
    " ON CONFLICT (account_id, id) DO NOTHING"
)
