"""Machines: how long each was up and busy, what it drew, and what that cost."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.span import Span, check_sees_figures, ratio
from headrace.store.schema_ledger import hardware_hour
from headrace.store.spend import DAY_NS

_BASIS_POINTS = 10_000
_FIGURES = ("up_ns", "busy_ns", "energy_mj", "estimated_mj", "cost_nano", "idle_nano")


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of our own. Times in nanoseconds, energy in millijoules.

    `idle_ns` is the time it was up and served nobody, `idle_nano` what that cost; `used_bp` is
    the busy share of the time in hundredths of a percent. `estimated_mj` is what of the energy
    was reckoned from the machine's watts and not measured.
    """

    name: str
    up_ns: int
    busy_ns: int
    idle_ns: int
    used_bp: int | None
    energy_mj: int
    estimated_mj: int
    cost_nano: int
    idle_nano: int


class MachinePoint(msgspec.Struct, frozen=True):
    """A day of a machine."""

    day_ns: int
    name: str
    up_ns: int
    busy_ns: int
    energy_mj: int
    cost_nano: int
    idle_nano: int


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    """Machines over whole days of UTC."""

    from_ns: int
    to_ns: int
    rows: tuple[MachineRow, ...]
    series: tuple[MachinePoint, ...]


def machines(connection: Connection, scope: Scope, span: Span) -> Machines:
    """The machines of the scope's organisation.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    day = hardware_hour.c.hour_ns - hardware_hour.c.hour_ns % DAY_NS
    query = (
        select(
            day.label("day_ns"),
            hardware_hour.c.name,
            *(func.sum(hardware_hour.c[name]).label(name) for name in _FIGURES),
        )
        .where(
            hardware_hour.c.organisation_id == scope.organisation_id,
            hardware_hour.c.hour_ns >= span.from_ns,
            hardware_hour.c.hour_ns < span.to_ns,
        )
        .group_by(day, hardware_hour.c.name)
        .order_by(day, hardware_hour.c.name)
    )
    whole: dict[str, dict[str, int]] = {}
    series: list[MachinePoint] = []
    for row in connection.execute(query).mappings():
        one = {name: int(row[name]) for name in _FIGURES}
        shown = {name: value for name, value in one.items() if name != "estimated_mj"}
        series.append(MachinePoint(day_ns=int(row["day_ns"]), name=row["name"], **shown))
        before = whole.get(row["name"], {})
        whole[row["name"]] = {name: before.get(name, 0) + one[name] for name in _FIGURES}
    rows = tuple(_row(name, values) for name, values in sorted(whole.items()))
    return Machines(from_ns=span.from_ns, to_ns=span.to_ns, rows=rows, series=tuple(series))


def _row(name: str, one: Mapping[str, int]) -> MachineRow:
    up, busy = one["up_ns"], one["busy_ns"]
    used = ratio(busy, _BASIS_POINTS, up)
    return MachineRow(name=name, idle_ns=up - busy, used_bp=used, **one)
