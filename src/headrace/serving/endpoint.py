"""What the endpoints of every dialect share: who asks, errors, hanging up.

Plain ASGI apps, since every microsecond here is paid per call and per chunk.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest, RateLimited
from headrace.core.ids import new_id
from headrace.core.money import NanoDollars, format_usd
from headrace.edge.bodies import ClientGone, read_body
from headrace.edge.hang_up import until_gone
from headrace.identity.caller import PURPOSE_HEADER, Caller, for_purpose, may
from headrace.ledger.charge import Once
from headrace.serving import access_log, tracing
from headrace.serving.call import Call
from headrace.serving.dialects import Dialect, Headers, retry_headers
from headrace.serving.gateway import Gateway
from headrace.serving.idempotency import KEY_HEADER, Idempotency, Keyed
from headrace.serving.rate_headers import rate_headers
from headrace.store.key import RouteName

_NS_PER_MS = 1_000_000
_REPLAYED = 200
GENERATION_HEADER = b"headrace-generation-id"
NOT_CARRIED_HEADER = b"headrace-not-carried"
PRICE_HEADER = b"headrace-price-usd"
# As the scopes of keys name them.
_ROUTES: dict[str, RouteName] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/responses/input_tokens": "count_tokens",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "moderations",
}
_log = logging.getLogger(__name__)

Authenticate = Callable[[Headers], Caller]
Wanted = TypeVar("Wanted")


class Exchange(msgspec.Struct):
    """One HTTP exchange: where its reply goes, what that names, and whether it has begun.

    `not_carried` names fields of the request that had no effect; `broken` says that an answer
    failed after its status was sent. `once` is the work of an idempotency key, `price_nano` what
    a whole answer was charged. The key, the status and the call are for the log.
    """

    send: Send
    request_id: str
    started_ns: int
    key_id: str | None = None
    status: int | None = None
    call: Call | None = None
    generation_id: str | None = None
    not_carried: tuple[str, ...] = ()
    begun: bool = False
    broken: bool = False
    once: Once | None = None
    price_nano: int | None = None


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
        *,
        idempotency: Idempotency | None = None,
    ) -> None:
        self.dialect = dialect
        self.gateway = gateway
        self.settings = settings
        self.clock = clock
        self._authenticate = authenticate
        self._idempotency = idempotency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when the client hangs up, cancel the work at once."""
        exchange = Exchange(send, f"req_{new_id(self.clock)}", self.clock.monotonic_ns())
        try:
            await until_gone(await self._read(exchange, scope, receive), scope, receive)
        except ClientGone:
            return
        except HeadraceError as error:
            await self.fail(exchange, error)
        except Exception:  # noqa: BLE001 - the last resort, a 500 in the client's dialect
            _log.exception("unexpected error in %s", scope["path"])
            await self.fail(exchange, HeadraceError("Headrace made a mistake; its log says more"))
        finally:
            if access_log.wanted():
                self._log(exchange)

    async def _read(
        self, exchange: Exchange, scope: Scope, receive: Receive
    ) -> Coroutine[None, None, None]:
        """The work that a request asks for; what is not part of it is held no longer."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        tracing.accept(headers)
        caller = _allowed(self._authenticate(headers), scope["path"], headers)
        exchange.key_id = caller.key_id
        body = await read_body(scope, receive, bytes_max=self.settings.body_bytes_max)
        query: str = scope["query_string"].decode("latin-1")
        asked = self.decode(body, headers, query)
        work = self.answer(exchange, caller, asked)
        if self._idempotency is not None and (key := headers.get(KEY_HEADER)) is not None:
            keyed = Keyed(key, caller, f"{scope['path']}?{query}", body)
            return self._once(exchange, keyed, work)
        return work

    def _log(self, exchange: Exchange) -> None:
        access_log.write(
            request_id=exchange.request_id,
            key_id=exchange.key_id,
            dialect=self.dialect.name,
            status=exchange.status,
            duration_ms=(self.clock.monotonic_ns() - exchange.started_ns) / _NS_PER_MS,
            call=exchange.call,
        )

    async def _once(
        self, exchange: Exchange, keyed: Keyed, work: Coroutine[None, None, None]
    ) -> None:
        """Do the work of an idempotency key that has not been done yet, or reply as then."""
        send = exchange.send

        async def answer(recorder: Send, once: Once) -> bool:
            exchange.send, exchange.once = recorder, once
            await work
            return not exchange.broken

        assert self._idempotency is not None  # noqa: S101 - or nobody calls this
        try:
            await self._idempotency.run(keyed, send, answer)
            exchange.status = exchange.status or _REPLAYED
        finally:
            work.close()  # where it was not needed

    def decode(self, body: bytes, headers: Headers, query: str) -> Wanted:
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
        status = self.dialect.status(error.kind)
        body = self.dialect.error(error.kind, message, param, exchange.request_id)
        if error.upstream is not None and error.upstream.dialect == self.dialect.name:
            status, body = error.upstream.status, error.upstream.body
        extra = retry_headers(error)
        if isinstance(error, RateLimited) and error.limits:
            extra += rate_headers(self.dialect.name, error.limits, self.clock.now_ns())
        await self.begin(exchange, status, b"application/json", extra)
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
        exchange.status = status
        name = self.dialect.request_id_header.encode()
        headers = [
            (b"content-type", content_type),
            (b"cache-control", b"no-store"),
            (name, exchange.request_id.encode()),
            *extra,
        ]
        if exchange.generation_id is not None:
            headers.append((GENERATION_HEADER, exchange.generation_id.encode()))
        if exchange.price_nano is not None:
            price = format_usd(NanoDollars(exchange.price_nano)).removeprefix("$")
            headers.append((PRICE_HEADER, price.encode()))
        charge = exchange.call and exchange.call.charge
        if charge is not None and charge.ticket is not None:
            states = charge.ticket.states()
            headers += rate_headers(self.dialect.name, states, self.clock.now_ns())
        if exchange.not_carried:
            headers.append((NOT_CARRIED_HEADER, ", ".join(exchange.not_carried).encode()))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await exchange.send(start)


def _allowed(caller: Caller, path: str, headers: Headers) -> Caller:
    """The caller with the purpose of this call, for which its key may be used.

    Raises:
        Forbidden: It may not.
        InvalidRequest: The purpose is none.
    """
    if (purpose := headers.get(PURPOSE_HEADER)) is not None:
        caller = for_purpose(caller, purpose)
    if caller.scopes is not None:
        may(caller, route=_ROUTES.get(path), purpose=caller.purpose)
    return caller
