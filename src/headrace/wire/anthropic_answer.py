"""Messages answers to the wire: stream events, whole replies, errors, lists of models."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.core.errors import InvalidRequest
from headrace.core.events import Delta, Event, Finished, Started, Stop, fold
from headrace.core.messages import Part, Text, Thinking, ToolCall
from headrace.core.models import Model, Usage
from headrace.wire import content, opaque, sse
from headrace.wire.losses import CITATIONS

_json = msgspec.json.encode

_NO_INPUT = msgspec.Raw(b"{}")

STOP_REASONS: dict[Stop, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "context_full": "model_context_window_exceeded",
}

ERROR_TYPES = {
    "invalid_request": "invalid_request_error",
    "context_too_long": "invalid_request_error",
    "unsupported": "invalid_request_error",
    "previous_not_found": "invalid_request_error",
    "too_large": "request_too_large",
    "too_slow": "invalid_request_error",
    "unauthenticated": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "conflict": "invalid_request_error",
    "budget_spent": "billing_error",
    "rate_limited": "rate_limit_error",
    "overloaded": "overloaded_error",
    "engine_failed": "api_error",
    "engine_unavailable": "overloaded_error",
    "timed_out": "timeout_error",
}
"""Type of each kind of the error tree; every other kind is an `api_error`."""

MODELS_LIMIT_MAX = 1000

_TOO_LONG = "prompt is too long"


class StreamEncoder:
    """Writes events as Messages stream events, one open block at a time.

    Args:
        reply_id: The answer's id; the wire shows it after `msg_`.
        created_s: For dialects that name the time; this one does not.
        model: The name the caller asked for.
        request_id: What an error in the stream names, as the header `request-id` does.
    """

    def __init__(
        self,
        *,
        reply_id: str,
        created_s: int,  # noqa: ARG002 - one signature for all dialects
        model: str,
        request_id: str = "",
    ) -> None:
        self._id = f"msg_{reply_id}"
        self._model = model
        self._request_id = request_id
        self._open: tuple[int, str] | None = None
        self._block = -1
        self._head = b""

    def encode(self, event: Event) -> bytes:
        """The bytes that tell of `event`, in order."""
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Started):
            message = _reply(self._id, self._model, [], None, event.usage)
            return _frame("message_start", {"message": message})
        if isinstance(event, Finished):
            return self._finish(event)
        error = encode_error(event.kind, event.message, param=None, request_id=self._request_id)
        return sse.frame(error, b"error")

    def keep_alive(self) -> bytes:
        """A ping, which clients pass over."""
        return _frame("ping", {})

    def _delta(self, event: Delta) -> bytes:
        part = event.part
        if isinstance(part, Text):
            out = self._at(event.index, "text_delta", {"type": "text", "text": ""})
            if part.text:
                out += self._head + b'text_delta","text":' + _json(part.text) + b"}}\n\n"
            for citation in _citations(part) if part.citations else ():
                out += self._head + b'citations_delta","citation":' + _json(citation) + b"}}\n\n"
            return out
        if isinstance(part, ToolCall):
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": _NO_INPUT}
            out = self._at(event.index, "input_json_delta", block)
            if not part.arguments:
                return out
            arguments = _json(part.arguments)
            return out + self._head + b'input_json_delta","partial_json":' + arguments + b"}}\n\n"
        return self._thinking(event.index, part)

    def _thinking(self, index: int, part: Thinking) -> bytes:
        if part.redacted is not None:
            block = {"type": "redacted_thinking", "data": part.redacted}
            return self._at(index, "redacted", block)
        block = {"type": "thinking", "thinking": "", "signature": ""}
        out = self._at(index, "thinking_delta", block)
        if part.text:
            out += self._head + b'thinking_delta","thinking":' + _json(part.text) + b"}}\n\n"
        signature = _signature(part)
        if signature is not None:
            signature = _json(signature)
            out += self._head + b'signature_delta","signature":' + signature + b"}}\n\n"
        return out

    def _at(self, index: int, kind: str, block: dict[str, Any]) -> bytes:
        """Open `block` for the part at `index` unless it is open, closing the one before."""
        if self._open == (index, kind):
            return b""
        out = self._stop_block()
        self._open = (index, kind)
        self._block += 1
        self._head = (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"' % self._block
        )
        start = {"index": self._block, "content_block": block}
        return out + _frame("content_block_start", start)

    def _stop_block(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _frame("content_block_stop", {"index": self._block})

    def _finish(self, event: Finished) -> bytes:
        end = {"delta": _stop(event), "usage": _usage(event.usage)}
        return self._stop_block() + _frame("message_delta", end) + _frame("message_stop", {})


def encode_reply(
    events: Sequence[Event],
    *,
    reply_id: str,
    created_s: int,  # noqa: ARG001 - one signature for all dialects
    model: str,
) -> bytes:
    """The whole answer as one message.

    Raises:
        ValueError: The events do not end with Finished; a failure is answered as an error.
    """
    match events:
        case [*_, Finished() as finished]:
            blocks = [_block(part) for part in fold(events).parts]
            return _json(_reply(f"msg_{reply_id}", model, blocks, finished, finished.usage))
        case _:
            raise ValueError("only an answer that is Finished has a reply")


def encode_count(input_tokens: int) -> bytes:
    """The body that answers POST /v1/messages/count_tokens."""
    return _json({"input_tokens": input_tokens})


def encode_error(error_kind: str, message: str, *, param: str | None, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all dialects; here the message names the field
    """The body of an error of this kind.

    The dialect's types are coarser than our kinds; `details.error_code` tells the kind. Of a
    prompt that does not fit, coding assistants know by these words alone: they then shorten it.
    """
    if error_kind == "context_too_long" and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    error = {
        "type": ERROR_TYPES.get(error_kind, "api_error"),
        "message": message,
        "details": {"error_code": error_kind},
    }
    return _json({"type": "error", "error": error, "request_id": request_id or None})


def encode_models(
    models: Sequence[Model],
    *,
    before_id: str | None = None,
    after_id: str | None = None,
    limit: int = 20,
) -> bytes:
    """One page of GET /v1/models: the `limit` models after `after_id`, or before `before_id`.

    Raises:
        InvalidRequest: The limit is not from 1 to 1000, both cursors are given, or one names
            no model.
    """
    if not 1 <= limit <= MODELS_LIMIT_MAX:
        raise InvalidRequest(f"limit: Expected 1 to {MODELS_LIMIT_MAX}", param="limit")
    if before_id is not None and after_id is not None:
        raise InvalidRequest("before_id: Not allowed together with after_id", param="before_id")
    places = {model.id: place for place, model in enumerate(models)}
    for name, cursor in (("before_id", before_id), ("after_id", after_id)):
        if cursor is not None and cursor not in places:
            raise InvalidRequest(f"{name}: No model named '{cursor}'", param=name)
    if before_id is not None:
        end = places[before_id]
        page = models[max(0, end - limit) : end]
        has_more = end > limit
    else:
        start = 0 if after_id is None else places[after_id] + 1
        page = models[start : start + limit]
        has_more = len(models) > start + limit
    return _json(
        {
            "data": [_model(model) for model in page],
            "has_more": has_more,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
    )


def encode_model(model: Model) -> bytes:
    """The body of GET /v1/models/{id}."""
    return _json(_model(model))


def _model(model: Model) -> dict[str, Any]:
    created = dt.datetime.fromtimestamp(model.created_ns // 1_000_000_000, dt.UTC)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens_max,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: Model) -> dict[str, Any]:
    """What the dialect asks of every model, and the abilities it has no words for."""
    yes, no = {"supported": True}, {"supported": False}
    able = model.abilities
    thinking = yes if able.thinking else no
    return {
        "batch": no,
        "citations": no,
        "code_execution": no,
        "context_management": no,
        "effort": no | {"low": no, "medium": no, "high": no, "max": no},
        "image_input": yes if able.vision else no,
        "pdf_input": no,
        "server_tools": no | {"code_execution": no, "web_search": no},
        "structured_outputs": yes if able.chat else no,
        "thinking": thinking
        | {
            "types": {
                "adaptive": thinking,
                "between_tools": yes,
                "disabled": yes,
                "enabled": thinking,
            }
        },
        "chat": yes if able.chat else no,
        "embeddings": yes if able.embeddings else no,
        "tools": yes if able.tools else no,
    }


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return sse.frame(_json({"type": kind} | fields), kind.encode())


def _reply(
    reply_id: str,
    model: str,
    blocks: list[dict[str, Any]],
    finished: Finished | None,
    usage: Usage,
) -> dict[str, Any]:
    return {
        "id": reply_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "container": None,
        **_stop(finished),
        "usage": _usage(usage),
    }


def _stop(finished: Finished | None) -> dict[str, Any]:
    return {
        "stop_reason": STOP_REASONS[finished.stop] if finished else None,
        "stop_sequence": finished.stop_sequence if finished else None,
        "stop_details": None,
    }


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            text: dict[str, Any] = {"type": "text", "text": part.text}
            return text | {"citations": _citations(part)} if part.citations else text
        case Thinking(redacted=str() as data):
            return {"type": "redacted_thinking", "data": data}
        case Thinking():
            signature = _signature(part) or ""
            return {"type": "thinking", "thinking": part.text, "signature": signature}
        case ToolCall():
            arguments = content.arguments_object(part.arguments)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
        case _:
            raise ValueError(f"an answer holds no {type(part).__name__}")


def _signature(part: Thinking) -> str | None:
    """The signature, or what another provider's model needs back, sealed."""
    if part.encrypted is not None or part.item_id is not None:
        return opaque.seal(part)
    return part.signature


def _citations(part: Text) -> list[dict[str, Any]]:
    return [one for one in part.citations if one.get("type") in CITATIONS["anthropic"]]


def _usage(usage: Usage) -> dict[str, Any]:
    """The dialect's `input_tokens` leave out those served from the cache or written to it."""
    return {
        "input_tokens": usage.input - usage.cached - usage.cache_written,
        "cache_creation_input_tokens": usage.cache_written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_written - usage.cache_written_long,
            "ephemeral_1h_input_tokens": usage.cache_written_long,
        },
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
