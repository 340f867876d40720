"""What callers are told about budgets that stand in their way."""

from datetime import UTC, datetime

from headrace.core.money import NanoDollars, format_usd
from headrace.ledger.windows import Window
from headrace.store.budgets import Budget

_NODES = {
    "organisation": "this organisation",
    "team": "this team",
    "account": "this account",
    "key": "this API key",
}
_PERIODS = {"hour": "for this hour", "day": "for this day", "month": "for this month"}
_NS_PER_S = 1_000_000_000


def spent_words(window: Window, left_nano: int, least_nano: int) -> str:
    """Which budget is spent, what is left of it, and when it begins anew."""
    left, limit = _usd(max(0, left_nano)), _usd(window.budget.limit_nano)
    state = "is not enough for this call" if left_nano > 0 else "is spent"
    return (
        f"The {_name(window.budget)} {state}: {left} of {limit} is left, and this call may come"
        f" to {_usd(least_nano)}. {_renewal(window)}"
    )


def waiting_words(window: Window) -> str:
    """Which budget's rest is held by others."""
    return (
        f"What is left of the {_name(window.budget)} is held by calls that are running."
        " Ask again when one has ended."
    )


def reached_words(budget: Budget, percent: int, spent_nano: int) -> str:
    """What the log says when a share of a budget is spent."""
    return (
        f"budget {budget.id} of {budget.node_kind} {budget.node_id} ({budget.period}):"
        f" {percent} % is spent, {_usd(spent_nano)} of {_usd(budget.limit_nano)}"
    )


def _usd(nano: int) -> str:
    return format_usd(NanoDollars(nano))


def _name(budget: Budget) -> str:
    node = _NODES[budget.node_kind]
    period = _PERIODS.get(budget.period)
    return f"budget of {node}" if period is None else f"budget of {node} {period}"


def _renewal(window: Window) -> str:
    if window.budget.period == "once":
        return "It is not renewed; an admin can raise it."
    again = datetime.fromtimestamp(window.end_ns // _NS_PER_S, UTC)
    return f"It begins anew at {again:%Y-%m-%d %H:%M} UTC."
