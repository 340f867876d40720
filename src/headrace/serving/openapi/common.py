"""What operations of several dialects share: shapes of errors, headers, statuses."""

from typing import Any, Literal

import msgspec

from headrace.edge.openapi import Parameter
from headrace.wire import anthropic
from headrace.wire.anthropic_request import VERSIONS

RESOURCE_FAULTS = (400, 404, 408, 409, 413)
OPENAI_CALL_FAULTS = (*RESOURCE_FAULTS, 429, 502, 503, 504)
ANTHROPIC_CALL_FAULTS = (*RESOURCE_FAULTS, 402, 429, 504, 529)


class OpenAIFault(msgspec.Struct):
    """What went wrong; `param` is the field that did it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct):
    """An error as OpenAI's dialects tell it; the header `x-request-id` names the request."""

    error: OpenAIFault


class AnthropicFault(msgspec.Struct):
    """What went wrong."""

    type: str
    message: str
    details: dict[str, Any] | None = None


class AnthropicError(msgspec.Struct):
    """An error as Anthropic's dialect tells it."""

    type: Literal["error"]
    error: AnthropicFault
    request_id: str | None


OPENAI = (OpenAIError,)
ANTHROPIC = (AnthropicError,)
BOTH = (OpenAIError, AnthropicError)

VERSION = Parameter(
    "anthropic-version",
    "header",
    f"A version of Anthropic's API; {anthropic.VERSION} where it is not sent.",
    {"type": "string", "enum": list(VERSIONS)},
)
EITHER = Parameter(
    "anthropic-version",
    "header",
    "Whoever sends it is answered in Anthropic's dialect, others in OpenAI's.",
    {"type": "string", "enum": list(VERSIONS)},
)
IDEMPOTENCY = Parameter(
    "idempotency-key",
    "header",
    "The same request under the same key gets the same reply, made once.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)


def narrowed(
    name: str,
    base: type[msgspec.Struct],
    text: str,
    *fields: tuple[str, Any] | tuple[str, Any, Any],
) -> type[msgspec.Struct]:
    """A body like `base`, some of whose fields are told more closely than its decoder does."""
    return msgspec.defstruct(name, fields, bases=(base,), namespace={"__doc__": text}, kw_only=True)


def query(name: str, text: str, schema: dict[str, Any]) -> Parameter:
    """Something behind the question mark."""
    return Parameter(name, "query", text, schema)


def limit(default: int, most: int) -> Parameter:
    """How many a page may hold."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return query("limit", "How many a page may hold.", schema)


def place(name: str, text: str) -> Parameter:
    """A part of the path."""
    return Parameter(name, "path", text)
