"""Gross margin: what is left of the price of calls when they are paid for."""

import msgspec
from sqlalchemy import Connection, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.names import By, names
from headrace.ledger.reports.span import Span, check_sees_figures, ratio
from headrace.ledger.reports.sums import Figures, sums
from headrace.store.schema_ledger import hardware_hour

_BASIS_POINTS = 10_000


class MarginRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one model or customer brought and took.

    `margin_nano` is price less cost less loss: what was made beyond a call's hold and could not
    be charged, and what was made for nobody. `margin_bp` is its share of the price in hundredths
    of a percent, None without a price.
    """

    id: str
    name: str
    calls: int
    price_nano: int
    cost_nano: int
    loss_nano: int
    margin_nano: int
    margin_bp: int | None
    receipts: str


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """Gross margins over whole days of UTC, the largest price first.

    `idle_nano` is what machines cost while they served nobody; it is nobody's call, so no row
    holds it, and `after_idle_nano` is the total margin less it.
    """

    from_ns: int
    to_ns: int
    models: tuple[MarginRow, ...]
    teams: tuple[MarginRow, ...]
    accounts: tuple[MarginRow, ...]
    total: MarginRow
    idle_nano: int
    after_idle_nano: int


def margin(connection: Connection, scope: Scope, span: Span) -> Margin:
    """The margins of the scope's organisation.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    found = sums(connection, scope, span, ["model_id", "team_id", "account_id"])

    def rows(by: By, column: str, place: int) -> tuple[MarginRow, ...]:
        together: dict[str, Figures] = {}
        for key, one in found.items():
            together[key[place]] = together.get(key[place], Figures()).plus(one)
        named = names(connection, scope, by, together)
        made = [
            _row(one, named[one], figures, span.receipts(**{column: one}))
            for one, figures in together.items()
        ]
        return tuple(sorted(made, key=_dearest))

    total = Figures()
    for one in found.values():
        total = total.plus(one)
    whole = _row("", "all", total, span.receipts())
    idle = _idle_nano(connection, scope, span)
    return Margin(
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        models=rows("model", "model_id", 0),
        teams=rows("team", "team_id", 1),
        accounts=rows("account", "account_id", 2),
        total=whole,
        idle_nano=idle,
        after_idle_nano=whole.margin_nano - idle,
    )


def _dearest(row: MarginRow) -> tuple[int, int, str]:
    return (-row.price_nano, -row.calls, row.id)


def _row(one: str, name: str, figures: Figures, receipts: str) -> MarginRow:
    left = figures.price_nano - figures.cost_nano - figures.loss_nano
    return MarginRow(
        id=one,
        name=name,
        calls=figures.calls,
        price_nano=figures.price_nano,
        cost_nano=figures.cost_nano,
        loss_nano=figures.loss_nano,
        margin_nano=left,
        margin_bp=ratio(left, _BASIS_POINTS, figures.price_nano),
        receipts=receipts,
    )


def _idle_nano(connection: Connection, scope: Scope, span: Span) -> int:
    query = select(func.sum(hardware_hour.c.idle_nano)).where(
        hardware_hour.c.organisation_id == scope.organisation_id,
        hardware_hour.c.hour_ns >= span.from_ns,
        hardware_hour.c.hour_ns < span.to_ns,
    )
    return int(connection.scalar(query) or 0)
