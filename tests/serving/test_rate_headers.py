"""How limits stand, in each dialect's headers."""

import pytest

from headrace.core.errors import HeadraceError, Overloaded, RateLimited, Unauthenticated
from headrace.core.limits import LimitKind, LimitState
from headrace.serving.dialects import retry_headers
from headrace.serving.rate_headers import rate_headers

NOON_NS = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
LIMIT = (LimitState("requests", 60, 59, 1.0),)


def headers(dialect: str, *states: LimitState, now_ns: int = NOON_NS) -> dict[str, str]:
    found = rate_headers(dialect, states, now_ns)
    assert len(dict(found)) == len(found)
    return {name.decode(): value.decode() for name, value in found}


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_openai_tells_requests_and_the_tokens_of_which_least_is_left(dialect: str):
    states = (
        *LIMIT,
        LimitState("input_tokens", 40_000, 30_000, 15.0),
        LimitState("output_tokens", 8_000, 0, 360.0),
        LimitState("concurrent", 4, 2, 0.0),
    )
    assert headers(dialect, *states) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "8000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }


def test_anthropic_tells_each_kind_of_tokens_as_well():
    states = (LimitState("input_tokens", 40_000, 30_000, 15.0), LimitState("requests", 9, 9, 0.0))
    assert headers("anthropic", *states) == {
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "30000",
        "anthropic-ratelimit-input-tokens-reset": "2026-01-01T12:00:15Z",
        "anthropic-ratelimit-requests-limit": "9",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-01-01T12:00:00Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "30000",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T12:00:15Z",
    }


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (0.0, "0ms"),
        (0.0151, "16ms"),
        (1.0, "1s"),
        (1.2, "2s"),
        (59.9, "1m0s"),
        (86_399.0, "23h59m59s"),
    ],
)
def test_durations_are_spelled_as_openai_does(seconds: float, spelled: str):
    found = headers("openai_chat", LimitState("requests", 1, 0, seconds))
    assert found["x-ratelimit-reset-requests"] == spelled


def test_a_reset_in_the_far_future_is_still_a_date():
    found = headers("anthropic", LimitState("requests", 1, 0, 1e12))
    assert found["anthropic-ratelimit-requests-reset"] == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("kind", ["concurrent", None])
def test_nothing_is_told_where_nothing_stands(kind: LimitKind | None):
    states = () if kind is None else (LimitState(kind, 1, 1, 0.0),)
    assert headers("openai_chat", *states) == headers("anthropic", *states) == {}


def never() -> RateLimited:
    error = RateLimited("more than its limit ever allows")
    error.limits = LIMIT
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RateLimited("wait", retry_after_s=2.0001), {"retry-after": "3", "retry-after-ms": "2001"}),
        (Overloaded("wait", retry_after_s=0.2), {"retry-after": "1", "retry-after-ms": "200"}),
        (never(), {"x-should-retry": "false"}),
        (RateLimited("an upstream said so"), {}),
        (Unauthenticated("who?"), {"x-should-retry": "false"}),
    ],
)
def test_refusals_say_when_to_come_back(error: HeadraceError, told: dict[str, str]):
    assert {name.decode(): value.decode() for name, value in retry_headers(error)} == told
