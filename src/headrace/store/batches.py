"""Rows of batches and their lines.

A line's result and its status are written together, and only while the line is pending: so a
line that was computed twice, as after a crash, is recorded once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from headrace.core.batches import (
    ENDED,
    Batch,
    Counts,
    Done,
    Ended,
    Fault,
    Line,
    LineStatus,
    Status,
)
from headrace.core.errors import Conflict, NotFound
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store.schema import batch, batch_line
from headrace.store.statements import insert_of
from headrace.store.visibility import visible_to

ANTHROPIC = "anthropic"


class BatchPage(msgspec.Struct, frozen=True):
    """Some of a list's batches, and whether more come after them in the direction read."""

    batches: tuple[Batch, ...]
    more: bool


def create(connection: Connection, made: Batch) -> None:
    """A new batch, without lines."""
    row = {
        name: getattr(made, name)
        for name in Batch.__struct_fields__
        if name not in {"headers", "metadata", "errors", "counts", "usage"}
    }
    row |= {"headers": _json(made.headers), "metadata": _json_or_none(made.metadata)}
    connection.execute(insert(batch).values(row))


def add_lines(connection: Connection, owner: Batch, lines: Sequence[Line]) -> None:
    """Lines that wait to be run; those that are there already stay as they are."""
    rows = [
        {
            "batch_id": owner.id,
            "number": line.number,
            "organisation_id": owner.organisation_id,
            "account_id": owner.account_id,
            "custom_id": line.custom_id,
            "body": line.body,
            "status": "pending",
        }
        for line in lines
    ]
    connection.execute(insert_of(connection)(batch_line).on_conflict_do_nothing(), rows)


def get(connection: Connection, scope: Scope, identifier: str, *, anthropic: bool) -> Batch:
    """One batch of either family of dialects.

    Raises:
        NotFound: There is none that `scope` may see.
    """
    row = connection.execute(select(batch).where(_seen(scope, identifier, anthropic))).first()
    if row is None:
        raise NotFound("there is no such batch")
    return _with_counts(connection, [row])[0]


def page(
    connection: Connection,
    scope: Scope,
    *,
    anthropic: bool,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> BatchPage:
    """Up to `limit` batches of a family of dialects that `scope` may see, newest first.

    Args:
        connection: An open transaction.
        scope: Who asks.
        anthropic: Which family.
        limit: How many at most.
        after: The id of the batch that they come after.
        before: The id of the batch that they come before; they are the nearest to it.
    """
    query = select(batch).where(visible_to(scope, batch), _of_family(anthropic))
    backwards = before is not None and after is None
    if after is not None:
        query = query.where(batch.c.id < after)
    elif before is not None:
        query = query.where(batch.c.id > before)
    order = batch.c.id.asc() if backwards else batch.c.id.desc()
    rows = connection.execute(query.order_by(order).limit(limit + 1)).all()
    found = list(rows[:limit])
    if backwards:
        found.reverse()
    return BatchPage(_with_counts(connection, found), len(rows) > limit)


def cancel(
    connection: Connection, scope: Scope, identifier: str, *, anthropic: bool, now_ns: int
) -> Batch:
    """Say that a batch is to end; cancelling twice changes nothing.

    Raises:
        NotFound: There is none that `scope` may see.
        Conflict: It has ended already.
    """
    found = get(connection, scope, identifier, anthropic=anthropic)
    if found.status in ENDED:
        raise Conflict(f"a batch that is {found.status} cannot be cancelled")
    _change(
        connection,
        identifier,
        ("validating", "in_progress"),
        status="cancelling",
        cancelling_ns=now_ns,
    )
    return get(connection, scope, identifier, anthropic=anthropic)


def remove(connection: Connection, scope: Scope, identifier: str, *, anthropic: bool) -> None:
    """Delete a batch that has ended, with its lines.

    Raises:
        NotFound: There is none that `scope` may see.
        Conflict: It has not ended.
    """
    found = get(connection, scope, identifier, anthropic=anthropic)
    if found.status not in ENDED:
        raise Conflict("a batch that has not ended cannot be deleted", hint="cancel it first")
    discard(connection, identifier)


# What follows takes no scope: the runner works for everybody.


def unfinished(connection: Connection) -> tuple[Batch, ...]:
    """Every batch that has not ended, oldest first, without its counts."""
    query = select(batch).where(batch.c.ended_ns.is_(None)).order_by(batch.c.id)
    return tuple(_batch(row, Counts()) for row in connection.execute(query))


def find(connection: Connection, identifier: str) -> Batch | None:
    """A batch as it stands, without its counts."""
    row = connection.execute(select(batch).where(batch.c.id == identifier)).first()
    return None if row is None else _batch(row, Counts())


def discard(connection: Connection, identifier: str) -> None:
    """Delete a batch with its lines, whatever its state."""
    connection.execute(delete(batch).where(batch.c.id == identifier))


def start(connection: Connection, identifier: str, *, now_ns: int) -> None:
    """Its input is checked and all its lines are there; not where it was cancelled meanwhile."""
    _change(connection, identifier, ("validating",), status="in_progress", started_ns=now_ns)


def fail(connection: Connection, identifier: str, faults: Sequence[Fault], *, now_ns: int) -> None:
    """Its input cannot be taken."""
    _change(
        connection,
        identifier,
        ("validating", "cancelling"),
        status="failed",
        errors=_json(list(faults)),
        counts=_json(Counts()),
        ended_ns=now_ns,
    )


def pending(connection: Connection, identifier: str, *, after: int, limit: int) -> tuple[int, ...]:
    """The numbers of lines that wait, from the first behind `after`."""
    query = (
        select(batch_line.c.number)
        .where(
            batch_line.c.batch_id == identifier,
            batch_line.c.status == "pending",
            batch_line.c.number > after,
        )
        .order_by(batch_line.c.number)
        .limit(limit)
    )
    return tuple(connection.scalars(query))


def line(connection: Connection, identifier: str, number: int) -> Line | None:
    """A line that waits; None when it does not any more."""
    query = select(batch_line.c.number, batch_line.c.custom_id, batch_line.c.body).where(
        batch_line.c.batch_id == identifier,
        batch_line.c.number == number,
        batch_line.c.status == "pending",
    )
    row = connection.execute(query).first()
    return None if row is None else Line(row.number, row.custom_id, row.body)


def waiting(connection: Connection, identifier: str, *, limit: int) -> tuple[tuple[int, str], ...]:
    """Number and custom id of the first lines that wait."""
    query = (
        select(batch_line.c.number, batch_line.c.custom_id)
        .where(batch_line.c.batch_id == identifier, batch_line.c.status == "pending")
        .order_by(batch_line.c.number)
        .limit(limit)
    )
    return tuple((row.number, row.custom_id) for row in connection.execute(query))


def record(connection: Connection, identifier: str, done: Sequence[Done]) -> None:
    """How lines ended, unless that is known already."""
    rows = [
        {
            "_number": each.number,
            "status": each.status,
            "result": each.result,
            "usage": _json_or_none(each.usage),
            "generation_id": each.generation_id,
        }
        for each in done
    ]
    columns = ("status", "result", "usage", "generation_id")
    connection.execute(
        update(batch_line)
        .where(
            batch_line.c.batch_id == identifier,
            batch_line.c.number == bindparam("_number"),
            batch_line.c.status == "pending",
        )
        .values({name: bindparam(name) for name in columns}),
        rows,
    )


def finalize(
    connection: Connection, identifier: str, leave: LineStatus | None, *, now_ns: int
) -> None:
    """No line runs any more; those that wait become `leave`."""
    if leave is not None:
        connection.execute(
            update(batch_line)
            .where(batch_line.c.batch_id == identifier, batch_line.c.status == "pending")
            .values(status=leave)
        )
    _change(connection, identifier, ("validating", "in_progress"), status="finalizing")
    connection.execute(
        update(batch)
        .where(batch.c.id == identifier, batch.c.finalizing_ns.is_(None))
        .values(finalizing_ns=now_ns)
    )


def finish(
    connection: Connection,
    identifier: str,
    *,
    now_ns: int,
    usage: Usage | None = None,
    output_file_id: str | None = None,
    error_file_id: str | None = None,
) -> None:
    """The last step: its results can be fetched. How it ended is seen by its lines."""
    counts = _counts(connection, [identifier]).get(identifier, Counts())
    values = {
        "counts": _json(counts),
        "usage": _json_or_none(usage),
        "output_file_id": output_file_id,
        "error_file_id": error_file_id,
        "ended_ns": now_ns,
    }
    # Without any line its day was over before its input was read.
    over: Status = "expired" if counts.expired or not counts.total else "completed"
    _change(connection, identifier, ("finalizing",), status=over, **values)
    _change(connection, identifier, ("cancelling",), status="cancelled", **values)


def ended(connection: Connection, identifier: str, *, after: int, limit: int) -> tuple[Ended, ...]:
    """Lines that have ended, in the order of the input, from the first behind `after`."""
    query = (
        select(
            batch_line.c.number,
            batch_line.c.custom_id,
            batch_line.c.status,
            batch_line.c.result,
            batch_line.c.usage,
        )
        .where(
            batch_line.c.batch_id == identifier,
            batch_line.c.status != "pending",
            batch_line.c.number > after,
        )
        .order_by(batch_line.c.number)
        .limit(limit)
    )
    return tuple(
        Ended(row.number, row.custom_id, row.status, row.result, _usage(row.usage))
        for row in connection.execute(query)
    )


def spent(connection: Connection, *, anthropic_before_ns: int, limit: int) -> tuple[str, ...]:
    """Ended batches whose lines nobody needs any more.

    Those of OpenAI's dialects, whose results stand in files, and Anthropic's made before then.
    """
    over = or_(batch.c.dialect != ANTHROPIC, batch.c.created_ns < anthropic_before_ns)
    query = (
        select(batch.c.id)
        .where(
            batch.c.ended_ns.is_not(None), over, exists().where(batch_line.c.batch_id == batch.c.id)
        )
        .limit(limit)
    )
    return tuple(connection.scalars(query))


def drop_lines(connection: Connection, identifier: str, *, limit: int) -> int:
    """Delete some lines of a batch; returns how many."""
    numbers = (
        select(batch_line.c.number)
        .where(batch_line.c.batch_id == identifier)
        .order_by(batch_line.c.number)
        .limit(limit)
    )
    gone = delete(batch_line).where(
        batch_line.c.batch_id == identifier, batch_line.c.number.in_(numbers)
    )
    return connection.execute(gone).rowcount


def _seen(scope: Scope, identifier: str, anthropic: bool) -> ColumnElement[bool]:  # noqa: FBT001 - passed on
    return (batch.c.id == identifier) & visible_to(scope, batch) & _of_family(anthropic)


def _of_family(anthropic: bool) -> ColumnElement[bool]:  # noqa: FBT001 - passed on
    return batch.c.dialect == ANTHROPIC if anthropic else batch.c.dialect != ANTHROPIC


def _change(
    connection: Connection, identifier: str, before: Sequence[Status], **values: object
) -> None:
    """Set columns where the batch is in one of these states."""
    connection.execute(
        update(batch).where(batch.c.id == identifier, batch.c.status.in_(before)).values(values)
    )


def _with_counts(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Batch, ...]:
    live = _counts(connection, [row.id for row in rows if row.counts is None])
    return tuple(
        _batch(
            row,
            msgspec.json.decode(row.counts, type=Counts)
            if row.counts is not None
            else live.get(row.id, Counts()),
        )
        for row in rows
    )


def _counts(connection: Connection, identifiers: Sequence[str]) -> Mapping[str, Counts]:
    if not identifiers:
        return {}
    query = (
        select(batch_line.c.batch_id, batch_line.c.status, func.count())
        .where(batch_line.c.batch_id.in_(identifiers))
        .group_by(batch_line.c.batch_id, batch_line.c.status)
    )
    found: dict[str, dict[str, int]] = {}
    for identifier, status, count in connection.execute(query):
        found.setdefault(identifier, {})[status] = count
    return {identifier: Counts(**counted) for identifier, counted in found.items()}


def _batch(row: Row[Any], counts: Counts) -> Batch:
    return Batch(
        id=row.id,
        organisation_id=row.organisation_id,
        account_id=row.account_id,
        key_id=row.key_id,
        dialect=row.dialect,
        endpoint=row.endpoint,
        status=row.status,
        created_ns=row.created_ns,
        expires_ns=row.expires_ns,
        headers=msgspec.json.decode(row.headers, type=dict[str, str]),
        input_file_id=row.input_file_id,
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
        output_expires_s=row.output_expires_s,
        metadata=row.metadata and msgspec.json.decode(row.metadata, type=dict[str, str]),
        errors=msgspec.json.decode(row.errors, type=tuple[Fault, ...]) if row.errors else (),
        counts=counts,
        usage=_usage(row.usage),
        started_ns=row.started_ns,
        finalizing_ns=row.finalizing_ns,
        cancelling_ns=row.cancelling_ns,
        ended_ns=row.ended_ns,
    )


def _usage(text: str | None) -> Usage | None:
    return None if text is None else msgspec.json.decode(text, type=Usage)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _json_or_none(value: object) -> str | None:
    return None if value is None else _json(value)
