"""All reports: the pages, the commands and the benchmark ask for them in the same way."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.ledger.reports.breakeven import Breakeven, BreakevenRow, breakeven
from headrace.ledger.reports.burn import BudgetBurn, Burn, burn
from headrace.ledger.reports.cache import Cache, CacheRow, cache
from headrace.ledger.reports.machines import MachineRow, Machines, machines
from headrace.ledger.reports.margin import Margin, MarginRow, margin
from headrace.ledger.reports.names import By
from headrace.ledger.reports.payback import Payback, PaybackRow, payback
from headrace.ledger.reports.span import Span
from headrace.ledger.reports.spend import Spend, SpendRow, spend
from headrace.ledger.reports.sums import ANY, Same
from headrace.ledger.reports.units import ModelUnit, Units, units


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is asked about; each takes of it what it knows."""

    now_ns: int
    span: Span
    same: Same = ANY
    by: By = "team"


class Report(NamedTuple):
    """How a report is made, and which of its tables is told as CSV.

    `for_members`: it can be narrowed to what a member may see.
    """

    make: Callable[[Connection, Scope, Asked], msgspec.Struct]
    rows: str
    shape: type[msgspec.Struct]
    for_members: bool = False


def _spend(connection: Connection, scope: Scope, asked: Asked) -> Spend:
    return spend(connection, scope, asked.span, asked.by, asked.same)


def _cache(connection: Connection, scope: Scope, asked: Asked) -> Cache:
    return cache(connection, scope, asked.span, asked.same)


def _units(connection: Connection, scope: Scope, asked: Asked) -> Units:
    return units(connection, scope, asked.span, asked.same)


def _margin(connection: Connection, scope: Scope, asked: Asked) -> Margin:
    return margin(connection, scope, asked.span)


def _payback(connection: Connection, scope: Scope, asked: Asked) -> Payback:
    return payback(connection, scope, asked.now_ns)


def _burn(connection: Connection, scope: Scope, asked: Asked) -> Burn:
    return burn(connection, scope, asked.now_ns)


def _breakeven(connection: Connection, scope: Scope, asked: Asked) -> Breakeven:
    return breakeven(connection, scope, asked.span, asked.now_ns)


def _machines(connection: Connection, scope: Scope, asked: Asked) -> Machines:
    return machines(connection, scope, asked.span)


REPORTS = {
    "spend": Report(_spend, "rows", SpendRow, for_members=True),
    "units": Report(_units, "models", ModelUnit),
    "margin": Report(_margin, "models", MarginRow),
    "payback": Report(_payback, "rows", PaybackRow),
    "burn": Report(_burn, "budgets", BudgetBurn),
    "breakeven": Report(_breakeven, "rows", BreakevenRow),
    "cache": Report(_cache, "rows", CacheRow, for_members=True),
    "machines": Report(_machines, "rows", MachineRow),
}
