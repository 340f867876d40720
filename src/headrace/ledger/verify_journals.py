"""The journals, record by record, beside the rows that were made of them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from headrace.core.errors import StoreError
from headrace.core.scope import Lineage
from headrace.ledger import reader
from headrace.ledger.chain import Position, Record
from headrace.ledger.projection import name_of
from headrace.ledger.records import (
    Audited,
    Entry,
    GenerationClosed,
    GenerationOpened,
    Outcome,
    Posted,
    balanced,
    decode,
)
from headrace.ledger.reports.sums import add
from headrace.ledger.rows import (
    RECEIVABLE,
    RefundDetail,
    ending_of,
    event_of,
    generation_of,
    outcome_row_of,
    posting_of,
    refunded_nano,
)
from headrace.ledger.verdict import Expected, Refunds, Verdict
from headrace.store import proof
from headrace.store.audit import Event
from headrace.store.generations import Generation
from headrace.store.hardware_hours import HardwareHour
from headrace.store.postings import Posting
from headrace.store.spend import HOUR_NS

_BATCH = 1_000
_PROGRESS_RECORDS = 50_000

Row = TypeVar("Row", bound=msgspec.Struct)


def verify_journals(
    connection: Connection, directory: Path, verdict: Verdict, progress: Callable[[int], None]
) -> Expected | None:
    """Read all journals beside the rows; what is wrong goes into `verdict`.

    Returns:
        What sums must come to; None where that cannot be known, as a chain is broken.
    """
    expected = Expected()
    try:
        workers = reader.workers(directory)
    except StoreError as error:
        verdict.wrong("chain", str(directory), error.message)
        return None
    whole = True
    counts = proof.count_by_worker(connection)
    for worker in workers:
        walk = _Walk(connection, worker, verdict, expected, counts.get(worker, 0))
        whole = walk.run(directory, progress) and whole
        verdict.journals += 1
    for worker in proof.unknown_workers(connection, workers):
        verdict.wrong("chain", worker, "the database knows this journal, and it is not there")
        whole = False
    return expected if whole else None


class _Walk:
    """One journal from its beginning to its end."""

    def __init__(
        self,
        connection: Connection,
        worker: str,
        verdict: Verdict,
        expected: Expected,
        rows_count: int,
    ) -> None:
        self._connection = connection
        self._rows_count = rows_count
        self._worker = worker
        self._verdict = verdict
        self._expected = expected
        known = proof.position(connection, name_of(worker))
        self._position = None if known is None else msgspec.json.decode(known, type=Position)
        self._reach = 0 if self._position is None else self._position.seq
        self._opened: dict[str, Generation] = {}
        self._opened_count = 0
        self._rows: dict[str, Generation] = {}
        self._postings: dict[str, Posting] = {}
        self._events: dict[str, Event] = {}

    def run(self, directory: Path, progress: Callable[[int], None]) -> bool:
        """Read it; whether it could be read to its end."""
        seq = 0
        try:
            for record in reader.read(directory, self._worker):
                seq = record.seq
                self._hear(record)
                self._verdict.records += 1
                if self._verdict.records % _PROGRESS_RECORDS == 0:
                    progress(self._verdict.records)
                if seq == self._reach:
                    self._reached(record)
        except StoreError as error:
            self._verdict.wrong("chain", f"{self._worker} behind record {seq}", error.message)
            return False
        if seq < self._reach:
            text = f"the database knows {self._reach} records, the journal holds {seq}"
            self._verdict.wrong("chain", self._worker, text)
            return False
        if not self._reach:
            self._compare_open()
        self._flush()
        self._verdict.open += len(self._opened)
        return True

    def _reached(self, record: Record) -> None:
        """Here the snapshot's rows end."""
        if record.position != self._position:
            text = "the journal was written anew: its hash is not the one the database has seen"
            self._verdict.wrong("chain", f"{self._worker} record {record.seq}", text)
        self._flush()
        self._compare_open()

    def _compare_open(self) -> None:
        """The open calls are the open rows, and there are no rows beside."""
        rows = {one.id: one for one in proof.open_rows(self._connection, self._worker)}
        self._compare("receipt", self._opened, rows)
        for extra in sorted(rows.keys() - self._opened.keys()):
            self._wrong("receipt", extra, "it is open in the database and not in the journal")
        if self._rows_count != self._opened_count:
            text = f"the database has {self._rows_count} receipts, the journal {self._opened_count}"
            self._verdict.wrong("receipt", self._worker, text)

    def _hear(self, record: Record) -> None:
        said = decode(record)
        if isinstance(said, GenerationOpened):
            self._open(said)
        elif isinstance(said, GenerationClosed):
            self._close(said, record)
        elif isinstance(said, Posted):
            self._post(said, record)
        elif isinstance(said, Audited):
            self._verdict.changes += 1
            if record.seq <= self._reach:
                self._expected.changes += 1
                self._events[said.id] = event_of(said)
            else:
                self._expected.changed_ns[said.object_id] = said.time_ns
        elif isinstance(said, Outcome) and record.seq <= self._reach:
            row = outcome_row_of(said)
            self._expected.outcomes.setdefault((row.account_id, row.id), set()).add(row)
        if len(self._rows) + len(self._postings) + len(self._events) >= _BATCH:
            self._flush()

    def _open(self, said: GenerationOpened) -> None:
        self._verdict.generations += 1
        self._opened_count += 1
        if said.id in self._opened:
            self._wrong("settlement", said.id, "it begins twice")
        self._opened[said.id] = generation_of(said, self._worker)

    def _close(self, said: GenerationClosed, record: Record) -> None:
        begun = self._opened.pop(said.id, None)
        if begun is None:
            self._wrong("settlement", said.id, "it ends without being open: twice, or never begun")
            return
        self._verdict.charged_nano += said.price_nano
        self._entries(said.id, said.entries)
        if said.price_nano > begun.held_nano or said.price_nano < 0:
            text = f"it is charged {said.price_nano} nano-dollars of {begun.held_nano} held"
            self._wrong("hold", said.id, text)
        debts = [one for one in said.entries if one.account.startswith(RECEIVABLE)]
        if sum(one.amount_nano for one in debts) != said.price_nano or any(
            one.account != RECEIVABLE + begun.account_id for one in debts
        ):
            text = f"its entries do not charge {begun.account_id} {said.price_nano} nano-dollars"
            self._wrong("entries", said.id, text)
        if record.seq <= self._reach:
            self._book(begun.organisation_id, said.entries)
            self._rows[said.id] = ending_of(said).over(begun)
        else:
            self._expected.tail_prices[said.id] = (begun.account_id, said.price_nano)

    def _post(self, said: Posted, record: Record) -> None:
        if said.id in self._expected.posted:
            return  # the first of an id counts
        self._expected.posted.add(said.id)
        self._verdict.postings += 1
        self._entries(said.id, said.entries)
        projected = record.seq <= self._reach
        if projected:
            self._expected.postings += 1
            self._book(said.organisation_id, said.entries)
            self._postings[said.id] = posting_of(said)
        if said.kind == "accrual" and projected and "hour_ns" in said.detail:
            hour = msgspec.convert(said.detail, HardwareHour)
            place = (said.organisation_id, hour.machine, hour.hour_ns)
            add(self._expected.hours, place, msgspec.structs.astuple(hour)[2:])
        if said.kind == "refund":
            self._refund(said, projected=projected)

    def _refund(self, said: Posted, *, projected: bool) -> None:
        nano = refunded_nano(said.entries)
        self._verdict.refunded_nano += nano
        if said.generation_id is None:
            self._wrong("refund", said.id, "it names no call")
            return
        found = self._expected.refunds.setdefault(said.generation_id, Refunds())
        found.nano += nano
        whose = msgspec.convert(said.detail, RefundDetail)
        found.claims.append((said.id, said.organisation_id, whose))
        if projected:
            found.projected_nano += nano
            hour_ns = whose.started_ns - whose.started_ns % HOUR_NS
            lineage = Lineage(said.organisation_id, whose.team_id, whose.account_id, whose.key_id)
            for node in lineage.nodes():
                add(self._expected.hour_refunds, (node, hour_ns, self._worker), (nano,))

    def _entries(self, identifier: str, entries: tuple[Entry, ...]) -> None:
        if not balanced(entries):
            off = sum(one.amount_nano for one in entries)
            self._wrong("entries", identifier, f"its entries do not balance: {off} nano-dollars")

    def _book(self, organisation_id: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            place = (organisation_id, entry.account)
            add(self._expected.balances, place, (entry.amount_nano, 1))

    def _flush(self) -> None:
        """Compare what was collected with the rows."""
        self._compare("receipt", self._rows, proof.generations(self._connection, list(self._rows)))
        postings = proof.postings(self._connection, list(self._postings))
        self._compare("posting", self._postings, postings)
        self._compare("audit", self._events, proof.events(self._connection, list(self._events)))
        self._rows, self._postings, self._events = {}, {}, {}

    def _compare(self, check: str, said: Mapping[str, Row], rows: Mapping[str, Row]) -> None:
        for identifier, one in said.items():
            row = rows.get(identifier)
            if row is None:
                self._wrong(check, identifier, "the journal knows it, the database does not")
            elif row != one:
                text = f"the database says something else: {_unlike(row, one)}"
                self._wrong(check, identifier, text)

    def _wrong(self, check: str, identifier: str, text: str) -> None:
        self._verdict.wrong(check, f"{self._worker} {identifier}", text)


def _unlike(row: msgspec.Struct, said: msgspec.Struct) -> str:
    """The fields that differ."""
    return ", ".join(
        f"{name} {getattr(row, name)!r}, not {getattr(said, name)!r}"
        for name in row.__struct_fields__
        if getattr(row, name) != getattr(said, name)
    )
