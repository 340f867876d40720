"""The endpoints that make a model answer, or count what it would read.

An answer is streamed or whole; it comes as events, which the client's dialect encodes, or as
bytes of an upstream that speaks this dialect, which go through as they are.
"""

import asyncio
import logging
from functools import partial

from headrace.core.errors import HeadraceError, Retryable, of_kind
from headrace.core.events import Event, Failed
from headrace.identity.keys import Caller
from headrace.serving.ask import Ask, Asked, conversation_of, hides_letters, peek, size_of
from headrace.serving.call import Generation, Item
from headrace.serving.dialects import Dialect, Encoder, Envelope, Headers
from headrace.serving.endpoint import Endpoint, Exchange
from headrace.serving.engine import Passage, Passed
from headrace.serving.gateway import Gateway
from headrace.wire import anthropic

_NS_PER_S = 1_000_000_000
_STUCK_BEATS_MAX = 12
_TOGETHER_MAX = 256
_FORWARDED = ("anthropic-", "openai-", "x-claude-code-", "session-id", "thread-id", "trace")
_FILE = b'"file_id"'
_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_UNBUFFERED = (b"x-accel-buffering", b"no")
_log = logging.getLogger(__name__)


def read_ask(
    gateway: Gateway, dialect: Dialect, body: bytes, headers: Headers, query: str, *, depth_max: int
) -> Ask:
    """A call as it came, read no further than its target needs.

    Raises:
        InvalidRequest: It is not one.
    """
    read = partial(dialect.decode, body, headers, depth_max=depth_max)
    found = _passage(gateway, dialect.name, body, headers, query, depth_max=depth_max)
    if found is not None:
        model, passage = found
    else:
        asked = read()
        model, passage, read = asked.request.model, None, lambda: asked
    return Ask(
        dialect.name,
        model,
        read,
        passage,
        size=size_of(body),
        conversation_id=conversation_of(headers),
    )


def _passage(
    gateway: Gateway, dialect: str, body: bytes, headers: Headers, query: str, *, depth_max: int
) -> tuple[str, Passage] | None:
    """The model of a call that an upstream may take as it came, and the call."""
    # A file of ours means nothing to an upstream; its content has to stand in its place.
    if not gateway.relays(dialect) or _FILE in body or hides_letters(body):
        return None
    forwarded = {name: value for name, value in headers.items() if name.startswith(_FORWARDED)}
    peeked = peek(body, forwarded, query, dialect=dialect, depth_max=depth_max)
    return peeked if peeked is not None and gateway.relays(dialect, peeked[0]) else None


class Generate(Endpoint[Ask]):
    """The endpoint that makes a model answer."""

    def decode(self, body: bytes, headers: Headers, query: str) -> Ask:
        """Read the request, no further than its target needs."""
        depth_max = self.settings.json_depth_max
        return read_ask(self.gateway, self.dialect, body, headers, query, depth_max=depth_max)

    async def answer(self, exchange: Exchange, caller: Caller, asked: Ask) -> None:
        """Run the call and send its answer, streamed or whole."""
        asked.once = exchange.once
        async with self.gateway.generate(caller, asked) as generation:
            exchange.call, exchange.generation_id = generation.call, generation.id
            if asked.stream:
                await self._stream(exchange, generation, asked)
            else:
                await self._whole(exchange, generation, asked)

    def envelope(self, exchange: Exchange, generation: Generation, asked: Asked) -> Envelope:
        """What stands around an answer."""
        created_s = self.clock.now_ns() // _NS_PER_S
        return Envelope(asked, generation.id, created_s, exchange.request_id)

    async def _whole(self, exchange: Exchange, generation: Generation, ask: Ask) -> None:
        events: list[Event] = []
        passed: list[bytes] = []
        async for item in generation.items:
            if isinstance(item, Passed):
                passed.append(item.data)
            else:
                events.append(item)
        exchange.not_carried = generation.call.not_carried
        exchange.price_nano = generation.call.price_nano
        if passed:
            await self.whole(exchange, b"".join(passed))
            return
        last = events[-1]
        if isinstance(last, Failed):
            raise of_kind(last.kind, last.message, retry_after_s=last.retry_after_s)
        envelope = self.envelope(exchange, generation, ask.asked)
        await self.whole(exchange, self.dialect.reply(envelope, events))

    async def _stream(self, exchange: Exchange, generation: Generation, ask: Ask) -> None:
        stream = _Stream(self, exchange, generation, ask)
        try:
            try:
                async for item in generation.items:
                    exchange.broken = isinstance(item, Failed)
                    await stream.pass_on(item)
                    del item  # nobody holds it while the next one is awaited
            except HeadraceError as error:
                if not await stream.begun():
                    raise
                exchange.broken = True
                await stream.pass_on(_failed(error))
            await stream.flush()
        finally:
            stream.stop()
        await exchange.send({"type": "http.response.body", "body": b""})


class CountTokens(Endpoint[Asked]):
    """The endpoint that counts a prompt's tokens without answering it."""

    def decode(self, body: bytes, headers: Headers, query: str) -> Asked:
        """Read a count request, which needs no `max_tokens`."""
        del query
        version = headers.get("anthropic-version", anthropic.VERSION)
        request = anthropic.decode_count_request(
            body, version=version, depth_max=self.settings.json_depth_max
        )
        return Asked(request)

    async def answer(self, exchange: Exchange, caller: Caller, asked: Asked) -> None:
        """Ask the engine."""
        count = await self.gateway.count_tokens(caller, asked.request)
        await self.whole(exchange, anthropic.encode_count(count))


class _Stream:
    """One streamed answer on its way out, with a keep-alive after each silence.

    Its head waits for the first item, so that the status tells the truth, but not for long. A
    client that takes nothing for many keep-alives is as good as gone: the call is cancelled,
    because it holds a place in the engine.

    The first event of a turn of the loop goes out at once, those that come with it together after
    it: a write for each would cost more than all else that is done for them.
    """

    __slots__ = (
        "_aside",
        "_ask",
        "_beat",
        "_begun",
        "_between_events",
        "_call",
        "_encoder",
        "_endpoint",
        "_every_s",
        "_exchange",
        "_flushing",
        "_generation",
        "_head",
        "_loop",
        "_ready",
        "_sending",
        "_sent",
        "_spoke",
        "_stuck",
    )

    def __init__(
        self, endpoint: Generate, exchange: Exchange, generation: Generation, ask: Ask
    ) -> None:
        settings = endpoint.settings
        self._endpoint = endpoint
        self._exchange = exchange
        self._generation = generation
        self._ask = ask
        self._encoder: Encoder | None = None
        self._begun = False
        self._every_s = settings.heartbeat_s
        self._spoke = self._sending = False
        self._between_events = True
        self._stuck = 0
        # Whether something was sent in this turn of the loop, and what waits for its end.
        self._sent = False
        self._ready: list[bytes] = []
        self._flushing: asyncio.Task[None] | None = None
        # What the timers do, beside the call's own task.
        self._aside: asyncio.Task[None] | None = None
        self._call = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.TimerHandle | None = self._loop.call_later(
            settings.first_event_wait_s, self._begin_early
        )
        self._beat = self._loop.call_later(self._every_s, self._due) if self._every_s else None

    async def pass_on(self, item: Item) -> None:
        """Send one item."""
        if self._head is not None:
            self._head.cancel()
            self._head = None
            if self._aside is not None:
                await self._aside
            await self._open()
        if self._flushing is not None:
            await self._flushing  # what came before; a slow client holds the engine up here
        if isinstance(item, Passed):
            await self._put(item.data)
            return
        chunk = self._encoding().encode(item)
        if not self._sent and not self._ready:
            await self._put(chunk)
        elif chunk:
            self._ready.append(chunk)
            if len(self._ready) >= _TOGETHER_MAX:
                await self._send_ready()

    async def flush(self) -> None:
        """Send what waits for its turn."""
        if self._flushing is not None:
            await self._flushing
        await self._send_ready()

    async def _put(self, chunk: bytes) -> None:
        if not chunk:
            return
        if not self._sent:
            self._sent = True
            self._loop.call_soon(self._turn_over)
        self._spoke = self._sending = True
        self._stuck = 0
        await self._write(chunk)
        self._between_events = chunk.endswith((b"\n\n", b"\r\n\r\n"))
        self._sending = False

    def _turn_over(self) -> None:
        self._sent = False
        if self._ready and self._flushing is None:
            self._flushing = self._loop.create_task(self._send_ready())

    async def _send_ready(self) -> None:
        chunks, self._ready = self._ready, []
        try:
            await self._put(b"".join(chunks))
        finally:
            self._flushing = None

    async def begun(self) -> bool:
        """Whether the status is out, for which it waits if it is on its way."""
        if self._aside is not None:
            await self._aside
        return self._begun

    def stop(self) -> None:
        """No more timers."""
        if self._head is not None:
            self._head.cancel()
        if self._beat is not None:
            self._beat.cancel()
        for task in (self._aside, self._flushing):
            if task is not None:
                task.cancel()

    async def _open(self) -> None:
        if not self._begun:
            self._begun = True
            self._exchange.not_carried = self._generation.call.not_carried
            await self._endpoint.begin(self._exchange, 200, _EVENT_STREAM, [_UNBUFFERED])

    def _begin_early(self) -> None:
        self._aside = self._loop.create_task(self._open())

    def _encoding(self) -> Encoder:
        if self._encoder is None:
            # An upstream may know fields that reading the request would refuse.
            asked = self._ask.readable
            envelope = self._endpoint.envelope(self._exchange, self._generation, asked)
            self._encoder = self._endpoint.dialect.encoder(envelope)
        return self._encoder

    async def _write(self, chunk: bytes) -> None:
        message = {"type": "http.response.body", "body": chunk, "more_body": True}
        await self._exchange.send(message)

    async def _keep_alive(self) -> None:
        chunk = self._encoding().keep_alive()
        await self._open()
        await self._write(chunk)

    def _due(self) -> None:
        if self._sending or (self._aside is not None and not self._aside.done()):
            self._stuck += 1
            if self._stuck >= _STUCK_BEATS_MAX and self._call is not None:
                _log.info("a client takes nothing of its answer any more; its call is cancelled")
                self._call.cancel()
        elif not self._spoke and self._between_events and not self._ready:
            self._stuck = 0
            self._aside = self._loop.create_task(self._keep_alive())
        self._spoke = False
        self._beat = self._loop.call_later(self._every_s, self._due)


def _failed(error: HeadraceError) -> Failed:
    retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
    return Failed(error.kind, error.message, retry_after_s)
