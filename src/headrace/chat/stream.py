"""A reply as server-sent events: replay what the reader has not seen, then tail.

A connection owns nothing: it may come late, lag, break and come again with the number of the
last event it saw. It pulls, so a slow one never holds up the reply.
"""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from sqlalchemy import Connection

from headrace.chat.reply import Reply
from headrace.chat.views import show_message
from headrace.core.errors import NotFound
from headrace.store.database import Database
from headrace.store.messages import TreeMessage
from headrace.store.replies import VERSION, ReplyEvent, load_events

KEEP_ALIVE = b": keep-alive\n\n"
_LIFE_S = 300.0
_ROWS_MAX = 100


def ended(message: TreeMessage) -> bytes:
    """The last event of every stream: the whole message, which stands for all before it."""
    data = msgspec.json.encode({"v": VERSION, "message": show_message(message)})
    return b"id: %d\nevent: end\ndata: %b\n\n" % (message.seq, data)


def check_place(reply: Reply, after: int) -> None:
    """Refuse a reader whose place is not in this run of the reply.

    Raises:
        NotFound: The events that follow its place are gone, as after a crash.
    """
    if not reply.base_seq <= after <= reply.seq:
        raise NotFound(
            f"there are no events after number {after}", hint="load the conversation again"
        )


async def follow(
    reply: Reply, after: int, database: Database, *, heartbeat_s: float
) -> AsyncGenerator[bytes]:
    """The events after number `after` until the end, or until the connection is five minutes old.

    Args:
        reply: What to follow.
        after: The last event the reader has.
        database: Where events are that memory no longer holds.
        heartbeat_s: Silence after which a comment shows that the connection lives.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _LIFE_S
    while loop.time() < until_s:
        changed = reply.changed()
        if reply.ended:
            if reply.final is not None:
                yield ended(reply.final)
            return
        payloads = reply.events_after(after)
        if payloads is None:
            payloads = await _stored(reply, after, database)
            if not payloads and not reply.ended:
                return
        if payloads:
            yield b"".join(_delta(after + at, data) for at, data in enumerate(payloads, start=1))
            after += len(payloads)
            continue
        try:
            async with asyncio.timeout(heartbeat_s or None):
                await changed.wait()
        except TimeoutError:
            yield KEEP_ALIVE


async def _stored(reply: Reply, after: int, database: Database) -> list[bytes]:
    """Events from the store, none if the first of them is not the next."""

    def work(connection: Connection) -> tuple[ReplyEvent, ...]:
        return load_events(
            connection, reply.scope, reply.message.id, after=after, rows_max=_ROWS_MAX
        )

    events = await database.read(work)
    contiguous = [event for at, event in enumerate(events, after + 1) if event.seq == at]
    return [msgspec.json.encode(event) for event in contiguous]


def _delta(seq: int, data: bytes) -> bytes:
    return b"id: %d\nevent: delta\ndata: %b\n\n" % (seq, data)
