"""Refunds: money given back for a call, never more than it was charged in all."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, InvalidRequest
from headrace.core.ids import is_id, new_id
from headrace.core.scope import Lineage, Scope
from headrace.ledger import receipts
from headrace.ledger.audit import AuditLog
from headrace.ledger.journal import Journal
from headrace.ledger.records import POSTED, Entry, Posted
from headrace.ledger.reservations import Reservations
from headrace.ledger.rows import RECEIVABLE, refunded_nano
from headrace.ledger.spending import RefundDetail
from headrace.store import budgets, generations, postings
from headrace.store.database import Database
from headrace.store.generations import Generation
from headrace.store.postings import Posting

RefundReason = Literal["failed", "wrong", "duplicate", "goodwill", "test", "other"]
"""Words, since the chain of the journal holds no free text, which may name people."""

# A call becomes a row about half a second after its end.
_TRIES = 20
_PAUSE_S = 0.25


class Refund(msgspec.Struct, frozen=True):
    """Money that was given back."""

    id: str
    generation_id: str
    amount_nano: int
    time_ns: int


class Refunds:
    """Gives money back. The control process alone does, one refund after the other.

    Args:
        database: Where receipts and earlier refunds are.
        journal: That of the control process.
        clock: The house's clock.
        audit: Where it is written down who did it.
        reservations: What budgets know to be spent.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        audit: AuditLog,
        reservations: Reservations,
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._audit = audit
        self._reservations = reservations
        self._one_by_one = asyncio.Lock()
        # Those that have no rows yet.
        self._fresh: dict[str, Posted] = {}

    async def give(
        self,
        scope: Scope,
        generation_id: str,
        amount_nano: int | None,
        reason: RefundReason,
        *,
        identifier: str | None = None,
    ) -> Refund:
        """Give money back for a call, all that is left of its price if no amount is named.

        Args:
            scope: Who gives it.
            generation_id: The call.
            amount_nano: Nano-dollars.
            reason: Why.
            identifier: A UUIDv7 of the caller's; a second refund of the same id is the first one.

        Raises:
            NotFound: There is no such call.
            Conflict: It runs, or nothing is left of its price, or the id is another refund's.
            InvalidRequest: The amount is not within what is left, or the id is no UUIDv7.
            StoreError: It could not be written down.
        """
        if identifier is not None and not is_id(identifier):
            raise InvalidRequest("the id of a refund is a UUIDv7", param="id")
        async with self._one_by_one:
            call, known = await self._ended(scope, generation_id)
            before = self._given(generation_id, known)
            if identifier in before:
                return _told(before[identifier])
            if identifier is not None and await self._is_taken(identifier):
                raise Conflict(f"{identifier} is the id of something else")
            given_nano = sum(refunded_nano(one.entries) for one in before.values())
            nano = _amount(call.price_nano - given_nano, amount_nano)
            posted = self._posted(scope, call, nano, reason, identifier)
            await self._exempt_later_budgets(call, nano)
            position = self._journal.append(POSTED, posted)
            # Whatever this pays for is written behind it: no power cut keeps that and loses this.
            self._reservations.refund(_lineage(call), call.started_ns, nano)
            self._fresh[posted.id] = posted
            await self._journal.durable(position)
        await self._audit.note(
            scope, "refund.given", generation_id, amount_nano=nano, reason=reason
        )
        return _told(posted)

    async def _ended(self, scope: Scope, identifier: str) -> tuple[Generation, tuple[Posting, ...]]:
        """The call and its postings, once its row knows how it ended."""
        directory = self._journal.directory

        def work(connection: Connection) -> tuple[bool, Generation, tuple[Posting, ...]]:
            row = generations.get(connection, scope, identifier)
            known = postings.of_generation(connection, scope, identifier)
            if row is not None and row.stop is not None:
                return True, row, known
            return False, receipts.find(connection, directory, scope, identifier), known

        for _ in range(_TRIES):
            complete, call, known = await self._database.read(work)
            if complete:
                return call, known
            if call.stop is None:
                raise Conflict(f"the call {identifier} is running")
            await asyncio.sleep(_PAUSE_S)
        raise Conflict(f"the receipt {identifier} is being written; try again in a moment")

    def _given(self, generation_id: str, known: Sequence[Posting]) -> dict[str, Posted]:
        """The refunds of a call so far, with those that are not rows yet."""
        found = {
            one.id: Posted(
                id=one.id,
                organisation_id=one.organisation_id,
                kind="refund",
                time_ns=one.time_ns,
                entries=msgspec.json.decode(one.entries, type=tuple[Entry, ...]),
                generation_id=one.generation_id,
            )
            for one in known
            if one.kind == "refund"
        }
        for identifier in found:
            self._fresh.pop(identifier, None)
        fresh = {i: one for i, one in self._fresh.items() if one.generation_id == generation_id}
        return found | fresh

    async def _is_taken(self, identifier: str) -> bool:
        return identifier in self._fresh or await self._database.read(
            lambda connection: postings.exists(connection, identifier)
        )

    async def _exempt_later_budgets(self, call: Generation, nano: int) -> None:
        """Budgets for all time that began after the call have nothing of it to give back."""
        nodes = _lineage(call).nodes()
        later = [
            one.id
            for one in await self._database.read(budgets.everywhere)
            if one.period == "once" and one.node_id in nodes and call.started_ns < one.created_ns
        ]
        if later:
            await self._database.write(lambda connection: budgets.rebase(connection, later, nano))
            await self._reservations.reload()

    def _posted(
        self,
        scope: Scope,
        call: Generation,
        nano: int,
        reason: RefundReason,
        identifier: str | None,
    ) -> Posted:
        whose = RefundDetail(call.team_id, call.account_id, call.key_id, call.started_ns)
        detail: dict[str, Any] = msgspec.to_builtins(whose)
        return Posted(
            id=identifier or new_id(self._clock),
            organisation_id=call.organisation_id,
            kind="refund",
            time_ns=self._clock.now_ns(),
            entries=(
                Entry(f"revenue:{call.model_id}", nano),
                Entry(f"{RECEIVABLE}{call.account_id}", -nano),
            ),
            generation_id=call.id,
            actor_id=scope.account_id,
            detail=detail | {"reason": reason},
        )


def _amount(left_nano: int, wanted_nano: int | None) -> int:
    if left_nano <= 0:
        raise Conflict("nothing is left of what this call was charged")
    if wanted_nano is None:
        return left_nano
    if not 1 <= wanted_nano <= left_nano:
        raise InvalidRequest(
            f"amount_nano must be from 1 to {left_nano}, what is left of this call's price",
            param="amount_nano",
        )
    return wanted_nano


def _lineage(call: Generation) -> Lineage:
    return Lineage(call.organisation_id, call.team_id, call.account_id, call.key_id)


def _told(posted: Posted) -> Refund:
    nano = refunded_nano(posted.entries)
    return Refund(posted.id, posted.generation_id or "", nano, posted.time_ns)
