"""Generations: the receipts of model calls, projected from the journal."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    RowMapping,
    Text,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store.schema import generation, projection
from headrace.store.visibility import visible_to


class Generation(msgspec.Struct, frozen=True, kw_only=True):
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
    unbilled_tokens: int = 0
    first_token_ms: int | None = None
    duration_ms: int | None = None
    stop: str | None = None
    error_kind: str | None = None


class Ending(msgspec.Struct, frozen=True, kw_only=True):
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


def position(connection: Connection, name: str) -> str | None:
    """How far the projection `name` has read, None before its first batch.

    Takes no scope: it belongs to the house.
    """
    return connection.scalar(select(projection.c.position).where(projection.c.name == name))


def move(connection: Connection, name: str, before: str | None, after: str) -> bool:
    """Move a projection on, unless another process has moved it meanwhile (then False)."""
    if before is None:
        made = _insert(connection)(projection).values(name=name, position=after)
        first = made.on_conflict_do_nothing().returning(projection.c.name)
        return connection.execute(first).first() is not None
    moved = (
        update(projection)
        .where(projection.c.name == name, projection.c.position == before)
        .values(position=after)
    )
    return connection.execute(moved).rowcount == 1


def project(connection: Connection, begun: Sequence[Generation], ended: Sequence[Ending]) -> None:
    """Write what a batch of the journal says. Doing it twice changes nothing.

    A call that begins and ends in one batch, as most do, is one row written once.

    Takes no scope: the rows carry their own.
    """
    open_ones = {one.id: one for one in begun}
    whole: list[Generation] = []
    later: list[Ending] = []
    for ending in ended:
        one = open_ones.pop(ending.id, None)
        if one is None:
            later.append(ending)
        else:
            whole.append(ending.over(one))
    statements = _statements(connection.dialect.name)
    if open_ones:
        connection.execute(statements.open, [_row(one) for one in open_ones.values()])
    if whole:
        connection.execute(statements.whole, [_row(one) for one in whole])
    if later:
        connection.execute(statements.close, [_ending(one) for one in later])


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


def get(connection: Connection, scope: Scope, identifier: str) -> Generation | None:
    """One receipt, None when there is none that `scope` may see."""
    query = select(generation).where(generation.c.id == identifier, visible_to(scope, generation))
    row = connection.execute(query).mappings().first()
    return None if row is None else _from_row(row)


def recent(
    connection: Connection, scope: Scope, *, limit: int, before: str | None = None
) -> tuple[Generation, ...]:
    """The newest receipts that `scope` may see, newest first; older than id `before`."""
    query = select(generation).where(visible_to(scope, generation))
    if before is not None:
        query = query.where(generation.c.id < before)
    rows = connection.execute(query.order_by(generation.c.id.desc()).limit(limit))
    return tuple(_from_row(row) for row in rows.mappings())


_FIGURES = (
    "price_nano",
    "loss_nano",
    "saved_nano",
    "estimated",
    "images",
    "machine_ns",
    "prefill_machine_ns",
    "unbilled_tokens",
)
_ENDING_COLUMNS = (
    "stop",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_written_tokens",
    "cache_written_long_tokens",
    "cost_nano",
    "first_token_ms",
    "duration_ms",
    "error_kind",
    *_FIGURES,
)


def _set_later() -> dict[str, ColumnElement[Any]]:
    """What the ending of a call that began earlier sets."""
    columns: dict[str, ColumnElement[Any]] = {name: bindparam(name) for name in _ENDING_COLUMNS}
    for name in _REPLACED:
        columns[name] = func.coalesce(bindparam(f"_{name}", type_=Text), generation.c[name])
    return columns


class _Statements(NamedTuple):
    """What writes a batch: calls that began, that began and ended, and that ended."""

    open: Executable
    whole: Executable
    close: Executable


@cache
def _statements(dialect: str) -> _Statements:
    """Made once: making them costs more than a small batch, and leaves cycles for the collector."""
    insert = sqlite.Insert if dialect == "sqlite" else postgresql.Insert
    whole = insert(generation)
    return _Statements(
        insert(generation).on_conflict_do_nothing(index_elements=["id"]),
        whole.on_conflict_do_update(
            index_elements=["id"],
            set_={name: whole.excluded[name] for name in (*_ENDING_COLUMNS, *_REPLACED)},
            where=generation.c.stop.is_(None),
        ),
        update(generation)
        .where(generation.c.id == bindparam("_id"), generation.c.stop.is_(None))
        .values(_set_later()),
    )


def _insert(connection: Connection) -> type[sqlite.Insert] | type[postgresql.Insert]:
    return sqlite.Insert if connection.dialect.name == "sqlite" else postgresql.Insert


def _row(one: Generation) -> dict[str, object]:
    row = msgspec.structs.asdict(one)
    del row["usage"]
    row["estimated"] = int(one.estimated)
    return row | _tokens(one.usage)


def _tokens(used: Usage | None) -> dict[str, object]:
    return {f"{kind}_tokens": used and getattr(used, kind) for kind in Usage.__struct_fields__}


def _ending(ended: Ending) -> dict[str, object]:
    return {
        "_id": ended.id,
        "stop": ended.stop,
        **_tokens(ended.usage),
        "cost_nano": ended.cost_nano,
        "first_token_ms": ended.first_token_ms,
        "duration_ms": ended.duration_ms,
        "error_kind": ended.error_kind,
        **{name: int(getattr(ended, name)) for name in _FIGURES},
        "_release_digest": ended.release_digest,
        "_engine": ended.engine,
    }


def _from_row(row: RowMapping) -> Generation:
    values = dict(row)
    tokens = {kind: values.pop(f"{kind}_tokens") for kind in Usage.__struct_fields__}
    # Older rows do not tell how much was written to a cache.
    usage = None if tokens["input"] is None else Usage(**{k: n or 0 for k, n in tokens.items()})
    values |= {name: values[name] or 0 for name in ("held_nano", *_FIGURES)}
    values["estimated"] = bool(values["estimated"])
    return Generation(usage=usage, **values)
