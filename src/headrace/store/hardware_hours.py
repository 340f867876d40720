"""Hours of machines: how long each was up and busy, what it drew and what that cost."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from headrace.store.statements import run_many


class HardwareHour(msgspec.Struct, frozen=True, kw_only=True):
    """What an accrual adds to an hour of a machine; its detail holds these fields.

    `energy_mj` is all energy, `estimated_mj` what of it was estimated. `cost_nano` is what the
    machine cost, `idle_nano` what of it served nobody.
    """

    machine: str
    hour_ns: int
    up_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    estimated_mj: int = 0
    cost_nano: int = 0
    idle_nano: int = 0


def add(connection: Connection, found: Sequence[tuple[str, HardwareHour]]) -> None:
    """Add what accruals tell, each with its organisation's id."""
    if found:
        rows = [(organisation, *msgspec.structs.astuple(hour)) for organisation, hour in found]
        run_many(connection, _ADD, rows)


_FIGURES = HardwareHour.__struct_fields__[2:]
_ADD = (
    f"INSERT INTO hardware_hour (organisation_id, name, hour_ns, {', '.join(_FIGURES)})"  # noqa: S608 - names above
    f" VALUES ({', '.join('?' * (3 + len(_FIGURES)))})"
    " ON CONFLICT (organisation_id, name, hour_ns) DO UPDATE SET "
    + ", ".join(f"{name} = hardware_hour.{name} + excluded.{name}" for name in _FIGURES)
)
