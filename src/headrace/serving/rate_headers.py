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
_TOKENS = frozenset(("input_tokens", "output_tokens"))
_ANTHROPIC = "anthropic"
_YEAR_9999_S = 253_402_300_799

Header = tuple[bytes, bytes]


def rate_headers(dialect: str, states: Sequence[LimitState], now_ns: int) -> list[Header]:
    """The headers of a reply, whatever its status; none where no limit stands.

    A limit on running calls has no header in any dialect.

    Args:
        dialect: Its name.
        states: From `Ticket.states()` or `RateLimited.limits`.
        now_ns: The wall time, from which Anthropic's headers count.
    """
    spelled = _anthropic if dialect == _ANTHROPIC else _openai
    headers: list[Header] = []
    for state in states:
        if state.kind == "requests":
            headers += spelled("requests", state, now_ns)
        elif state.kind in _TOKENS and dialect == _ANTHROPIC:
            headers += _anthropic(state.kind.replace("_", "-"), state, now_ns)
    tokens = min((s for s in states if s.kind in _TOKENS), key=_least_left, default=None)
    if tokens is not None:
        headers += spelled("tokens", tokens, now_ns)
    return headers


def _least_left(state: LimitState) -> tuple[int, float]:
    return state.remaining, -state.reset_s


def _openai(name: str, state: LimitState, _: int) -> list[Header]:
    return [
        (f"x-ratelimit-limit-{name}".encode(), b"%d" % state.maximum),
        (f"x-ratelimit-remaining-{name}".encode(), b"%d" % state.remaining),
        (f"x-ratelimit-reset-{name}".encode(), _duration(state.reset_s)),
    ]


def _anthropic(name: str, state: LimitState, now_ns: int) -> list[Header]:
    begin = f"anthropic-ratelimit-{name}-"
    return [
        (f"{begin}limit".encode(), b"%d" % state.maximum),
        (f"{begin}remaining".encode(), b"%d" % state.remaining),
        (f"{begin}reset".encode(), _moment(now_ns, state.reset_s)),
    ]


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
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
