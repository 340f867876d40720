"""Budgets as their admins see and change them; the control process alone does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.ids import new_id
from headrace.core.scope import NodeKind, Scope
from headrace.ledger.audit import AuditLog
from headrace.ledger.spending import Tails
from headrace.ledger.windows import END_OF_TIME_NS, span_of
from headrace.store import budgets
from headrace.store.budgets import Budget, BudgetPeriod, Span
from headrace.store.database import Database

# A billion dollars: sums of a few of these still are integers of the database.
LIMIT_NANO_MAX = 10**18
_PERCENTS_MAX = 10
_PERCENT_MAX = 1_000
_URL_CHARACTERS_MAX = 2_000
_WARN_PERCENT = (50, 80, 100)


class BudgetTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A budget to make.

    `period` is in UTC. A hard budget refuses calls that it could not pay for; a soft one only
    warns. `warn_percent` are shares of the limit at which the log, and `webhook_url` if there is
    one, are told, once in each window.
    """

    node_kind: NodeKind
    node_id: str
    period: BudgetPeriod
    limit_nano: int
    hard: bool = True
    warn_percent: tuple[int, ...] = _WARN_PERCENT
    webhook_url: str | None = None


class BudgetChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of a budget becomes different; what is not named stays as it is."""

    limit_nano: int | msgspec.UnsetType = msgspec.UNSET
    hard: bool | msgspec.UnsetType = msgspec.UNSET
    warn_percent: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    webhook_url: str | msgspec.UnsetType | None = msgspec.UNSET


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and how its present window stands.

    `spent_nano` was charged, `held_nano` is the worst that running calls may still come to.
    `window_end_ns` is None for a budget that is not renewed.
    """

    id: str
    node_kind: NodeKind
    node_id: str
    period: BudgetPeriod
    limit_nano: int
    hard: bool
    warn_percent: tuple[int, ...]
    webhook_url: str | None
    created_ns: int
    window_start_ns: int
    window_end_ns: int | None
    spent_nano: int
    held_nano: int


class Budgets:
    """Makes, changes and ends budgets.

    Args:
        database: Where they are.
        journals: The folder of all journals.
        clock: The house's clock.
        audit: Where changes are written down.
        changed: Brings what has changed to every process.
    """

    def __init__(
        self,
        database: Database,
        journals: Path,
        clock: Clock,
        audit: AuditLog,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._journals = journals
        self._clock = clock
        self._audit = audit
        self._changed = changed

    async def states(self, scope: Scope) -> list[BudgetState]:
        """The budgets of the caller's organisation, oldest first."""
        found = await self._database.read(lambda connection: budgets.of(connection, scope))
        return await self._states(found)

    async def make(self, scope: Scope, terms: BudgetTerms) -> BudgetState:
        """A new budget, which binds every call from now on, and counts those that run.

        Raises:
            InvalidRequest: A figure or the address is out of bounds.
            NotFound: There is no such node in the caller's organisation.
        """
        _check(msgspec.structs.asdict(terms))
        base_nano = 0
        if terms.period == "once":
            span = Span(terms.node_id, 0, END_OF_TIME_NS)
            tails = await self._read((span,))
            base_nano = sum(tails.charged(span).values())
        made = Budget(
            id=new_id(self._clock),
            organisation_id=scope.organisation_id,
            base_nano=base_nano,
            created_ns=self._clock.now_ns(),
            **msgspec.structs.asdict(terms),
        )

        def work(connection: Connection) -> None:
            if not budgets.has_node(connection, scope, terms.node_kind, terms.node_id):
                raise NotFound(f"there is no {terms.node_kind} {terms.node_id}")
            budgets.add(connection, scope, made)

        await self._database.write(work)
        await self._audit.note(scope, "budget.made", made.id, **_told(terms))
        await self._changed()
        return (await self._states((made,)))[0]

    async def change(self, scope: Scope, identifier: str, change: BudgetChange) -> BudgetState:
        """Change a budget; running calls keep what they hold.

        Raises:
            InvalidRequest: A figure or the address is out of bounds.
            NotFound: There is no such budget in the caller's organisation.
        """
        values = _set(change)
        _check(values)

        def work(connection: Connection) -> Budget:
            if values and not budgets.change(connection, scope, identifier, values):
                raise _missing(identifier)
            found = budgets.get(connection, scope, identifier)
            if found is None:
                raise _missing(identifier)
            return found

        changed = await self._database.write(work)
        if values:
            await self._audit.note(scope, "budget.changed", identifier, **_told(change))
            await self._changed()
        return (await self._states((changed,)))[0]

    async def end(self, scope: Scope, identifier: str) -> None:
        """End a budget; it binds nothing any more.

        Raises:
            NotFound: There is no such budget in the caller's organisation.
        """
        values = {"ended_ns": self._clock.now_ns()}
        if not await self._database.write(
            lambda connection: budgets.change(connection, scope, identifier, values)
        ):
            raise _missing(identifier)
        await self._audit.note(scope, "budget.ended", identifier)
        await self._changed()

    async def _states(self, found: Iterable[Budget]) -> list[BudgetState]:
        now_ns = self._clock.now_ns()
        spans = {one.id: Span(one.node_id, *span_of(one.period, now_ns)) for one in found}
        tails = await self._read(spans.values())
        return [_state(one, spans[one.id], tails) for one in found]

    async def _read(self, spans: Iterable[Span]) -> Tails:
        rows = await self._database.read(lambda connection: budgets.spending(connection, spans))
        tails = Tails(self._journals, rows)
        await asyncio.to_thread(tails.read_all)
        return tails


def _state(one: Budget, span: Span, tails: Tails) -> BudgetState:
    once = one.period == "once"
    return BudgetState(
        id=one.id,
        node_kind=one.node_kind,
        node_id=one.node_id,
        period=one.period,
        limit_nano=one.limit_nano,
        hard=one.hard,
        warn_percent=one.warn_percent,
        webhook_url=one.webhook_url,
        created_ns=one.created_ns,
        window_start_ns=one.created_ns if once else span.start_ns,
        window_end_ns=None if once else span.end_ns,
        spent_nano=sum(tails.charged(span).values()) - one.base_nano,
        held_nano=sum(tails.held(span).values()),
    )


def _set(change: BudgetChange) -> dict[str, Any]:
    values = msgspec.structs.asdict(change)
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


def _told(values: BudgetTerms | BudgetChange) -> dict[str, Any]:
    """What the chain says of a change; addresses may name people."""
    told: dict[str, Any] = msgspec.to_builtins(values)
    if "webhook_url" in told:
        told["webhook"] = told.pop("webhook_url") is not None
    return told


def _check(values: dict[str, Any]) -> None:
    """Refuse what cannot be meant.

    Raises:
        InvalidRequest: `param` says which value.
    """
    limit_nano = values.get("limit_nano", 0)
    if not 0 <= limit_nano <= LIMIT_NANO_MAX:
        raise InvalidRequest(
            f"limit_nano must be from 0 to {LIMIT_NANO_MAX} nano-dollars", param="limit_nano"
        )
    percents = values.get("warn_percent", ())
    rising = list(percents) == sorted(set(percents))
    if (
        not rising
        or len(percents) > _PERCENTS_MAX
        or not all(1 <= one <= _PERCENT_MAX for one in percents)
    ):
        raise InvalidRequest(
            f"warn_percent must be at most {_PERCENTS_MAX} rising numbers from 1 to {_PERCENT_MAX}",
            param="warn_percent",
        )
    url = values.get("webhook_url")
    if url is not None and not _is_address(url):
        raise InvalidRequest(
            "webhook_url must be an http:// or https:// address without a user name",
            param="webhook_url",
        )


def _is_address(url: str) -> bool:
    if len(url) > _URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        place = urlsplit(url)
        port = place.port
    except ValueError:
        return False
    named = place.scheme in {"http", "https"} and bool(place.hostname) and port != 0
    return named and "@" not in place.netloc


def _missing(identifier: str) -> NotFound:
    return NotFound(f"there is no budget {identifier}")
