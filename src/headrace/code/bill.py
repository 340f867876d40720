"""The bill: tokens, cache, cost and expected prefill of a session, from its entries alone."""

from collections.abc import Iterable

import msgspec

from headrace.agent.entries import Entry
from headrace.core.models import Usage


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What some model calls used. `cost_nano` adds up the known costs."""

    requests: int = 0
    failed: int = 0
    usage: Usage = Usage()
    cost_nano: int = 0
    unknown: int = 0
    duration_ms: int = 0


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """A session's sums, in all and by turn of the user, oldest first."""

    total: Sum = Sum()
    turns: tuple[Sum, ...] = ()


def bill_of(entries: Iterable[Entry]) -> Bill:
    """Add up all model calls, those of branches that were left included."""
    raise NotImplementedError


def prefill_s(new_tokens: int, prefill_tokens_per_s: float | None) -> float | None:
    """Seconds until the first token of a prompt with so many tokens that no cache holds."""
    raise NotImplementedError


def cost_text(
    bill: Bill, *, budget_nano: int | None = None, prefill_tokens_per_s: float | None = None
) -> str:
    """The text of `/cost`."""
    raise NotImplementedError


def status_line(bill: Bill, *, budget_nano: int | None = None) -> str:
    """The session's bill in one short line."""
    raise NotImplementedError
