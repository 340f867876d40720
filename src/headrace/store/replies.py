"""Running replies: their events while they run, and how they become final.

A reply that runs has its new events here, a row for each flush, so that a killed process loses
no more than it had not flushed. Once the message is final it holds the text, and the rows go.
"""

from collections.abc import Sequence
from functools import reduce

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from headrace.core.events import join
from headrace.core.messages import Part, Text
from headrace.core.scope import Scope
from headrace.store.conversations import owned
from headrace.store.messages import (
    Fault,
    Receipt,
    Status,
    TreeMessage,
    decode_parts,
    get_message,
)
from headrace.store.schema import message, reply_event

UNFLUSHED_EVENTS_MAX = 5_000
"""Events that a reply may hold which are not stored yet."""

VERSION = 1


class ReplyEvent(msgspec.Struct, frozen=True):
    """More of the part at `index`; numbered without gaps. It is stored as it is sent."""

    seq: int
    index: int
    part: Part
    v: int = VERSION


class EventBatch(msgspec.Struct, frozen=True):
    """The events of one reply since its last flush.

    `payload` is a JSON array of them, `seq` the number of the last. `generation_id` is set when
    it became known in between.
    """

    scope: Scope
    message_id: str
    seq: int
    payload: str
    generation_id: str | None = None


class FinalReply(msgspec.Struct, frozen=True):
    """A reply that will not change any more."""

    status: Status
    parts: tuple[Part, ...]
    seq: int
    generation_id: str | None
    receipt: Receipt | None
    error: Fault | None


class PartsBuilder:
    """Grows the parts of a message from deltas, in time proportional to the text."""

    def __init__(self, parts: tuple[Part, ...] = ()) -> None:
        self._pieces: list[list[Part]] = [[part] for part in parts]

    def add(self, index: int, part: Part) -> None:
        """Append to the part at `index`, or begin it."""
        if index == len(self._pieces):
            self._pieces.append([])
        self._pieces[index].append(part)

    def parts(self) -> tuple[Part, ...]:
        """The parts as they stand."""
        self._pieces = [[_merged(pieces)] for pieces in self._pieces]
        return tuple(pieces[0] for pieces in self._pieces)


def _merged(pieces: list[Part]) -> Part:
    texts = [piece.text for piece in pieces if isinstance(piece, Text)]
    if len(texts) == len(pieces):
        return Text("".join(texts))
    return reduce(join, pieces)


def append_events(connection: Connection, batches: Sequence[EventBatch]) -> frozenset[str]:
    """Store the new events of many replies at once.

    Takes no scope: each batch carries its own.

    Returns:
        Ids of messages that are not running any more; nothing was stored for those.
    """
    wanted = {batch.message_id for batch in batches}
    query = select(message.c.id).where(message.c.id.in_(wanted), message.c.status == "running")
    running = set(connection.scalars(query))
    rows = [
        {
            "message_id": batch.message_id,
            "seq": batch.seq,
            "organisation_id": batch.scope.organisation_id,
            "account_id": batch.scope.account_id,
            "payload": batch.payload,
        }
        for batch in batches
        if batch.message_id in running
    ]
    if rows:
        connection.execute(insert(reply_event), rows)
    for batch in batches:
        if batch.generation_id is not None:
            connection.execute(
                update(message)
                .where(message.c.id == batch.message_id, owned(message, batch.scope))
                .values(generation_id=batch.generation_id)
            )
    return frozenset(wanted - running)


def load_events(
    connection: Connection, scope: Scope, message_id: str, *, after: int, rows_max: int
) -> tuple[ReplyEvent, ...]:
    """Stored events after number `after`, in order, from at most `rows_max` rows."""
    query = (
        select(reply_event.c.payload)
        .where(
            reply_event.c.message_id == message_id,
            reply_event.c.seq > after,
            owned(reply_event, scope),
        )
        .order_by(reply_event.c.seq)
        .limit(rows_max)
    )
    return _events(connection.scalars(query).all(), after)


def finish_reply(
    connection: Connection, scope: Scope, conversation_id: str, message_id: str, final: FinalReply
) -> TreeMessage | None:
    """Make a running reply final and drop its events; the first caller wins.

    Returns:
        The message as it stands now, None if it was deleted.
    """
    found = connection.execute(
        update(message)
        .where(message.c.id == message_id, message.c.status == "running", owned(message, scope))
        .values(
            status=final.status,
            parts=_json(final.parts),
            seq=final.seq,
            generation_id=final.generation_id,
            receipt=None if final.receipt is None else _json(final.receipt),
            error=None if final.error is None else _json(final.error),
        )
    )
    if found.rowcount:
        _delete_events(connection, message_id)
    elif not connection.scalar(
        select(message.c.id).where(message.c.id == message_id, owned(message, scope))
    ):
        return None
    return get_message(connection, scope, conversation_id, message_id)


def interrupt_running(connection: Connection) -> int:
    """Make every running reply interrupted, with all its stored text; returns how many.

    Called once at start, when whatever runs in the database belongs to a process that is gone.
    Takes no scope: it is the house that cleans up after itself.
    """
    query = select(message.c.id, message.c.parts, message.c.seq).where(
        message.c.status == "running"
    )
    found = connection.execute(query).all()
    for row in found:
        builder, seq = PartsBuilder(decode_parts(row.parts)), row.seq
        payloads = connection.scalars(
            select(reply_event.c.payload)
            .where(reply_event.c.message_id == row.id)
            .order_by(reply_event.c.seq)
        )
        for event in _events(payloads.all(), seq):
            builder.add(event.index, event.part)
            seq = event.seq
        # Readers may have seen events that were lost. Their numbers are never given again, so
        # that no reader takes the events of a continued reply for what follows on those.
        seq += UNFLUSHED_EVENTS_MAX
        connection.execute(
            update(message)
            .where(message.c.id == row.id)
            .values(status="interrupted", parts=_json(builder.parts()), seq=seq)
        )
        _delete_events(connection, row.id)
    return len(found)


def _events(payloads: Sequence[str], after: int) -> tuple[ReplyEvent, ...]:
    """The events in rows after number `after`.

    Rows may overlap: a flush whose success was not heard of is stored again.
    """
    events: list[ReplyEvent] = []
    for payload in payloads:
        for event in msgspec.json.decode(payload, type=list[ReplyEvent]):
            if event.seq > after:
                events.append(event)
                after = event.seq
    return tuple(events)


def _delete_events(connection: Connection, message_id: str) -> None:
    connection.execute(delete(reply_event).where(reply_event.c.message_id == message_id))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
