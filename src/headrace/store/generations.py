"""Generations: the receipts of model calls, projected from the journal."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    literal,
    select,
    tuple_,
    update,
)

from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store.schema import generation, projection
from headrace.store.schema_ledger import SPEND_DIMENSIONS, spend_day, spend_month
from headrace.store.statements import insert_of, run_many, select_among
from headrace.store.visibility import sees_figures


class Generation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The receipt of one model call. `stop` is None while it runs.

    `held_nano` was reserved for it, `price_nano` is charged, `cost_nano` is what it cost us; see
    `ledger/records.py` for the other figures.
    """

    id: str
    organisation_id: str
    account_id: str
    worker: str
    key_id: str
    purpose: str
    model_id: str
    release_digest: str
    engine: str
    dialect: str
    started_ns: int
    parent_id: str | None = None
    team_id: str | None = None
    conversation_id: str | None = None
    idempotency_id: str | None = None
    tier: str | None = None
    price_id: str | None = None
    held_nano: int = 0
    usage: Usage | None = None
    price_nano: int = 0
    loss_nano: int = 0
    saved_nano: int = 0
    cost_nano: int | None = None
    estimated: bool = False
    images: int = 0
    machine_ns: int = 0
    prefill_machine_ns: int = 0
    machine: str | None = None
    unbilled_tokens: int = 0
    first_token_ms: int | None = None
    duration_ms: int | None = None
    stop: str | None = None
    error_kind: str | None = None


class Ending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a generation ended; applied once, the first ending counts.

    `release_digest` and `engine` replace those of its opening where they are set.
    """

    id: str
    stop: str
    usage: Usage | None
    cost_nano: int
    first_token_ms: int | None
    duration_ms: int | None
    error_kind: str | None
    release_digest: str | None = None
    engine: str | None = None
    price_nano: int = 0
    loss_nano: int = 0
    saved_nano: int = 0
    estimated: bool = False
    images: int = 0
    machine_ns: int = 0
    prefill_machine_ns: int = 0
    machine: str | None = None
    unbilled_tokens: int = 0

    def over(self, begun: Generation) -> Generation:
        """The receipt with its ending."""
        known = {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if value is not None or name not in _REPLACED
        }
        return msgspec.structs.replace(begun, **known)


_REPLACED = ("release_digest", "engine")


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Receipts to look for: begun from `from_ns` on and before `to_ns`, and of all of these.

    An empty `team_id` means calls of no team.
    """

    from_ns: int | None = None
    to_ns: int | None = None
    team_id: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    model_id: str | None = None
    release_digest: str | None = None
    purpose: str | None = None
    machine: str | None = None
    conversation_id: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same as conditions on the rows."""
        found = [
            generation.c[name] == (getattr(self, name) or None)
            for name in self.__struct_fields__[2:]
            if getattr(self, name) is not None
        ]
        if self.from_ns is not None:
            found.append(generation.c.started_ns >= self.from_ns)
        if self.to_ns is not None:
            found.append(generation.c.started_ns < self.to_ns)
        return found


EVERY = Which()


class Settled(NamedTuple):
    """A call that has just ended; `begun` names the release and engine that answered."""

    begun: Generation
    ending: Ending


def position(connection: Connection, name: str) -> str | None:
    """How far the projection `name` has read, None before its first batch.

    Takes no scope: it belongs to the house.
    """
    return connection.scalar(select(projection.c.position).where(projection.c.name == name))


def move(connection: Connection, name: str, before: str | None, after: str) -> bool:
    """Move a projection on, unless another process has moved it meanwhile (then False)."""
    if before is None:
        made = insert_of(connection)(projection).values(name=name, position=after)
        first = made.on_conflict_do_nothing().returning(projection.c.name)
        return connection.execute(first).first() is not None
    moved = (
        update(projection)
        .where(projection.c.name == name, projection.c.position == before)
        .values(position=after)
    )
    return connection.execute(moved).rowcount == 1


def project(
    connection: Connection, begun: Sequence[Generation], ended: Sequence[Ending]
) -> list[Settled]:
    """Write what a batch of the journal says. Doing it twice changes nothing.

    A call that begins and ends in one batch, as most do, is one row written once. Statements
    are written out, as each call pays for them: SQLAlchemy would take most of the time.

    Takes no scope: the rows carry their own.

    Returns:
        The calls that ended by this, each with its first ending; those that had ended before
        are not among them.
    """
    known = _known(connection, [one.id for one in begun])
    open_ones = {one.id: one for one in begun if one.id not in known}
    whole: list[Settled] = []
    later: dict[str, Ending] = {}
    settled: set[str] = set()
    for ending in ended:
        if ending.id in settled:
            continue
        settled.add(ending.id)
        one = open_ones.pop(ending.id, None)
        if one is None:
            later[ending.id] = ending
        else:
            whole.append(Settled(_answered(one, ending), ending))
    if open_ones:
        rows = [_begun_values(one) for one in open_ones.values()]
        run_many(connection, _INSERT_OPEN, rows)
    if whole:
        run_many(
            connection, _INSERT_WHOLE, [(*_begun_values(o), *_end_values(e)) for o, e in whole]
        )
    return whole + _close(connection, later) if later else whole


def _answered(begun: Generation, ending: Ending) -> Generation:
    """The beginning, with the target that answered at last."""
    if ending.release_digest is None and ending.engine is None:
        return begun
    return msgspec.structs.replace(
        begun,
        release_digest=ending.release_digest or begun.release_digest,
        engine=ending.engine or begun.engine,
    )


def _known(connection: Connection, identifiers: list[str]) -> set[str]:
    """Those of the ids that have rows: none, unless something is replayed."""
    return {row[0] for row in select_among(connection, "SELECT id FROM generation", identifiers)}


def _close(connection: Connection, later: dict[str, Ending]) -> list[Settled]:
    """End calls whose rows are there already."""
    rows = select_among(connection, _SELECT_BEGUN, list(later), where="stop IS NULL")
    settled = [Settled(_answered(one, later[one.id]), later[one.id]) for one in map(_begun, rows)]
    values = [
        (*_end_values(ending), one.release_digest, one.engine, one.id) for one, ending in settled
    ]
    if values:
        run_many(connection, _UPDATE_ENDED, values)
    return settled


def ended(connection: Connection, identifiers: Sequence[str]) -> list[Generation]:
    """The beginnings of those of these calls that have ended.

    Takes no scope: the projection asks for calls of anybody.
    """
    rows = select_among(connection, _SELECT_BEGUN, identifiers, where="stop IS NOT NULL")
    return [_begun(row) for row in rows]


def unfinished(connection: Connection, worker: str) -> tuple[str, ...]:
    """Ids of the generations that this worker's journal opened and never closed.

    Takes no scope: the worker settles what its dead predecessor left, whoever's it is.
    """
    query = (
        select(generation.c.id)
        .where(generation.c.worker == worker, generation.c.stop.is_(None))
        .order_by(generation.c.id)
    )
    return tuple(connection.scalars(query))


def of_work(connection: Connection, work_id: str) -> dict[str, int]:
    """What the calls of a piece of work were charged, by their ids.

    Takes no scope: only the account's own requests can have that id.
    """
    query = select(generation.c.id, generation.c.price_nano).where(
        generation.c.idempotency_id == work_id
    )
    return {row.id: row.price_nano or 0 for row in connection.execute(query)}


def get(connection: Connection, scope: Scope, identifier: str) -> Generation | None:
    """One receipt, None when there is none that `scope` may see."""
    query = select(generation).where(generation.c.id == identifier)
    row = connection.execute(query).mappings().first()
    if row is None or row["organisation_id"] != scope.organisation_id:
        return None
    if row["account_id"] != scope.account_id and not sees_figures(connection, scope):
        return None
    return from_row(row)


def recent(
    connection: Connection,
    scope: Scope,
    *,
    limit: int,
    before: str | None = None,
    which: Which = EVERY,
) -> tuple[Generation, ...]:
    """The newest receipts that `scope` may see, newest first.

    Args:
        connection: Of a read.
        scope: Who asks.
        limit: How many at most.
        before: Only those that are listed behind this one.
        which: What else must hold of them.
    """
    if not sees_figures(connection, scope):
        if which.account_id not in {None, scope.account_id}:
            return ()
        which = msgspec.structs.replace(which, account_id=scope.account_id)
    organisation = generation.c.organisation_id
    if which.conversation_id is not None:
        # An expression, so that SQLite uses the conversations' index and not the one of this.
        organisation = organisation.concat("")
    conditions = [organisation == scope.organisation_id, *which.conditions()]
    if before is not None:
        begun_ns = connection.scalar(
            select(generation.c.started_ns).where(generation.c.id == before)
        )
        if begun_ns is None:
            return ()
        place = tuple_(generation.c.started_ns, generation.c.id)
        conditions.append(place < tuple_(literal(begun_ns), literal(before)))
        which = msgspec.structs.replace(which, to_ns=min(begun_ns + 1, which.to_ns or begun_ns + 1))
    anything = all(getattr(which, name) is None for name in _TOLD_BY_SUMS)
    if anything or which.conversation_id is not None:
        return tuple(_newest(connection, conditions, limit))
    # Those wanted may be rare: sums tell where to look, or everything would be read.
    found: list[Generation] = []
    for day_ns, accounts in _days(connection, scope, which):
        if len(found) == limit:
            break
        started = generation.c.started_ns
        whose = generation.c.account_id.in_(accounts)
        there = [*conditions, whose, started >= day_ns, started < day_ns + _DAY_NS]
        found += _newest(connection, there, limit - len(found))
    return tuple(found)


def _newest(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[Generation]:
    newest = (generation.c.started_ns.desc(), generation.c.id.desc())
    query = select(generation).where(*conditions).order_by(*newest).limit(limit)
    return [from_row(row) for row in connection.execute(query).mappings()]


def _days(
    connection: Connection, scope: Scope, which: Which
) -> Iterator[tuple[int, AbstractSet[str]]]:
    """The days that hold such calls, newest first, each with the accounts whose they are."""
    began = select(generation.c.started_ns, generation.c.account_id)
    running = sorted(
        (
            (started_ns - started_ns % _DAY_NS, account_id)
            for started_ns, account_id in connection.execute(
                began.where(generation.c.stop.is_(None))
            )
        ),
        reverse=True,
    )
    ended = _days_of_sums(connection, scope, which)
    both = heapq.merge(ended, running, key=_day_of, reverse=True)
    for day_ns, some in groupby(both, key=_day_of):
        yield day_ns, {account_id for _, account_id in some}


def _days_of_sums(connection: Connection, scope: Scope, which: Which) -> Iterator[tuple[int, str]]:
    """The days and accounts of such calls that have ended, newest first."""
    from_ns, to_ns = which.from_ns or 0, which.to_ns

    def such(table: Table) -> list[ColumnElement[bool]]:
        same = ((name, getattr(which, name)) for name in SPEND_DIMENSIONS)
        return [
            table.c.organisation_id == scope.organisation_id,
            *(table.c[name] == value for name, value in same if value is not None),
        ]

    month, day = spend_month.c.month_ns, spend_day.c.day_ns
    months = select(month).where(*such(spend_month)).distinct().order_by(month.desc())
    for month_ns in connection.scalars(months).all():
        if to_ns is None or month_ns < to_ns:
            first_ns = max(month_ns, from_ns - from_ns % _DAY_NS)
            within = [day >= first_ns, *(() if to_ns is None else (day < to_ns,))]
            days = select(day, spend_day.c.account_id).where(*such(spend_day), *within)
            for row in connection.execute(days.distinct().order_by(day.desc())):
                yield row[0], row[1]
            to_ns = month_ns
        if month_ns <= from_ns:
            return


_TOLD_BY_SUMS = tuple(name for name in SPEND_DIMENSIONS if name != "account_id")
_DAY_NS = 86_400_000_000_000
_day_of: Callable[[tuple[int, str]], int] = itemgetter(0)

_BEGUN = (
    "id",
    "organisation_id",
    "account_id",
    "worker",
    "key_id",
    "purpose",
    "model_id",
    "release_digest",
    "engine",
    "dialect",
    "started_ns",
    "parent_id",
    "team_id",
    "conversation_id",
    "idempotency_id",
    "tier",
    "price_id",
    "held_nano",
)
_FIGURES = (
    "price_nano",
    "loss_nano",
    "saved_nano",
    "images",
    "machine_ns",
    "prefill_machine_ns",
    "unbilled_tokens",
)
_ENDED = (
    "stop",
    "cost_nano",
    "first_token_ms",
    "duration_ms",
    "error_kind",
    "machine",
    *_FIGURES,
)
_TOKENS = tuple(f"{kind}_tokens" for kind in Usage.__struct_fields__)
_END_COLUMNS = (*_ENDED, "estimated", *_TOKENS)
_UNKNOWN_TOKENS = (None,) * len(_TOKENS)
_begun_values: Callable[[Generation], tuple[Any, ...]] = attrgetter(*_BEGUN)
_ended_values: Callable[[Ending], tuple[Any, ...]] = attrgetter(*_ENDED)


def _insert_text(columns: Sequence[str]) -> str:
    values = ", ".join("?" * len(columns))
    return f"INSERT INTO generation ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - names above


_SELECT_BEGUN = f"SELECT {', '.join(_BEGUN)}, machine FROM generation"  # noqa: S608 - names above
_INSERT_OPEN = _insert_text(_BEGUN)
_INSERT_WHOLE = _insert_text((*_BEGUN, *_END_COLUMNS))
_UPDATE_ENDED = (
    f"UPDATE generation SET {', '.join(f'{name} = ?' for name in _END_COLUMNS)},"  # noqa: S608 - as above
    " release_digest = ?, engine = ? WHERE id = ? AND stop IS NULL"
)


def _begun(row: Sequence[Any]) -> Generation:
    """A row of `_SELECT_BEGUN`."""
    values: dict[str, Any] = dict(zip((*_BEGUN, "machine"), row, strict=True))
    values["held_nano"] = values["held_nano"] or 0  # NULL in rows of older versions
    return Generation(**values)


def _end_values(ended: Ending) -> tuple[Any, ...]:
    """In the order of `_END_COLUMNS`."""
    used = ended.usage
    tokens = _UNKNOWN_TOKENS if used is None else msgspec.structs.astuple(used)
    return (*_ended_values(ended), int(ended.estimated), *tokens)


def from_row(row: RowMapping) -> Generation:
    """A receipt of all its columns."""
    values = dict(row)
    tokens = {kind: values.pop(f"{kind}_tokens") for kind in Usage.__struct_fields__}
    # Older rows do not tell how much was written to a cache.
    usage = None if tokens["input"] is None else Usage(**{k: n or 0 for k, n in tokens.items()})
    values |= {name: values[name] or 0 for name in ("held_nano", *_FIGURES)}
    values["estimated"] = bool(values["estimated"])
    return Generation(usage=usage, **values)
