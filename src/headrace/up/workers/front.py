"""Front: what an API worker answers itself, and what it passes on to the control process.

A worker answers calls of models that upstreams serve: they need nothing but the key, the
upstream and a journal. Everything else has its state in the control process.
"""

from collections.abc import Callable, Mapping

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.ids import new_id
from headrace.edge.bodies import ClientGone, read_body
from headrace.serving.dialects import Headers, dialect_of, retry_headers
from headrace.serving.idempotency import KEY_HEADER
from headrace.up.workers.refresh import Refresh

_FILE = b'"file_id"'


class _Peeked(msgspec.Struct):
    """What tells whether a call can be answered without state."""

    model: str = ""
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw | None = None


_PEEK = msgspec.json.Decoder(_Peeked)


class Front:
    """The ASGI app of a worker.

    Args:
        endpoints: Those that answer here, by path.
        models: The public names that are answered here.
        refresh: Reads keys, prices, budgets and limits again when they have changed.
        authenticate: Refuses callers without a key, before they are listened to.
        pass_on: Lets the control process answer.
        settings: Limits.
        clock: The house's clock.
    """

    def __init__(
        self,
        endpoints: Mapping[str, ASGIApp],
        models: frozenset[str],
        refresh: Refresh,
        authenticate: Callable[[Headers], object],
        pass_on: ASGIApp,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._endpoints = endpoints
        self._models = models
        self._refresh = refresh
        self._authenticate = authenticate
        self._pass_on = pass_on
        self._settings = settings
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        try:
            await self._answer(scope, receive, send)
        except ClientGone:
            return
        except HeadraceError as error:
            await self._fail(scope, send, error)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        if endpoint is None or _has_idempotency_key(scope):
            await self._pass_on(scope, receive, send)
            return
        if self._refresh.stale():
            await self._refresh.run()
        self._authenticate(_headers(scope))
        body = await read_body(scope, receive, bytes_max=self._settings.body_bytes_max)
        if self._refresh.stale():  # a body may take its time
            await self._refresh.run()
        app = endpoint if self._is_ours(scope["path"], body) else self._pass_on
        await app(scope, _again(body, receive), send)

    def _is_ours(self, path: str, body: bytes) -> bool:
        try:
            peeked = _PEEK.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if peeked.model not in self._models or _FILE in body:
            return False
        stateful = peeked.background or peeked.previous_response_id or peeked.conversation
        return path != "/v1/responses" or (peeked.store is False and not stateful)

    async def _fail(self, scope: Scope, send: Send, error: HeadraceError) -> None:
        dialect = dialect_of(scope["path"], _headers(scope))
        request_id = f"req_{new_id(self._clock)}"
        param = error.param if isinstance(error, InvalidRequest) else None
        body = dialect.error(error.kind, error.message, param, request_id)
        lines = [
            (b"content-type", b"application/json"),
            (dialect.request_id_header.encode(), request_id.encode()),
            *retry_headers(error),
        ]
        status = dialect.status(error.kind)
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> Headers:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _has_idempotency_key(scope: Scope) -> bool:
    return any(name == KEY_HEADER.encode() for name, _ in scope["headers"])


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
