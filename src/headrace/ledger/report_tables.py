"""Reports as the terminal shows them: tables with small bars."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from headrace.core.money import NanoDollars, format_usd
from headrace.ledger.reports.breakeven import Breakeven, BreakevenRow
from headrace.ledger.reports.burn import BudgetBurn, Burn, Rate
from headrace.ledger.reports.cache import Cache, CacheRow
from headrace.ledger.reports.changes import Change
from headrace.ledger.reports.machines import MachineRow, Machines
from headrace.ledger.reports.margin import Margin, MarginRow
from headrace.ledger.reports.payback import Payback, PaybackRow
from headrace.ledger.reports.span import day_of
from headrace.ledger.reports.spend import Spend, SpendRow
from headrace.ledger.reports.units import ChangeUnit, ModelUnit, Units
from headrace.store.balances import Balance

UNKNOWN = "-"
_BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NS_PER_S = 1_000_000_000
_NS_PER_HOUR = 3_600 * _NS_PER_S
_MJ_PER_WH = 3_600_000
_CENT_NANO = 10_000_000
_FIGURES = 3
_BASIS_POINTS = 100


R = TypeVar("R")


@dataclass(frozen=True)
class Column(Generic[R]):
    """A heading, and what stands under it."""

    name: str
    cell: Callable[[R], str]
    right: bool = True


def table(columns: Sequence[Column[R]], rows: Sequence[R]) -> str:
    """Rows under their headings, without a line at the end."""
    lines = [[column.name for column in columns]]
    lines += [[column.cell(row) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def bar(value: int, most: int) -> str:
    """A bar as long as `value` is beside `most`; none for a total, which is more than that."""
    if not 0 < value <= most:
        return ""
    eighths = max(1, value * _BAR_WIDTH * 8 // most)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def usd(nano: int | None) -> str:
    """Money for people: cents, and all that there is below a dollar cent."""
    if nano is None:
        return UNKNOWN
    if abs(nano) < _CENT_NANO:
        return format_usd(NanoDollars(nano))
    sign, cents = ("-" if nano < 0 else ""), (abs(nano) + _CENT_NANO // 2) // _CENT_NANO
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def unit_usd(nano: int | None) -> str:
    """What one of something comes to: its first three figures, and cents at least."""
    if nano is None:
        return UNKNOWN
    size = abs(nano)
    unit = min(10 ** max(0, len(str(size)) - _FIGURES), _CENT_NANO)
    rounded = (size + unit // 2) // unit * unit
    return format_usd(NanoDollars(-rounded if nano < 0 else rounded))


def count(value: int | None) -> str:
    """A number with its thousands apart."""
    return UNKNOWN if value is None else f"{value:,}"


def percent(basis_points: int | None) -> str:
    """A share, from hundredths of a percent."""
    if basis_points is None:
        return UNKNOWN
    sign, whole = ("-" if basis_points < 0 else ""), abs(basis_points)
    return f"{sign}{whole // _BASIS_POINTS}.{whole % _BASIS_POINTS // 10} %"


def when(time_ns: int | None) -> str:
    """A time in UTC."""
    if time_ns is None:
        return UNKNOWN
    return datetime.fromtimestamp(time_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")


def show_spend(report: Spend) -> None:
    """Spending, with a bar for each row."""
    most = max((row.price_nano or row.cost_nano for row in report.rows), default=0)

    def share(row: SpendRow) -> str:
        return bar(row.price_nano or row.cost_nano, most)

    columns = (
        Column[SpendRow](report.by, lambda row: row.name, right=False),
        Column[SpendRow]("calls", lambda row: count(row.calls)),
        Column[SpendRow]("in", lambda row: count(row.input_tokens)),
        Column[SpendRow]("out", lambda row: count(row.output_tokens)),
        Column[SpendRow]("charged", lambda row: usd(row.price_nano)),
        Column[SpendRow]("cost", lambda row: usd(row.cost_nano)),
        Column[SpendRow]("", share, right=False),
    )
    total = SpendRow(**msgspec.structs.asdict(report.totals), id="", name="all", receipts="")
    _print(_span(report.from_ns, report.to_ns), table(columns, (*report.rows, total)))


def show_units(report: Units) -> None:
    """Tokens and changes of code."""
    models = (
        Column[ModelUnit]("model", lambda row: row.model_id, right=False),
        Column[ModelUnit]("tokens", lambda row: count(row.tokens)),
        Column[ModelUnit]("charged per 1,000", lambda row: unit_usd(row.price_per_thousand_nano)),
        Column[ModelUnit]("cost per 1,000", lambda row: unit_usd(row.cost_per_thousand_nano)),
    )
    changes = (
        Column[ChangeUnit]("model", lambda row: row.model_id or "all", right=False),
        Column[ChangeUnit]("accepted changes", lambda row: count(row.accepted)),
        Column[ChangeUnit]("charged per change", lambda row: unit_usd(row.price_per_change_nano)),
        Column[ChangeUnit]("cost per change", lambda row: unit_usd(row.cost_per_change_nano)),
    )
    accepted = (*report.changes, report.all_changes)
    span = _span(report.from_ns, report.to_ns)
    parts = (span, table(models, report.models), table(changes, accepted))
    _print(*parts)


def show_margin(report: Margin) -> None:
    """Margins by model, team and account."""
    most = max((abs(row.margin_nano) for row in report.models), default=0)

    def columns(name: str) -> tuple[Column[MarginRow], ...]:
        return (
            Column[MarginRow](name, lambda row: row.name, right=False),
            Column[MarginRow]("charged", lambda row: usd(row.price_nano)),
            Column[MarginRow]("cost", lambda row: usd(row.cost_nano)),
            Column[MarginRow]("loss", lambda row: usd(row.loss_nano)),
            Column[MarginRow]("margin", lambda row: usd(row.margin_nano)),
            Column[MarginRow]("", lambda row: percent(row.margin_bp)),
            Column[MarginRow]("", lambda row: bar(row.margin_nano, most), right=False),
        )

    rows = (*report.models, report.total)
    idle = f"idle machines {usd(report.idle_nano)}, margin after them {usd(report.after_idle_nano)}"
    _print(
        _span(report.from_ns, report.to_ns),
        table(columns("model"), rows),
        table(columns("team"), report.teams),
        table(columns("account"), report.accounts),
        idle,
    )


def show_payback(report: Payback) -> None:
    """Releases and their training."""
    columns = (
        Column[PaybackRow](
            "release", lambda row: f"{row.name} {row.release_digest[7:19]}", right=False
        ),
        Column[PaybackRow]("training", lambda row: usd(row.cost_nano)),
        Column[PaybackRow]("earned", lambda row: usd(row.earned_nano)),
        Column[PaybackRow]("left", lambda row: usd(row.left_nano)),
        Column[PaybackRow](
            "left per 1M tokens", lambda row: unit_usd(row.left_per_million_tokens_nano)
        ),
        Column[PaybackRow]("a day", lambda row: usd(row.per_day_nano)),
        Column[PaybackRow]("days left", lambda row: count(row.days_left)),
        Column[PaybackRow](
            "", lambda row: bar(min(row.earned_nano, row.cost_nano), row.cost_nano), right=False
        ),
    )
    rows = report.rows
    nothing = "no release has a cost of training; set one with: headrace machines asset"
    _print(table(columns, rows) if rows else nothing)


def show_burn(report: Burn) -> None:
    """How fast money goes."""
    rates = (
        Column[Rate]("last", lambda row: f"{row.days} days", right=False),
        Column[Rate]("charged a day", lambda row: usd(row.price_per_day_nano)),
        Column[Rate]("cost a day", lambda row: usd(row.cost_per_day_nano)),
    )
    budgets = (
        Column[BudgetBurn]("budget of", lambda row: row.name, right=False),
        Column[BudgetBurn]("per", lambda row: row.period, right=False),
        Column[BudgetBurn]("limit", lambda row: usd(row.limit_nano)),
        Column[BudgetBurn]("spent", lambda row: usd(row.spent_nano)),
        Column[BudgetBurn]("", lambda row: f"{row.spent_percent} %"),
        Column[BudgetBurn](
            "", lambda row: bar(min(row.spent_nano, row.limit_nano), row.limit_nano), right=False
        ),
        Column[BudgetBurn]("spent at (UTC)", lambda row: when(row.spent_at_ns)),
    )
    found = report.budgets
    _print(table(rates, report.rates), table(budgets, found) if found else "no budgets")


def show_breakeven(report: Breakeven) -> None:
    """Machines beside providers."""
    columns = (
        Column[BreakevenRow]("machine", lambda row: row.machine, right=False),
        Column[BreakevenRow]("model", lambda row: row.model_id, right=False),
        Column[BreakevenRow]("beside", lambda row: row.provider, right=False),
        Column[BreakevenRow]("tokens/s", lambda row: count(row.tokens_per_s)),
        Column[BreakevenRow]("ours per 1M", lambda row: unit_usd(row.own_per_million_nano)),
        Column[BreakevenRow]("theirs per 1M", lambda row: unit_usd(row.provider_per_million_nano)),
        Column[BreakevenRow](
            "cheaper from tokens a day", lambda row: count(row.breakeven_tokens_per_day)
        ),
        Column[BreakevenRow]("use", lambda row: percent(row.breakeven_bp)),
    )
    rows = report.rows
    nothing = "no model has run on a machine whose cost is known, beside a provider's known price"
    _print(_span(report.from_ns, report.to_ns), table(columns, rows) if rows else nothing)


def show_cache(report: Cache) -> None:
    """What prefix caches saved."""
    most = max((row.saved_nano for row in report.rows), default=0)
    columns = (
        Column[CacheRow]("model", lambda row: row.model_id or "all", right=False),
        Column[CacheRow]("in", lambda row: count(row.input_tokens)),
        Column[CacheRow]("cached", lambda row: count(row.cached_tokens)),
        Column[CacheRow]("", lambda row: percent(row.cached_bp)),
        Column[CacheRow]("charged", lambda row: usd(row.price_nano)),
        Column[CacheRow]("saved", lambda row: usd(row.saved_nano)),
        Column[CacheRow](
            "", lambda row: bar(row.saved_nano, most) if row.model_id else "", right=False
        ),
    )
    rows = (*report.rows, report.total)
    _print(_span(report.from_ns, report.to_ns), table(columns, rows))


def show_machines(report: Machines) -> None:
    """Machines and their hours."""
    columns = (
        Column[MachineRow]("machine", lambda row: row.name, right=False),
        Column[MachineRow]("up", lambda row: _hours(row.up_ns)),
        Column[MachineRow]("busy", lambda row: _hours(row.busy_ns)),
        Column[MachineRow]("", lambda row: percent(row.used_bp)),
        Column[MachineRow]("", lambda row: bar(row.busy_ns, row.up_ns), right=False),
        Column[MachineRow]("energy", lambda row: f"{row.energy_mj // _MJ_PER_WH:,} Wh"),
        Column[MachineRow]("of it estimated", lambda row: f"{row.estimated_mj // _MJ_PER_WH:,} Wh"),
        Column[MachineRow]("cost", lambda row: usd(row.cost_nano)),
        Column[MachineRow]("idle", lambda row: usd(row.idle_nano)),
    )
    rows = report.rows
    nothing = (
        "no machine with a known cost has run for a full hour yet;"
        " set a cost with: headrace machines set"
    )
    _print(_span(report.from_ns, report.to_ns), table(columns, rows) if rows else nothing)


def show_balances(found: Sequence[Balance]) -> None:
    """The books."""
    columns = (
        Column[Balance]("account", lambda row: row.name, right=False),
        Column[Balance]("balance", lambda row: format_usd(NanoDollars(row.amount_nano))),
        Column[Balance]("entries", lambda row: count(row.entries)),
    )
    total = Balance("all", sum(one.amount_nano for one in found), sum(one.entries for one in found))
    _print(table(columns, (*found, total)))


def show_audit(found: Sequence[Change]) -> None:
    """Who changed what; `--json` tells the ids."""
    columns = (
        Column[Change]("time (UTC)", lambda row: when(row.time_ns), right=False),
        Column[Change]("who", lambda row: row.actor, right=False),
        Column[Change]("did", lambda row: f"{row.did} {row.object}", right=False),
        Column[Change]("detail", lambda row: row.told, right=False),
    )
    _print(table(columns, found) if found else "nothing was changed yet")


def _span(from_ns: int, to_ns: int) -> str:
    return f"{day_of(from_ns)} to {day_of(to_ns - 1)} (UTC)"


def _hours(time_ns: int) -> str:
    return f"{time_ns // _NS_PER_HOUR:,} h"


def _print(*parts: str) -> None:
    sys.stdout.write("\n\n".join(parts) + "\n")
