"""POST /v1/responses, and how many tokens one would read.

A request that stores nothing and leans on nothing stored takes the stateless road of every
other dialect, without a look at the database. Any other is turned into a stateless one, whose
answer is kept.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial

import msgspec

from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import EngineFailed, HeadraceError, InvalidRequest, StoreError, of_kind
from headrace.core.events import Event, Failed
from headrace.core.ids import new_id
from headrace.edge.bodies import ClientGone
from headrace.identity.keys import Caller
from headrace.serving.ask import Ask
from headrace.serving.call import Generation
from headrace.serving.dialects import Encoder, Envelope, Headers, OpenAIResponses
from headrace.serving.endpoint import Authenticate, Endpoint, Exchange
from headrace.serving.engine import Passed
from headrace.serving.gateway import Gateway
from headrace.serving.generate import Generate
from headrace.serving.idempotency import Idempotency
from headrace.serving.responses.background import Answer, Background, Run
from headrace.serving.responses.past import (
    Past,
    Wish,
    load_past,
    new_response,
    numbered,
    own_fields,
    read_wish,
    shifted,
    stateless,
)
from headrace.serving.responses.stream import Feed, ResponseStream, frame
from headrace.store.database import Database
from headrace.store.responses import StoredResponse, add_response

_NS_PER_S = 1_000_000_000
_NS_PER_DAY = 86_400 * _NS_PER_S
_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_UNBUFFERED = (b"x-accel-buffering", b"no")
_STUCK_BEATS_MAX = 12
_log = logging.getLogger(__name__)


class Wanted(msgspec.Struct, frozen=True):
    """A request that has to do with stored responses, and how it came."""

    wish: Wish
    headers: Headers
    query: str


class _Turn(msgspec.Struct, frozen=True):
    """One answer in the making: what was asked, and by whom."""

    caller: Caller
    wish: Wish
    past: Past
    ask: Ask
    created_ns: int
    request_id: str


class _Leaning(Endpoint[Ask | Wanted]):
    """What endpoints share whose requests may lean on stored responses."""

    def __init__(
        self,
        dialect: OpenAIResponses,
        gateway: Gateway,
        authenticate: Authenticate,
        settings: Settings,
        clock: Clock,
        *,
        idempotency: Idempotency,
        database: Database,
    ) -> None:
        super().__init__(dialect, gateway, authenticate, settings, clock, idempotency=idempotency)
        self.database = database
        self.plain = Generate(dialect, gateway, authenticate, settings, clock)

    def decode(self, body: bytes, headers: Headers, query: str) -> Ask | Wanted:
        """Read the request."""
        wish = read_wish(body)
        if wish is None:
            return self.plain.decode(body, headers, query)
        return Wanted(wish, headers, query)

    async def past(self, caller: Caller, wish: Wish) -> Past:
        """What the request leans on."""
        if not wish.leans:
            return Past()
        return await self.database.read(
            lambda connection: load_past(connection, caller.scope, wish)
        )

    def ask(self, wanted: Wanted, past: Past) -> Ask:
        """The request that says everything itself."""
        body = stateless(wanted.wish, past, bytes_max=self.settings.body_bytes_max)
        return self.plain.decode(body, wanted.headers, wanted.query)


class CountInput(_Leaning):
    """POST /v1/responses/input_tokens."""

    async def answer(self, exchange: Exchange, caller: Caller, asked: Ask | Wanted) -> None:
        """Ask the engine."""
        if isinstance(asked, Wanted):
            past = await self.past(caller, asked.wish)
            try:
                asked = self.ask(asked, past)
            except InvalidRequest as error:
                raise shifted(error, past) from None
        count = await self.gateway.count_tokens(caller, asked.asked.request)
        told = {"object": "response.input_tokens", "input_tokens": count}
        await self.whole(exchange, msgspec.json.encode(told))


class Create(_Leaning):
    """POST /v1/responses."""

    def __init__(
        self,
        dialect: OpenAIResponses,
        gateway: Gateway,
        authenticate: Authenticate,
        settings: Settings,
        clock: Clock,
        *,
        idempotency: Idempotency,
        database: Database,
        background: Background,
    ) -> None:
        super().__init__(
            dialect,
            gateway,
            authenticate,
            settings,
            clock,
            idempotency=idempotency,
            database=database,
        )
        self._background = background

    async def answer(self, exchange: Exchange, caller: Caller, asked: Ask | Wanted) -> None:
        """Run the call, keep its answer where that is wished, and send it."""
        if isinstance(asked, Ask):
            await self.plain.answer(exchange, caller, asked)
            return
        past = await self.past(caller, asked.wish)
        try:
            turn = _Turn(
                caller,
                asked.wish,
                past,
                self.ask(asked, past),
                self.clock.now_ns(),
                exchange.request_id,
            )
            turn.ask.once = exchange.once
            if asked.wish.background:
                await self._in_background(exchange, turn)
            elif turn.ask.stream:
                await self._streamed(exchange, turn)
            else:
                await self._whole(exchange, turn)
        except InvalidRequest as error:
            raise shifted(error, past) from None

    async def _whole(self, exchange: Exchange, turn: _Turn) -> None:
        events: list[Event] = []
        passed: list[bytes] = []
        async with self._call(turn) as generation:
            exchange.call, exchange.generation_id = generation.call, generation.id
            async for item in generation.items:
                if isinstance(item, Passed):
                    passed.append(item.data)
                else:
                    events.append(item)
            exchange.not_carried = generation.call.not_carried
            exchange.price_nano = generation.call.price_nano
        if not passed:
            last = events[-1]
            if isinstance(last, Failed):
                raise of_kind(last.kind, last.message, retry_after_s=last.retry_after_s)
            passed.append(self.dialect.reply(self._envelope(turn, generation.id), events))
        stream = _stream_of(turn, generation.id)
        stream.whole(b"".join(passed))
        await self._keep(turn, generation.id, stream)
        await self.whole(exchange, stream.response)

    async def _streamed(self, exchange: Exchange, turn: _Turn) -> None:
        async with self._call(turn) as generation:
            exchange.call, exchange.generation_id = generation.call, generation.id
            feed, stream = Feed(), _stream_of(turn, generation.id)
            work = asyncio.create_task(self._fill(feed, stream, turn, generation))
            try:
                await feed.begun(self.settings.first_event_wait_s)
                if feed.refusal is not None:
                    raise feed.refusal
                exchange.not_carried = generation.call.not_carried
                await self._follow(exchange, feed)
                if feed.refusal is not None:  # too late for a status of its own
                    await _send(exchange, b"".join(map(frame, stream.fail(feed.refusal))))
                exchange.broken = stream.status == "failed"
                await exchange.send({"type": "http.response.body", "body": b""})
            finally:
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

    async def _fill(
        self, feed: Feed, stream: ResponseStream, turn: _Turn, generation: Generation
    ) -> None:
        """Fill the feed with the whole answer; before its last event leaves, it is kept."""
        error: HeadraceError | None = None
        try:
            async with aclosing(self._chunks(turn, generation, generation.id)) as chunks:
                async for chunk in chunks:
                    events = stream.take(chunk)
                    if stream.ended:
                        await self._keep(turn, generation.id, stream)
                    feed.add(events)
            if not stream.ended:
                error = EngineFailed("the answer broke off")
        except HeadraceError as raised:
            error = raised
        except Exception:  # noqa: BLE001 - the reader must hear of the end, whatever happened
            _log.exception("unexpected error in the response %s", generation.id)
            error = HeadraceError("Headrace made a mistake; its log says more")
        if error is not None and stream.count:
            lost = stream.ended  # it was whole, and could not be stored
            events = stream.fail(error)
            if not lost:
                with contextlib.suppress(StoreError):
                    await self._keep(turn, generation.id, stream)
            feed.add(events)
        feed.end(error)

    async def _in_background(self, exchange: Exchange, turn: _Turn) -> None:
        response_id = new_id(self.clock)
        stream = _stream_of(turn, response_id)
        run = Run(turn.caller.scope, self._row(turn, response_id, stream), stream)
        self._background.start(run, self._admitted(exchange, turn, response_id))
        told = False
        try:
            await run.feed.begun(None)
            if run.feed.refusal is not None:
                raise run.feed.refusal
            if turn.wish.stream:
                await self._follow(exchange, run.feed)
                await exchange.send({"type": "http.response.body", "body": b""})
            else:
                await self.whole(exchange, run.row.response.encode())
            told = True
        finally:
            if exchange.once is not None and not told:
                # Who asks again under the key has another one made, and must know what this one
                # was charged.
                await self._background.cancel(response_id)

    async def _follow(self, exchange: Exchange, feed: Feed) -> None:
        """Send the stream; a client that takes nothing for long is as good as gone."""
        await self.begin(exchange, 200, _EVENT_STREAM, [_UNBUFFERED])
        loop, beat_s = asyncio.get_running_loop(), self.settings.heartbeat_s
        try:
            async with asyncio.timeout(None) as limit:
                async for frames in feed.follow(0, beat_s):
                    if beat_s:  # there is something to send at every beat
                        limit.reschedule(loop.time() + _STUCK_BEATS_MAX * beat_s)
                    await _send(exchange, frames)
        except TimeoutError:
            raise ClientGone from None

    def _call(self, turn: _Turn) -> AbstractAsyncContextManager[Generation]:
        return self.gateway.generate(turn.caller, turn.ask)

    @asynccontextmanager
    async def _admitted(
        self, exchange: Exchange, turn: _Turn, response_id: str
    ) -> AsyncGenerator[Answer]:
        async with self._call(turn) as generation:
            exchange.call, exchange.generation_id = generation.call, generation.id
            opened = asyncio.get_running_loop().create_future()
            generation.call.on_opened = partial(opened.set_result, None)
            yield Answer(self._chunks(turn, generation, response_id), opened)

    async def _chunks(
        self, turn: _Turn, generation: Generation, response_id: str
    ) -> AsyncGenerator[bytes]:
        """The stateless answer as bytes of a stream."""
        encoder: Encoder | None = None
        async with aclosing(generation.items) as items:
            async for item in items:
                if isinstance(item, Passed):
                    yield item.data
                    continue
                if encoder is None:
                    encoder = self.dialect.encoder(self._envelope(turn, response_id))
                yield encoder.encode(item)

    def _envelope(self, turn: _Turn, response_id: str) -> Envelope:
        created_s = turn.created_ns // _NS_PER_S
        return Envelope(turn.ask.asked, response_id, created_s, turn.request_id)

    async def _keep(self, turn: _Turn, response_id: str, stream: ResponseStream) -> None:
        if turn.wish.keep:
            row = self._row(turn, response_id, stream)
            row = msgspec.structs.replace(row, ended_ns=self.clock.now_ns())
            await self.database.write(
                lambda connection: add_response(connection, turn.caller.scope, row)
            )

    def _row(self, turn: _Turn, response_id: str, stream: ResponseStream) -> StoredResponse:
        return StoredResponse(
            id=response_id,
            previous_id=turn.wish.previous_id,
            status=stream.status,
            background=turn.wish.background,
            input=msgspec.json.encode(numbered(turn.wish, turn.past, response_id)).decode(),
            response=stream.response.decode(),
            created_ns=turn.created_ns,
            expires_ns=turn.created_ns + self.settings.responses_days * _NS_PER_DAY,
        )


async def _send(exchange: Exchange, frames: bytes) -> None:
    await exchange.send({"type": "http.response.body", "body": frames, "more_body": True})


def _stream_of(turn: _Turn, response_id: str) -> ResponseStream:
    created_s = turn.created_ns // _NS_PER_S
    response = new_response(turn.wish, response_id=response_id, created_s=created_s)
    return ResponseStream(response, own_fields(turn.wish, response_id))
