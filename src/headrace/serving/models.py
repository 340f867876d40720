"""The list of models: one path, answered in the dialect of whoever asks."""

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest, ModelNotFound
from headrace.core.ids import new_id
from headrace.core.models import Model
from headrace.identity.caller import Caller, may, may_see
from headrace.serving.dialects import AnthropicMessages, Dialect, Headers, dialect_of
from headrace.serving.gateway import Gateway
from headrace.wire import anthropic, openai_chat

_LIMIT_DEFAULT = 20


class Models:
    """GET /v1/models and GET /v1/models/{id}, as an ASGI app.

    Args:
        gateway: Knows the models.
        authenticate: Gives the caller of a request's headers.
        clock: The house's clock.
    """

    def __init__(
        self, gateway: Gateway, authenticate: Callable[[Headers], Caller], clock: Clock
    ) -> None:
        self._gateway = gateway
        self._authenticate = authenticate
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope)
        headers = dict(request.headers)
        dialect = dialect_of(request.url.path, headers)
        request_id = f"req_{new_id(self._clock)}"
        try:
            caller = self._authenticate(headers)
            may(caller, route="models")
            status, body = 200, self._body(request, dialect, caller)
        except HeadraceError as error:
            param = error.param if isinstance(error, InvalidRequest) else None
            status = dialect.status(error.kind)
            body = dialect.error(error.kind, error.message, param, request_id)
        response = Response(
            body,
            status_code=status,
            headers={dialect.request_id_header: request_id, "cache-control": "no-store"},
            media_type="application/json",
        )
        await response(scope, receive, send)

    def _body(self, request: Request, dialect: Dialect, caller: Caller) -> bytes:
        is_anthropic = isinstance(dialect, AnthropicMessages)
        model_id: str | None = request.path_params.get("model")
        if model_id is not None:
            model = self._find(model_id, caller)
            return (anthropic if is_anthropic else openai_chat).encode_model(model)
        models = self._models(caller)
        if not is_anthropic:
            return openai_chat.encode_models(models)
        query = dict(parse_qsl(request.url.query))
        try:
            limit = int(query.get("limit", _LIMIT_DEFAULT))
        except ValueError:
            raise InvalidRequest("limit: Expected a number", param="limit") from None
        return anthropic.encode_models(
            models,
            before_id=query.get("before_id"),
            after_id=query.get("after_id"),
            limit=limit,
        )

    def _models(self, caller: Caller) -> tuple[Model, ...]:
        """Those that the caller's key may use."""
        return tuple(model for model in self._gateway.models() if may_see(caller, model.id))

    def _find(self, model_id: str, caller: Caller) -> Model:
        for model in self._models(caller):
            if model.id == model_id:
                return model
        raise ModelNotFound(f"the model {model_id!r} does not exist here")
