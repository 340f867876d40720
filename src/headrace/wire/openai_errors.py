"""Errors as every dialect of OpenAI spells them."""

import msgspec

from headrace.core.errors import HeadraceError
from headrace.core.events import Failed
from headrace.wire import strict_json

BROKEN = "engine_failed"
"""The kind of every failure of an upstream that says nothing better."""

ERRORS: dict[str, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "context_too_long": ("invalid_request_error", "context_length_exceeded"),
    "unsupported": ("invalid_request_error", "unsupported_parameter"),
    "previous_not_found": ("invalid_request_error", "previous_response_not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "too_slow": ("invalid_request_error", "request_timeout"),
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "forbidden": ("invalid_request_error", "permission_denied"),
    "not_found": ("invalid_request_error", "not_found"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "conflict": ("invalid_request_error", "conflict"),
    "budget_spent": ("insufficient_quota", "insufficient_quota"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded": ("server_error", "overloaded"),
    "engine_failed": ("server_error", "engine_failed"),
    "engine_unavailable": ("server_error", "engine_unavailable"),
    "timed_out": ("server_error", "timeout"),
}
"""Type and code of each kind of the error tree; every other kind is an internal error."""

_INTERNAL = ("server_error", "internal_error")

_KINDS_BY_CODE = {code: kind for kind, (_, code) in ERRORS.items() if code} | {
    "unsupported_value": "unsupported",
    "insufficient_quota": "rate_limited",
    "internal_error": "internal",
    "invalid_prompt": "invalid_request",
}

_KINDS_BY_STATUS = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    408: "timed_out",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limited",
    503: "overloaded",
    504: "timed_out",
}


class Error(msgspec.Struct):
    """An upstream's error, as it stands in bodies and in streams."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: Error | str | None = None


_BODY = msgspec.json.Decoder(_Body)


def encode_error(error_kind: str, message: str, *, param: str | None, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all dialects; here the id travels in a header only
    """The body of an error of this kind."""
    kind, code = ERRORS.get(error_kind, _INTERNAL)
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}
    )


def code_of(error_kind: str) -> str | None:
    """The code of an error of this kind."""
    return ERRORS.get(error_kind, _INTERNAL)[1]


def decode_error(status: int, body: bytes) -> Failed:
    """The failure that an answer with an HTTP error status stands for."""
    try:
        error = strict_json.decode(body, _BODY).error
    except HeadraceError:
        error = None
    if error is None:
        error = body[:500].decode(errors="replace").strip() or f"HTTP status {status}"
    return failed(error, status)


def failed(error: Error | str, status: int) -> Failed:
    """The failure that an upstream's error stands for; `status` is 0 within a stream."""
    if isinstance(error, str):
        error = Error(error)
    if status == 0 and isinstance(error.code, int):
        status = error.code  # many tell within a stream what the status would have been
    kind = _KINDS_BY_STATUS.get(status, BROKEN)
    if error.type == "invalid_request_error" and status == 0:
        kind = "invalid_request"
    kind = _KINDS_BY_CODE.get(str(error.code), kind)
    return Failed(kind, error.message or f"HTTP status {status}")
