"""Headers that tell how the caller's limits stand, as each dialect spells them.

OpenAI's: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
Anthropic's: https://platform.claude.com/docs/en/api/rate-limits#response-headers
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

from headrace.core.limits import LimitState

_NS_PER_S = 1_000_000_000
_MS_PER_S = 1_000
_S_PER_MINUTE, _S_PER_HOUR = 60, 3_600
_ANTHROPIC = "anthropic"
_MOMENT_LENGTH = len("2026-01-01T12:00:00")
_YEAR_9999_S = 253_402_300_799
_PARTS = ("limit", "remaining", "reset")

Header = tuple[bytes, bytes]
_Names = tuple[bytes, ...]

_OPENAI_NAMES: dict[str, _Names] = {
    name: tuple(f"x-ratelimit-{part}-{name}".encode() for part in _PARTS)
    for name in ("requests", "tokens")
}
_ANTHROPIC_NAMES: dict[str, _Names] = {
    name.replace("-", "_"): tuple(f"anthropic-ratelimit-{name}-{part}".encode() for part in _PARTS)
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
}


def rate_headers(dialect: str, states: Sequence[LimitState], now_ns: int) -> list[Header]:
    """The headers of a reply, whatever its status; none where no limit stands.

    A limit on running calls has no header in any dialect.

    Args:
        dialect: Its name.
        states: From `Ticket.states()` or `RateLimited.limits`.
        now_ns: The wall time, from which Anthropic's headers count.
    """
    anthropic = dialect == _ANTHROPIC
    names = _ANTHROPIC_NAMES if anthropic else _OPENAI_NAMES
    headers: list[Header] = []
    tokens: LimitState | None = None
    for state in states:
        if state.kind in names:
            reset = _moment(now_ns, state.reset_s) if anthropic else _duration(state.reset_s)
            headers += _told(names[state.kind], state, reset)
        if state.kind in {"input_tokens", "output_tokens"} and (
            tokens is None or _least_left(state) < _least_left(tokens)
        ):
            tokens = state
    if tokens is not None:
        reset = _moment(now_ns, tokens.reset_s) if anthropic else _duration(tokens.reset_s)
        headers += _told(names["tokens"], tokens, reset)
    return headers


def _least_left(state: LimitState) -> tuple[int, float]:
    return state.remaining, -state.reset_s


def _told(names: _Names, state: LimitState, reset: bytes) -> tuple[Header, Header, Header]:
    limit, remaining, reset_name = names
    return (
        (limit, b"%d" % state.maximum),
        (remaining, b"%d" % state.remaining),
        (reset_name, reset),
    )


def _duration(seconds: float) -> bytes:
    """As Go writes one: `120ms`, `1s`, `6m0s`, `23h59m59s`; rounded up."""
    if seconds < 1:
        return b"%dms" % ceil(seconds * _MS_PER_S)
    whole = ceil(seconds)
    hours, rest = divmod(whole, _S_PER_HOUR)
    minutes, left = divmod(rest, _S_PER_MINUTE)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, left)
    return b"%dm%ds" % (minutes, left) if minutes else b"%ds" % left


def _moment(now_ns: int, after_s: float) -> bytes:
    """As RFC 3339 writes one, in UTC; rounded up to a second."""
    at_s = min(ceil(now_ns / _NS_PER_S + after_s), _YEAR_9999_S)
    # Not strftime, which takes several times as long.
    return datetime.fromtimestamp(at_s, UTC).isoformat().encode()[:_MOMENT_LENGTH] + b"Z"
