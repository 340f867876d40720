"""Idempotency keys: the same request, sent again under the same key, gets the same reply.

The first call of a key runs and its reply is recorded before its last bytes leave; so a client
that lost the connection may ask again without a second answer being made. While it runs, a
second call is told to come back. Only a reply that came to its proper end is recorded.
Calls without the header touch nothing of this.

The work of a key is charged once, whatever happens: a try that ended without a record, since its
client or this process had gone, is charged what it made, and the next one only what it makes
beyond that. Receipts name the key, so that this holds for whoever tries next.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
from starlette.types import Message, Send

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, HeadraceError, InvalidRequest, StoreError
from headrace.core.scope import Scope
from headrace.identity.caller import Caller
from headrace.identity.secrets import digest
from headrace.ledger.charge import Once
from headrace.ledger.tries import Charged
from headrace.store import idempotent_replies as rows
from headrace.store.database import Database
from headrace.store.idempotent_replies import Claim, Recorded, Taken

KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = b"idempotent-replayed"
_KEY_LENGTH_MAX = 255
_NS_PER_S = 1_000_000_000
# A claim outlives a crash for this long at most.
_CLAIM_S = 60
_RENEW_S = _CLAIM_S / 3
_GOOD = range(200, 300)
_log = logging.getLogger(__name__)

Answer = Callable[[Send, Once], Awaitable[bool]]
"""Sends a reply; tells whether it came to its proper end, which a failure in a stream is not."""


class Keyed(msgspec.Struct, frozen=True):
    """A request under an idempotency key; `target` is its path with what stands behind `?`."""

    key: str
    caller: Caller
    target: str
    body: bytes


class _Work(msgspec.Struct, frozen=True):
    """What a request asks for, by names that tell nothing of it."""

    scope: Scope
    key_id: str
    request_sha256: str
    id: str


class Idempotency:
    """The replies recorded under idempotency keys.

    Args:
        database: Keeps them.
        pepper: The installation's HMAC key; what clients choose as keys is not kept.
        clock: Tells when they end.
        kept_s: How long a reply is kept, in seconds.
        bytes_max: Longest body that is kept; a longer reply is sent and not recorded.
        charged: Tells what earlier tries were charged; None: nothing is charged.
    """

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        clock: Clock,
        *,
        kept_s: float,
        bytes_max: int,
        charged: Charged | None = None,
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self._kept_s = kept_s
        self._bytes_max = bytes_max
        self._charged = charged

    async def run(self, asked: Keyed, send: Send, answer: Answer) -> None:
        """Reply to a request from the record, or with `answer` and record what it sends.

        Raises:
            InvalidRequest: The key is not one, or was used for another request.
            Conflict: The first request of this key is still being answered.
            StoreError: The database does not tell; nothing was answered.
        """
        work = self._work_of(asked)
        found = await self._claim_whole(work)
        if isinstance(found, Recorded):
            await _replay(found, send)
            return
        recorder = _Recorder(send, self._bytes_max)
        recorded = False
        once = Once(work.id)
        try:
            async with self._renewed(found):
                if found.again and self._charged is not None:
                    once.charged_nano = await self._charged(once.id)
                    once.begin()
                good = await answer(recorder, once)
            if good and (reply := recorder.reply()) is not None:
                recording = asyncio.ensure_future(self._record(found, reply))
                try:
                    recorded = await asyncio.shield(recording)
                except asyncio.CancelledError:
                    recorded = await recording  # or it would be made and charged again
                    raise
        finally:
            recorder.recording = False
            if not recorded:
                # Also when the client has gone and this task is being cancelled.
                await asyncio.shield(self._release(found, opened=once.opened))
        await recorder.finish()

    async def release_left(self) -> None:
        """Let the keys be used again whose calls a dead predecessor of this process ran.

        Raises:
            StoreError: The database refuses.
        """
        now_ns = self._clock.now_ns()
        await self._database.write(lambda connection: rows.release_all(connection, now_ns=now_ns))

    async def forget_expired(self) -> None:
        """Delete what is no longer kept; worth calling every hour or so.

        Raises:
            StoreError: The database refuses.
        """
        now_ns = self._clock.now_ns()
        before_ns = now_ns - round(self._kept_s * _NS_PER_S)
        await self._database.write(
            lambda connection: rows.forget_expired(
                connection, now_ns=now_ns, claimed_before_ns=before_ns
            )
        )

    async def _claim_whole(self, work: _Work) -> Claim | Recorded:
        """Claim; a cancel meanwhile leaves no claim, though the database may have made it."""
        claiming = asyncio.ensure_future(self._claim(work))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(HeadraceError):
                found = await claiming
                if isinstance(found, Claim):
                    await self._release(found, opened=found.again)
            raise

    def _work_of(self, asked: Keyed) -> _Work:
        if not 1 <= len(asked.key) <= _KEY_LENGTH_MAX or not _is_printable(asked.key):
            raise InvalidRequest(
                f"Idempotency-Key must be 1 to {_KEY_LENGTH_MAX} printable ASCII characters",
                param="Idempotency-Key",
            )
        caller = asked.caller
        owner = f"{caller.key_id}:{caller.scope.account_id}:{asked.key}"
        request = hashlib.sha256(asked.target.encode() + b"\n" + asked.body).hexdigest()
        return _Work(
            caller.scope,
            digest(self._pepper, "idempotency", owner),
            request,
            # Once a key is free again, another request under it is other work.
            digest(self._pepper, "idempotency", f"{owner}:{request}"),
        )

    async def _claim(self, work: _Work) -> Claim | Recorded:
        now_ns = self._clock.now_ns()
        found = await self._database.write(
            lambda connection: rows.claim(
                connection,
                work.scope,
                work.key_id,
                request_sha256=work.request_sha256,
                now_ns=now_ns,
                until_ns=now_ns + _CLAIM_S * _NS_PER_S,
            )
        )
        if isinstance(found, Taken):
            if found.other:
                raise InvalidRequest(
                    "this Idempotency-Key was used for a different request",
                    param="Idempotency-Key",
                    hint="send the same body again, or choose a new key",
                )
            raise Conflict("the first request with this Idempotency-Key is still being answered")
        return found

    @asynccontextmanager
    async def _renewed(self, held: Claim) -> AsyncGenerator[None]:
        """Hold a claim for the length of the context, however long that is."""
        task = asyncio.create_task(self._keep_renewing(held))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _keep_renewing(self, held: Claim) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            until_ns = self._clock.now_ns() + _CLAIM_S * _NS_PER_S
            with suppress(StoreError):
                await self._database.write(
                    lambda connection, until_ns=until_ns: rows.renew(
                        connection, held, until_ns=until_ns
                    )
                )

    async def _record(self, held: Claim, reply: Recorded) -> bool:
        until_ns = self._clock.now_ns() + round(self._kept_s * _NS_PER_S)
        try:
            await self._database.write(
                lambda connection: rows.record(connection, held, reply, until_ns=until_ns)
            )
        except StoreError:
            _log.exception("a reply could not be recorded under its idempotency key")
            return False
        return True

    async def _release(self, held: Claim, *, opened: bool) -> None:
        """Let the next call of the key in; one that was `opened` may have been charged."""
        kept = opened or held.again
        now_ns = self._clock.now_ns()
        try:
            await self._database.write(
                lambda connection: rows.release(connection, held, now_ns=now_ns, kept=kept)
            )
        except StoreError:
            _log.warning("an idempotency key stays claimed for up to %d s", _CLAIM_S)


class _Recorder:
    """A `send` that passes a reply on and keeps it, holding its last bytes back.

    Once it no longer records, it only passes on: an error may still have to be told.
    """

    def __init__(self, send: Send, bytes_max: int) -> None:
        self.recording = True
        self._send = send
        self._left = bytes_max
        self._start: Message | None = None
        self._chunks: list[bytes] = []
        self._last: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Pass one ASGI message on."""
        if not self.recording:
            pass
        elif message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            self._left -= len(chunk)
            if self._left >= 0:
                self._chunks.append(chunk)
            else:
                self._chunks.clear()
            if not message.get("more_body", False):
                self._last = message
                return
        await self._send(message)

    def reply(self) -> Recorded | None:
        """The whole reply; None if it is not whole, not good or too long."""
        start = self._start
        if start is None or self._last is None or self._left < 0 or start["status"] not in _GOOD:
            return None
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
        )
        return Recorded(start["status"], headers, b"".join(self._chunks))

    async def finish(self) -> None:
        """Send what was held back."""
        if self._last is not None:
            await self._send(self._last)


async def _replay(reply: Recorded, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((REPLAYED_HEADER, b"true"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _is_printable(key: str) -> bool:
    return key.isascii() and key.isprintable()
