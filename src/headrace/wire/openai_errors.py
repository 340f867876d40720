"""Errors as every dialect of OpenAI spells them."""

import msgspec

ERRORS: dict[str, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "context_too_long": ("invalid_request_error", "context_length_exceeded"),
    "unsupported": ("invalid_request_error", "unsupported_parameter"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "forbidden": ("invalid_request_error", "permission_denied"),
    "not_found": ("invalid_request_error", "not_found"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "conflict": ("invalid_request_error", "conflict"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded": ("server_error", "overloaded"),
    "engine_failed": ("server_error", "engine_failed"),
    "engine_unavailable": ("server_error", "engine_unavailable"),
    "timed_out": ("server_error", "timeout"),
}
"""Type and code of each kind of the error tree; every other kind is an internal error."""

_INTERNAL = ("server_error", "internal_error")


def encode_error(error_kind: str, message: str, *, param: str | None, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all dialects; here the id travels in a header only
    """The body of an error of this kind."""
    kind, code = ERRORS.get(error_kind, _INTERNAL)
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}
    )


def code_of(error_kind: str) -> str | None:
    """The code of an error of this kind."""
    return ERRORS.get(error_kind, _INTERNAL)[1]
