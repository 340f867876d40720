"""Resource: an endpoint that reads and changes what is kept, in the dialect of whoever asks."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.ids import new_id
from headrace.edge.bodies import ClientGone
from headrace.identity.caller import Caller, may
from headrace.serving.dialects import (
    AnthropicMessages,
    Dialect,
    Headers,
    dialect_of,
    retry_headers,
)
from headrace.serving.endpoint import Authenticate
from headrace.store.key import RouteName

_log = logging.getLogger(__name__)


class Visit:
    """One request of a known caller."""

    def __init__(
        self, request: Request, headers: Headers, caller: Caller, dialect: Dialect
    ) -> None:
        self.request = request
        self.headers = headers
        self.caller = caller
        self.dialect = dialect

    @property
    def anthropic(self) -> bool:
        """Whether it is to be answered in Anthropic's dialect, else in OpenAI's."""
        return isinstance(self.dialect, AnthropicMessages)

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """What stands behind the question mark, in its order."""
        return parse_qsl(self.request.url.query, keep_blank_values=True)

    @property
    def parameters(self) -> Mapping[str, str]:
        """The query by name; of several values of one name the last."""
        return dict(self.query)

    def named(self, name: str) -> str:
        """A part of the path."""
        return self.request.path_params[name]


Handler = Callable[[Visit], Awaitable[Response]]


_ROUTES: tuple[tuple[str, RouteName], ...] = (
    ("/v1/files", "files"),
    ("/v1/batches", "batches"),
    ("/v1/messages/batches", "batches"),
    ("/v1/responses", "responses"),
    ("/v1/outcomes", "outcomes"),
)


class Resource:
    """An ASGI app around a handler: who asks, which dialect, and errors as that spells them.

    Args:
        handler: Answers.
        authenticate: Gives the caller of a request's headers.
        clock: The house's clock.
    """

    def __init__(self, handler: Handler, authenticate: Authenticate, clock: Clock) -> None:
        self._handler = handler
        self._authenticate = authenticate
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        headers = dict(request.headers)
        dialect = dialect_of(request.url.path, headers)
        request_id = f"req_{new_id(self._clock)}"
        try:
            caller = self._authenticate(headers)
            if caller.scopes is not None:
                may(caller, route=_route_of(request.url.path), purpose=caller.purpose)
            response = await self._handler(Visit(request, headers, caller, dialect))
        except ClientGone:
            return
        except HeadraceError as error:
            response = _refusal(error, dialect, request_id)
        except Exception:  # noqa: BLE001 - the last resort, a 500 in the client's dialect
            _log.exception("unexpected error in %s", request.url.path)
            mistake = HeadraceError("Headrace made a mistake; its log says more")
            response = _refusal(mistake, dialect, request_id)
        response.headers[dialect.request_id_header] = request_id
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)


def _route_of(path: str) -> RouteName:
    """What a key's scopes call it."""
    return next(name for prefix, name in _ROUTES if path.startswith(prefix))


def json_body(body: bytes) -> Response:
    """A reply that is JSON already."""
    return Response(body, media_type="application/json")


def _refusal(error: HeadraceError, dialect: Dialect, request_id: str) -> Response:
    param = error.param if isinstance(error, InvalidRequest) else None
    message = error.message if error.hint is None else f"{error.message} ({error.hint})"
    response = json_body(dialect.error(error.kind, message, param, request_id))
    response.status_code = dialect.status(error.kind)
    response.raw_headers.extend(retry_headers(error))
    return response
