"""Burn: how fast money goes, and how long each budget lasts at that rate."""

import msgspec
from sqlalchemy import Connection, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.names import node_names
from headrace.ledger.reports.span import Span, check_sees_figures, receipts_path
from headrace.ledger.reports.sums import Figures, sums
from headrace.ledger.windows import END_OF_TIME_NS, span_of
from headrace.store import budgets
from headrace.store.budgets import Budget
from headrace.store.schema_ledger import spend_day_caller
from headrace.store.spend import DAY_NS, HOUR_NS

_RATE_DAYS = (7, 30)
_BUDGET_RATE_DAYS = 7
_WHOLE_PERCENT = 100


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What was charged and what it cost in the last days before today, and a day on average.

    Where the first call is not so long ago, from its day on, and today as well.
    """

    days: int
    from_ns: int
    to_ns: int
    price_nano: int
    cost_nano: int
    price_per_day_nano: int
    cost_per_day_nano: int
    receipts: str


class BudgetBurn(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in its present window.

    `per_day_nano` is what its node was charged a day in the last seven times 24 hours, or in the
    days since the organisation's first call.
    `spent_at_ns` is when the limit is reached at that rate: None where it is not reached before
    the window ends, or ever. `window_end_ns` is None for a budget without windows.
    """

    id: str
    node_kind: str
    node_id: str
    name: str
    period: str
    hard: bool
    limit_nano: int
    spent_nano: int
    spent_percent: int
    window_start_ns: int
    window_end_ns: int | None
    per_day_nano: int
    spent_at_ns: int | None
    receipts: str


class Burn(msgspec.Struct, frozen=True, kw_only=True):
    """How fast money goes at `now_ns`."""

    now_ns: int
    rates: tuple[Rate, ...]
    budgets: tuple[BudgetBurn, ...]


def burn(connection: Connection, scope: Scope, now_ns: int) -> Burn:
    """The burn of the scope's organisation.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    found = budgets.of(connection, scope)
    age_days = _age_days(connection, scope, now_ns)
    rated_days = min(_BUDGET_RATE_DAYS, age_days)
    windows = {one.id: _window(one, now_ns) for one in found}
    hour_ns = now_ns - now_ns % HOUR_NS + HOUR_NS
    lately = {
        one.id: budgets.Span(one.node_id, hour_ns - _BUDGET_RATE_DAYS * DAY_NS, hour_ns)
        for one in found
    }
    charged = budgets.charged(connection, {*windows.values(), *lately.values()})
    named = node_names(connection, scope, {one.node_id for one in found})
    return Burn(
        now_ns=now_ns,
        rates=tuple(_rate(connection, scope, now_ns, (days, age_days)) for days in _RATE_DAYS),
        budgets=tuple(
            _of_budget(
                one,
                named[one.node_id],
                windows[one.id],
                now_ns,
                spent_nano=sum(charged[windows[one.id]].values()) - one.base_nano,
                per_day_nano=sum(charged[lately[one.id]].values()) // rated_days,
            )
            for one in found
        ),
    )


def _window(one: Budget, now_ns: int) -> budgets.Span:
    return budgets.Span(one.node_id, *span_of(one.period, now_ns))


def _age_days(connection: Connection, scope: Scope, now_ns: int) -> int:
    """The days since the organisation's first call, its own and today among them."""
    table = spend_day_caller
    first = select(func.min(table.c.day_ns)).where(table.c.organisation_id == scope.organisation_id)
    first_ns = connection.scalar(first)
    return 1 if first_ns is None else max(1, (now_ns - first_ns) // DAY_NS + 1)


def _rate(connection: Connection, scope: Scope, now_ns: int, of_days: tuple[int, int]) -> Rate:
    days, age_days = of_days
    end_ns = now_ns - now_ns % DAY_NS
    if age_days <= days:
        end_ns += DAY_NS
    rated_days = min(days, age_days)
    span = Span(max(0, end_ns - rated_days * DAY_NS), end_ns)
    one = sums(connection, scope, span, []).get((), Figures())
    return Rate(
        days=days,
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        price_nano=one.price_nano,
        cost_nano=one.cost_nano,
        price_per_day_nano=one.price_nano // rated_days,
        cost_per_day_nano=one.cost_nano // rated_days,
        receipts=span.receipts(),
    )


def _of_budget(
    one: Budget,
    name: str,
    window: budgets.Span,
    now_ns: int,
    *,
    spent_nano: int,
    per_day_nano: int,
) -> BudgetBurn:
    endless = window.end_ns == END_OF_TIME_NS
    spent_at_ns: int | None = None
    if spent_nano >= one.limit_nano:
        spent_at_ns = now_ns
    elif per_day_nano > 0:
        reached_ns = now_ns + (one.limit_nano - spent_nano) * DAY_NS // per_day_nano
        spent_at_ns = reached_ns if reached_ns < window.end_ns else None
    within = {} if endless else {"from_ns": window.start_ns, "to_ns": window.end_ns}
    node = {} if one.node_kind == "organisation" else {f"{one.node_kind}_id": one.node_id}
    return BudgetBurn(
        id=one.id,
        node_kind=one.node_kind,
        node_id=one.node_id,
        name=name,
        period=one.period,
        hard=one.hard,
        limit_nano=one.limit_nano,
        spent_nano=spent_nano,
        spent_percent=spent_nano * _WHOLE_PERCENT // max(1, one.limit_nano),
        window_start_ns=window.start_ns,
        window_end_ns=None if endless else window.end_ns,
        per_day_nano=per_day_nano,
        spent_at_ns=spent_at_ns,
        receipts=receipts_path(within | node),
    )
