"""Replies: all running generations, owned by this process and by no connection.

One flusher stores the new events of every reply in one transaction, five times a second. A
reply ends once: by itself, stopped, interrupted or deleted; then its message row becomes final
and its events go.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress

from sqlalchemy import Connection

from headrace.agent.client import Client
from headrace.chat.reply import Cut, Reply
from headrace.core.clock import Clock
from headrace.core.errors import EngineUnavailable, StoreError
from headrace.core.requests import Request
from headrace.core.scope import Scope
from headrace.store.database import Database
from headrace.store.messages import TreeMessage
from headrace.store.replies import append_events, finish_reply, interrupt_running

_FLUSH_S = 0.2
_FINISH_TRIES = 6
_RETRY_AFTER_S = 5.0
_log = logging.getLogger(__name__)


class Replies:
    """Runs replies.

    Args:
        database: Where they are kept.
        client: Reaches the API.
        sign: Gives the on-behalf-of header of an account.
        clock: The house's clock.
        bytes_max: Bytes of events that one run of a reply may produce.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        sign: Callable[[str], str],
        clock: Clock,
        *,
        bytes_max: int,
    ) -> None:
        self._database = database
        self._client = client
        self._sign = sign
        self._clock = clock
        self._bytes_max = bytes_max
        self._running: dict[str, Reply] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._dirty = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Mark what a dead process left running as interrupted, and begin to flush."""
        interrupted = await self._database.write(interrupt_running)
        if interrupted:
            _log.warning("%d replies were cut short by a crash; their text is kept", interrupted)
        self._flusher = asyncio.create_task(self._flush_for_ever())

    async def drain(self, wait_s: float) -> None:
        """Take no new replies, let the running ones finish, interrupt those left after `wait_s`.

        Afterwards every reply is final in the store. Cancelling it cuts the wait short.
        """
        self._draining = True
        try:
            tasks = [reply.task for reply in self._running.values() if reply.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=wait_s)
        finally:
            for reply in tuple(self._running.values()):
                _cut(reply, "interrupted")
            while self._finishing or self._running:
                tasks = [reply.task for reply in self._running.values() if reply.task is not None]
                # A task that has ended makes its finisher one turn of the loop later.
                turn = asyncio.create_task(asyncio.sleep(0))
                await asyncio.wait({turn, *tasks, *self._finishing})
            if self._flusher is not None:
                self._flusher.cancel()
                with suppress(asyncio.CancelledError):
                    await self._flusher

    def check_open(self) -> None:
        """Refuse new replies while the server stops.

        Raises:
            EngineUnavailable: It does.
        """
        if self._draining:
            raise EngineUnavailable("Headrace is stopping", retry_after_s=_RETRY_AFTER_S)

    def begin(self, scope: Scope, message: TreeMessage, request: Request) -> None:
        """Run a reply whose message the store holds as running."""
        reply = Reply(
            message, scope, self._clock, bytes_max=self._bytes_max, on_event=self._dirty.set
        )
        self._running[message.id] = reply
        reply.task = asyncio.create_task(self._consume(reply, request))
        reply.task.add_done_callback(lambda task: self._ended(reply, task))
        if self._draining:
            _cut(reply, "interrupted")

    def find(self, message_id: str) -> Reply | None:
        """The running reply of a message."""
        return self._running.get(message_id)

    def stop(self, message_id: str) -> None:
        """End a reply with what it has; nothing happens when it is not running any more."""
        reply = self._running.get(message_id)
        if reply is not None:
            _cut(reply, "stopped")

    def forget(self, conversation_id: str) -> None:
        """End the replies of a conversation that was deleted."""
        for reply in tuple(self._running.values()):
            if reply.message.conversation_id == conversation_id:
                _cut(reply, "deleted")

    async def _consume(self, reply: Reply, request: Request) -> None:
        on_behalf_of = self._sign(reply.scope.account_id)
        stream = self._client.stream(
            request,
            on_behalf_of=on_behalf_of,
            conversation_id=reply.message.conversation_id,
        )
        async with aclosing(stream) as events:
            async for event in events:
                reply.see(event)

    def _ended(self, reply: Reply, task: asyncio.Task[None]) -> None:
        broken = None if task.cancelled() else task.exception()
        if broken is not None:
            _log.error("the reply %s broke", reply.message.id, exc_info=broken)
        finisher = asyncio.create_task(self._finish(reply, broken))
        self._finishing.add(finisher)
        finisher.add_done_callback(self._finishing.discard)

    async def _finish(self, reply: Reply, broken: BaseException | None) -> None:
        try:
            reply.end(None if reply.cut == "deleted" else await self._store(reply, broken))
        except Exception:  # noqa: BLE001 - readers must hear of the end, whatever happened
            # The row stays running and its events stored: the next start will mend it.
            _log.exception("the reply %s could not be stored", reply.message.id)
            reply.end(None)
        finally:
            if self._running.get(reply.message.id) is reply:
                del self._running[reply.message.id]

    async def _store(self, reply: Reply, broken: BaseException | None) -> TreeMessage | None:
        final = reply.final_reply(broken)
        message = reply.message

        def work(connection: Connection) -> TreeMessage | None:
            return finish_reply(connection, reply.scope, message.conversation_id, message.id, final)

        for attempt in range(_FINISH_TRIES - 1):
            try:
                return await self._database.write(work)
            except StoreError as error:
                _log.warning("storing a reply failed, trying again: %s", error.message)
                await asyncio.sleep(_FLUSH_S * 2**attempt)
        return await self._database.write(work)

    async def _flush_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            await self._dirty.wait()
            await asyncio.sleep(due_s - loop.time())
            due_s = loop.time() + _FLUSH_S
            self._dirty.clear()
            try:
                await self._flush()
            except Exception:  # noqa: BLE001 - no failure may end the flusher
                _log.exception("storing running replies failed, trying again")
                self._dirty.set()

    async def _flush(self) -> None:
        replies = tuple(reply for reply in self._running.values() if not reply.ended)
        batches = {reply: batch for reply in replies if (batch := reply.take_batch()) is not None}
        if not batches:
            return
        stored = tuple(batches.values())
        gone = await self._database.write(lambda connection: append_events(connection, stored))
        for reply, batch in batches.items():
            reply.stored(batch)
            if reply.message.id in gone:
                _cut(reply, "deleted")


def _cut(reply: Reply, how: Cut) -> None:
    """End a reply before its time; the first reason stands."""
    if reply.cut is None and reply.task is not None:
        reply.cut = how
        reply.task.cancel()
