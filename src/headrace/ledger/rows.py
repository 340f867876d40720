"""What records of the journal become in the database: rows, and sums of them.

All of a batch is one transaction with how far it reaches, so every sum counts every record once.
A call counts by its first ending, a posting by its first record. A refund lowers the sums of the
call that it gives back, whichever of the two comes first.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from headrace.core.scope import Lineage
from headrace.ledger.records import (
    Audited,
    Entry,
    GenerationClosed,
    GenerationOpened,
    Outcome,
    Posted,
    Said,
)
from headrace.store import audit, balances, generations, hardware_hours, outcomes, postings, spend
from headrace.store.audit import Event
from headrace.store.generations import Ending, Generation, Settled
from headrace.store.hardware_hours import HardwareHour
from headrace.store.outcomes import OutcomeRow
from headrace.store.postings import Posting
from headrace.store.spend import HourRefund, Refund

RECEIVABLE = "receivable:"
CAPACITY = "capacity:"


class RefundDetail(msgspec.Struct, frozen=True):
    """Whose call was refunded, so that a reader of the journal need not look it up."""

    team_id: str | None
    account_id: str
    key_id: str
    started_ns: int


def write(connection: Connection, worker: str, said: Sequence[Said]) -> None:
    """Write what records of a worker's journal say, in their order."""
    begun: list[Generation] = []
    closed: dict[str, GenerationClosed] = {}
    posted: list[Posted] = []
    audited: list[Audited] = []
    told: list[Outcome] = []
    for one in said:
        if isinstance(one, GenerationOpened):
            begun.append(generation_of(one, worker))
        elif isinstance(one, GenerationClosed):
            closed.setdefault(one.id, one)
        elif isinstance(one, Posted):
            posted.append(one)
        elif isinstance(one, Audited):
            audited.append(one)
        else:
            told.append(one)
    books = _Books()
    settled = generations.project(connection, begun, [ending_of(one) for one in closed.values()])
    for call, _ in settled:
        books.add(call.organisation_id, closed[call.id].entries)
    given_back = _given_back_before(connection, settled)
    hours: list[HourRefund] = []
    if posted:
        refunds = _post(connection, posted, books)
        given_back += _refunds(connection, refunds)
        hours = [_hour_refund(one, worker) for one in refunds]
    spend.add(connection, settled, given_back, hours)
    books.write(connection)
    audit.add(connection, [event_of(one) for one in audited])
    outcomes.add(connection, [outcome_row_of(one) for one in told])


def generation_of(opened: GenerationOpened, worker: str) -> Generation:
    """The receipt of a call that has begun."""
    return Generation(worker=worker, **msgspec.structs.asdict(opened))


def ending_of(closed: GenerationClosed) -> Ending:
    """How the receipt ends."""
    values = msgspec.structs.asdict(closed)
    for entry in values.pop("entries"):
        if entry.account.startswith(CAPACITY):
            values["machine"] = entry.account[len(CAPACITY) :]
    return Ending(**values)


def refunded_nano(entries: Iterable[Entry]) -> int:
    """What a refund's entries give back to whoever was charged."""
    return -sum(one.amount_nano for one in entries if one.account.startswith(RECEIVABLE))


class _Books:
    """What a batch adds to the balances."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, list[int]]] = defaultdict(dict)

    def add(self, organisation_id: str, entries: Iterable[Entry]) -> None:
        sums = self._sums[organisation_id]
        for entry in entries:
            found = sums.get(entry.account)
            if found is None:
                sums[entry.account] = [entry.amount_nano, 1]
            else:
                found[0] += entry.amount_nano
                found[1] += 1

    def write(self, connection: Connection) -> None:
        rows = {
            (organisation_id, name): (amount_nano, count)
            for organisation_id, sums in self._sums.items()
            for name, (amount_nano, count) in sums.items()
        }
        balances.add(connection, rows)


def _given_back_before(connection: Connection, settled: Sequence[Settled]) -> list[Refund]:
    """Refunds that came before the ends of their calls, from another worker's journal."""
    calls = {one.id: one for one, _ in settled}
    found: list[Refund] = []
    for identifier, organisation_id, encoded in postings.refunds(connection, list(calls)):
        call = calls[identifier]
        if call.organisation_id == organisation_id:
            entries = msgspec.json.decode(encoded, type=tuple[Entry, ...])
            found.append(Refund(call, refunded_nano(entries)))
    return found


def _post(connection: Connection, posted: Sequence[Posted], books: _Books) -> list[Posted]:
    """Write postings; returns the refunds among those that were new."""
    fresh = {one.id for one in postings.add(connection, [posting_of(one) for one in posted])}
    first: dict[str, Posted] = {}
    for one in posted:
        if one.id in fresh:
            first.setdefault(one.id, one)
    hours: list[tuple[str, HardwareHour]] = []
    refunds: list[Posted] = []
    for one in first.values():
        books.add(one.organisation_id, one.entries)
        if one.kind == "accrual" and "hour_ns" in one.detail:
            hours.append((one.organisation_id, msgspec.convert(one.detail, HardwareHour)))
        elif one.kind == "refund" and one.generation_id is not None:
            refunds.append(one)
    hardware_hours.add(connection, hours)
    return refunds


def _hour_refund(one: Posted, worker: str) -> HourRefund:
    whose = msgspec.convert(one.detail, RefundDetail)
    lineage = Lineage(one.organisation_id, whose.team_id, whose.account_id, whose.key_id)
    return HourRefund(lineage, whose.started_ns, worker, refunded_nano(one.entries))


def _refunds(connection: Connection, refunds: Sequence[Posted]) -> list[Refund]:
    """Those whose calls have ended."""
    wanted = [one.generation_id for one in refunds if one.generation_id is not None]
    calls = {call.id: call for call in generations.ended(connection, wanted)}
    return [
        Refund(call, refunded_nano(one.entries))
        for one in refunds
        if (call := calls.get(one.generation_id or "")) is not None
        and call.organisation_id == one.organisation_id
    ]


def posting_of(one: Posted) -> Posting:
    """The row of a posting."""
    return Posting(
        id=one.id,
        organisation_id=one.organisation_id,
        kind=one.kind,
        time_ns=one.time_ns,
        generation_id=one.generation_id,
        actor_id=one.actor_id,
        entries=msgspec.json.encode(one.entries).decode(),
        detail=msgspec.json.encode(one.detail).decode(),
    )


def event_of(one: Audited) -> Event:
    """The row of a change."""
    values: dict[str, Any] = msgspec.structs.asdict(one)
    values["detail"] = msgspec.json.encode(one.detail).decode()
    return Event(**values)


def outcome_row_of(one: Outcome) -> OutcomeRow:
    """The row of an outcome."""
    return OutcomeRow(**msgspec.structs.asdict(one))
