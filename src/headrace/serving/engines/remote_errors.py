"""What an upstream's refusal means to the client of this gateway."""

import email.utils
import logging
import re

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import (
    ContextTooLong,
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Retryable,
    TimedOut,
    TooLarge,
    Unsupported,
    UpstreamReply,
    of_kind,
)
from headrace.core.events import Failed
from headrace.net.http_client import Reply
from headrace.serving.engines.remote_dialects import Speech

_CONTEXT = re.compile(
    r"maximum context length|context.{0,20}(length|window|size).{0,40}exceed|prompt is too long"
    r"|exceeds?.{0,40}context|longer than the model's context",
    re.IGNORECASE | re.DOTALL,
)
_OURS = {
    302: "stands at another address",
    401: "refuses the gateway's key",
    402: "wants to be paid",
    403: "refuses the gateway's key",
    404: "does not know this model, or its url is wrong",
}
_LATER: dict[int, type[Retryable]] = {
    408: TimedOut,
    429: RateLimited,
    503: Overloaded,
    504: TimedOut,
    524: TimedOut,
    529: Overloaded,
}
_REDIRECTS = range(300, 400)
_CALLER_ERRORS = range(400, 500)
_TOO_LARGE = 413
_MEND_RETRY_S = 60.0
_RETRY_S_MAX = 86_400.0
_NS_PER_S = 1_000_000_000
_log = logging.getLogger(__name__)


def refusal(
    speech: Speech, upstream: str, status: int, body: bytes, retry_after_s: float | None
) -> HeadraceError:
    """The error that stands for an answer of any status but 200.

    What is wrong between the gateway and its upstream, a key or a name, is not the client's to
    mend: it is told so, and the upstream's words go to the log.
    """
    failed = speech.decode_error(status, body)
    ours = _OURS.get(status) or (_OURS[302] if status in _REDIRECTS else None)
    if ours is not None:
        _log.error("the upstream %s %s (HTTP %d): %s", upstream, ours, status, failed.message)
        return EngineUnavailable(
            f"the upstream {upstream} {ours}; whoever runs this gateway can mend that",
            retry_after_s=_MEND_RETRY_S,
        )
    if status in _CALLER_ERRORS and status not in _LATER:
        error = _callers(failed, status)
        if _is_told(body):
            error.upstream = UpstreamReply(speech.name, status, body)
        return error
    # Its words go to the client only: they may quote what somebody wrote.
    _log.warning("the upstream %s answers HTTP %d", upstream, status)
    return _LATER.get(status, EngineFailed)(failed.message, retry_after_s=retry_after_s)


def broken_off(upstream: str, failed: Failed) -> HeadraceError:
    """The error that stands for one which the upstream sent in place of an answer's end."""
    _log.warning("the upstream %s breaks off: %s", upstream, failed.kind)
    failed = mended(failed)
    return of_kind(failed.kind, failed.message, retry_after_s=failed.retry_after_s)


def mended(failed: Failed) -> Failed:
    """A failure without what concerns only the gateway and its upstream."""
    if failed.kind not in {"unauthenticated", "forbidden", "not_found", "model_not_found"}:
        return failed
    _log.error("an upstream refuses the gateway within an answer: %s", failed.message)
    message = "the upstream refuses the gateway; whoever runs this gateway can mend that"
    return Failed("engine_unavailable", message, failed.retry_after_s, failed.usage)


def retry_after_s(reply: Reply, clock: Clock) -> float | None:
    """How long an upstream asks to be left alone: milliseconds, seconds or a date."""
    try:
        if (given := reply.header("retry-after-ms")) is not None:
            after_s = float(given) / 1000
        elif (given := reply.header("retry-after")) is None:
            return None
        elif given.strip().replace(".", "", 1).isdigit():
            after_s = float(given)
        else:
            until_s = email.utils.parsedate_to_datetime(given).timestamp()
            after_s = until_s - clock.now_ns() / _NS_PER_S
    except ValueError:
        return None
    return min(max(0.0, after_s), _RETRY_S_MAX)


class _Told(msgspec.Struct, frozen=True):
    error: dict[str, msgspec.Raw]


_TOLD = msgspec.json.Decoder(_Told)


def _is_told(body: bytes) -> bool:
    """Whether an error is told as all dialects tell it; what stands before an upstream may not."""
    try:
        _TOLD.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _callers(failed: Failed, status: int) -> InvalidRequest:
    if failed.kind == "context_too_long" or _CONTEXT.search(failed.message):
        return ContextTooLong(failed.message, param="messages")
    if failed.kind == "unsupported":
        return Unsupported(failed.message)
    if status == _TOO_LARGE:
        return TooLarge(failed.message)
    return InvalidRequest(failed.message)
