"""What budgets' windows have been charged and hold: the rows, and the journals beyond them."""

from collections import defaultdict
from pathlib import Path

import msgspec

from headrace.core.scope import Lineage
from headrace.ledger import reader
from headrace.ledger.chain import Position
from headrace.ledger.projection import name_of
from headrace.ledger.records import GenerationClosed, GenerationOpened, Posted, Said, decode
from headrace.ledger.rows import RefundDetail, refunded_nano
from headrace.store.budgets import Running, Span, Spending


class Tails:
    """Brings what the rows knew at one moment up to the journals' present ends.

    Refunds count for the process that posts them, so that no other one need hear of them.
    """

    def __init__(self, directory: Path, spending: Spending) -> None:
        self._directory = directory
        self._charged = spending.charged
        self._running = {one.id: one for one in spending.running}
        self._places = {
            name: msgspec.json.decode(place, type=Position)
            for name, place in spending.positions.items()
        }
        self._spans: defaultdict[str, list[Span]] = defaultdict(list)
        for span in spending.charged:
            self._spans[span.node_id].append(span)

    def read_all(self) -> None:
        """Read on in every journal."""
        for worker in reader.workers(self._directory):
            self.read(worker)

    def read(self, worker: str) -> None:
        """Read on in one worker's journal.

        Raises:
            StoreError: Its chain is broken.
        """
        name = name_of(worker)
        for record in reader.read(self._directory, worker, self._places.get(name)):
            said = decode(record)
            if said is not None:
                self._hear(worker, said)
            self._places[name] = record.position

    def charged(self, span: Span) -> dict[str, int]:
        """What each worker was charged."""
        return self._charged[span]

    def held(self, span: Span) -> dict[str, int]:
        """What the running calls of each worker hold."""
        found: dict[str, int] = {}
        for one in self._running.values():
            if span in self._touched(_nodes(one.organisation_id, one), one.started_ns):
                found[one.worker] = found.get(one.worker, 0) + (one.held_nano or 0)
        return found

    def _hear(self, worker: str, said: Said) -> None:
        if isinstance(said, GenerationOpened):
            self._running[said.id] = Running(
                said.id,
                worker,
                said.organisation_id,
                said.team_id,
                said.account_id,
                said.key_id,
                said.started_ns,
                said.held_nano,
            )
        elif isinstance(said, GenerationClosed):
            one = self._running.pop(said.id, None)
            if one is not None and said.price_nano:
                self._add(worker, _nodes(one.organisation_id, one), one.started_ns, said.price_nano)
        elif isinstance(said, Posted) and said.kind == "refund":
            whose = msgspec.convert(said.detail, RefundDetail)
            nodes = _nodes(said.organisation_id, whose)
            self._add(worker, nodes, whose.started_ns, -refunded_nano(said.entries))

    def _add(self, worker: str, nodes: tuple[str, ...], at_ns: int, nano: int) -> None:
        for span in self._touched(nodes, at_ns):
            sums = self._charged[span]
            sums[worker] = sums.get(worker, 0) + nano

    def _touched(self, nodes: tuple[str, ...], at_ns: int) -> list[Span]:
        return [
            span
            for node in nodes
            if node in self._spans
            for span in self._spans[node]
            if span.start_ns <= at_ns < span.end_ns
        ]


def _nodes(organisation_id: str, whose: Running | RefundDetail) -> tuple[str, ...]:
    return Lineage(organisation_id, whose.team_id, whose.account_id, whose.key_id).nodes()
