"""One model call over HTTP: body in, events out, in the client's dialect.

A plain ASGI app, since every microsecond here is paid per call and per chunk.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest, Retryable, of_kind
from headrace.core.events import Event, Failed
from headrace.core.ids import new_id
from headrace.edge.bodies import ClientGone, read_body
from headrace.identity.keys import Caller
from headrace.serving.dialects import Asked, Dialect, Encoder, Envelope, Headers
from headrace.serving.gateway import Gateway, Generation
from headrace.wire import anthropic, openai_embeddings

GENERATION_HEADER = b"headrace-generation-id"
_NS_PER_S = 1_000_000_000
_STUCK_BEATS_MAX = 12
_EMBEDDINGS = "openai_embeddings"
_log = logging.getLogger(__name__)

Authenticate = Callable[[Headers], Caller]
Wanted = TypeVar("Wanted")


class Exchange(msgspec.Struct):
    """One HTTP exchange: where its reply goes, what that names, and whether it has begun."""

    send: Send
    request_id: str
    generation_id: str | None = None
    begun: bool = False


class Endpoint(Generic[Wanted]):
    """What the endpoints of every dialect share: who asks, errors, hanging up.

    `Wanted` is what it reads out of a body.
    """

    def __init__(
        self,
        dialect: Dialect,
        gateway: Gateway,
        authenticate: Authenticate,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.dialect = dialect
        self.gateway = gateway
        self.settings = settings
        self.clock = clock
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client hangs up, cancel the work at once."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        exchange = Exchange(send, f"req_{new_id(self.clock)}")
        try:
            caller = self._authenticate(headers)
            body = await read_body(scope, receive, bytes_max=self.settings.body_bytes_max)
            asked = self.decode(body, headers)
            await _until_gone(self.answer(exchange, caller, asked), receive)
        except ClientGone:
            return
        except HeadraceError as error:
            await self.fail(exchange, error)
        except Exception:  # noqa: BLE001 - the last resort, a 500 in the client's dialect
            _log.exception("unexpected error in %s", scope["path"])
            await self.fail(exchange, HeadraceError("Headrace made a mistake; its log says more"))

    def decode(self, body: bytes, headers: Headers) -> Wanted:
        """Read the request."""
        raise NotImplementedError

    async def answer(self, exchange: Exchange, caller: Caller, asked: Wanted) -> None:
        """Do the work of this endpoint."""
        raise NotImplementedError

    async def whole(self, exchange: Exchange, body: bytes) -> None:
        """Send an answer that is complete."""
        length = (b"content-length", str(len(body)).encode())
        await self.begin(exchange, 200, b"application/json", [length])
        await exchange.send({"type": "http.response.body", "body": body})

    async def fail(self, exchange: Exchange, error: HeadraceError) -> None:
        """Send an error as the dialect spells it."""
        if exchange.begun:
            return
        param = error.param if isinstance(error, InvalidRequest) else None
        message = error.message if error.hint is None else f"{error.message} ({error.hint})"
        extra: list[tuple[bytes, bytes]] = []
        if isinstance(error, Retryable) and error.retry_after_s is not None:
            extra.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
        body = self.dialect.error(error.kind, message, param, exchange.request_id)
        await self.begin(exchange, self.dialect.status(error.kind), b"application/json", extra)
        await exchange.send({"type": "http.response.body", "body": body})

    async def begin(
        self,
        exchange: Exchange,
        status: int,
        content_type: bytes,
        extra: list[tuple[bytes, bytes]],
    ) -> None:
        """Send the status line and headers."""
        exchange.begun = True
        name = self.dialect.request_id_header.encode()
        headers = [
            (b"content-type", content_type),
            (b"cache-control", b"no-store"),
            (name, exchange.request_id.encode()),
            *extra,
        ]
        if exchange.generation_id is not None:
            headers.append((GENERATION_HEADER, exchange.generation_id.encode()))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await exchange.send(start)


class Generate(Endpoint[Asked]):
    """The endpoint that makes a model answer."""

    def decode(self, body: bytes, headers: Headers) -> Asked:
        """Read the request."""
        return self.dialect.decode(body, headers, depth_max=self.settings.json_depth_max)

    async def answer(self, exchange: Exchange, caller: Caller, asked: Asked) -> None:
        """Run the call and send its events, streamed or whole."""
        async with self.gateway.generate(caller, asked.request, dialect=self.dialect.name) as call:
            exchange.generation_id = call.id
            created_s = self.clock.now_ns() // _NS_PER_S
            envelope = Envelope(asked, call.id, created_s, exchange.request_id)
            if asked.stream:
                await self._stream(exchange, call, envelope)
            else:
                await self._whole(exchange, call, envelope)

    async def _whole(self, exchange: Exchange, call: Generation, envelope: Envelope) -> None:
        events = [event async for event in call.events]
        last = events[-1]
        if isinstance(last, Failed):
            raise of_kind(last.kind, last.message, retry_after_s=last.retry_after_s)
        await self.whole(exchange, self.dialect.reply(envelope, events))

    async def _stream(self, exchange: Exchange, call: Generation, envelope: Envelope) -> None:
        encoder = self.dialect.encoder(envelope)
        first = asyncio.ensure_future(anext(call.events))
        try:
            # The status tells the truth if the engine speaks or refuses in time.
            await asyncio.wait({first}, timeout=self.settings.first_event_wait_s)
            if first.done() and isinstance(first.exception(), HeadraceError):
                await first
            unbuffered = (b"x-accel-buffering", b"no")
            await self.begin(exchange, 200, b"text/event-stream; charset=utf-8", [unbuffered])
            await self._relay(exchange, call, encoder, first)
        finally:
            if not first.done():
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError, HeadraceError):
                    await first
        await exchange.send({"type": "http.response.body", "body": b""})

    async def _relay(
        self, exchange: Exchange, call: Generation, encoder: Encoder, first: asyncio.Future[Event]
    ) -> None:
        pulse = _Pulse(exchange.send, encoder, self.settings.heartbeat_s)
        try:
            event = await first
            await pulse.send(encoder.encode(event))
            async for event in call.events:
                await pulse.send(encoder.encode(event))
        except HeadraceError as error:
            retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
            failed = Failed(error.kind, error.message, retry_after_s)
            await pulse.send(encoder.encode(failed))
        finally:
            pulse.stop()


class CountTokens(Endpoint[Asked]):
    """The endpoint that counts a prompt's tokens without answering it."""

    def decode(self, body: bytes, headers: Headers) -> Asked:
        """Read a count request, which needs no `max_tokens`."""
        version = headers.get("anthropic-version", anthropic.VERSION)
        request = anthropic.decode_count_request(
            body, version=version, depth_max=self.settings.json_depth_max
        )
        return Asked(request)

    async def answer(self, exchange: Exchange, caller: Caller, asked: Asked) -> None:
        """Ask the engine."""
        del caller
        count = await self.gateway.count_tokens(asked.request)
        await self.whole(exchange, anthropic.encode_count(count))


class Embed(Endpoint[openai_embeddings.Decoded]):
    """The endpoint that makes vectors of texts; its errors are those of `dialect`."""

    def decode(self, body: bytes, headers: Headers) -> openai_embeddings.Decoded:
        """Read the request."""
        del headers  # the dialect has no versions
        return openai_embeddings.decode_request(body, depth_max=self.settings.json_depth_max)

    async def answer(
        self, exchange: Exchange, caller: Caller, asked: openai_embeddings.Decoded
    ) -> None:
        """Run the call and send its vectors."""
        with self.gateway.admit(
            caller, asked.model, ability="embeddings", dialect=_EMBEDDINGS
        ) as call:
            exchange.generation_id = call.id
            vectors = await self.gateway.embed(call, asked.texts, asked.dimensions)
            body = openai_embeddings.encode_reply(
                vectors,
                model=asked.model,
                encoding=asked.encoding,
                input_tokens=call.usage.input,
            )
            await self.whole(exchange, body)


class _Pulse:
    """Sends chunks, and a keep-alive after each silence of `every_s` seconds.

    A client that takes nothing for many such times is as good as gone: the call is cancelled,
    because it holds a place in the engine.
    """

    def __init__(self, send: Send, encoder: Encoder, every_s: float) -> None:
        self._send = send
        self._encoder = encoder
        self._every_s = every_s
        self._spoke = self._sending = False
        self._stuck = 0
        self._beat: asyncio.Task[None] | None = None
        self._call = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._due) if every_s else None

    async def send(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._spoke = self._sending = True
        self._stuck = 0
        await self._write(chunk)
        self._sending = False

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    def _due(self) -> None:
        if self._sending or (self._beat is not None and not self._beat.done()):
            self._stuck += 1
            if self._stuck >= _STUCK_BEATS_MAX and self._call is not None:
                _log.info("a client takes nothing of its answer any more; its call is cancelled")
                self._call.cancel()
        elif not self._spoke:
            self._stuck = 0
            self._beat = self._loop.create_task(self._write(self._encoder.keep_alive()))
        self._spoke = False
        self._timer = self._loop.call_later(self._every_s, self._due)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()


async def _until_gone(work: Awaitable[None], receive: Receive) -> None:
    """Do the work unless the client hangs up first; then cancel it and see it end."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    if not task.cancelled():
        task.result()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
