"""Machines: what hardware of our own costs by the hour, in integers.

`C_hour = (purchase * (1 - residual) / life + interest) + rent + space + network + operation`, and
energy beside it, `kW * PUE * price`. Hours and watts that were used become nano-dollars with one
rounding, half to even.
"""

from collections.abc import Mapping
from fractions import Fraction

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.ids import new_id
from headrace.core.money import NanoDollars
from headrace.core.scope import Scope
from headrace.ledger.prices import half_even
from headrace.store import machines as rows
from headrace.store.database import Database
from headrace.store.machines import MachineVersion

_NANO = 1_000_000_000
NS_PER_HOUR = 3_600 * _NANO
MJ_PER_KWH = 3_600_000_000
_NS_PER_MJ_PER_W = 1_000_000
_HOURS_PER_YEAR = 8_766
_AMOUNT_MAX = Fraction(10**9)
_WATTS_MAX = Fraction(10**7)
_DIGITS_MAX = 40


class Terms(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a machine costs. Amounts are decimal strings of dollars, so that nothing is rounded.

    Either `rent_per_hour`, or `purchase` with the years of its life, what it is worth after them
    in percent of the purchase, and what its money costs a year in percent of half of it (as it is
    paid back over its life). Watts are of the whole machine, idle and under full load; `pue` is
    what the building draws for each watt of the machine.
    """

    rent_per_hour: str = "0"
    purchase: str = "0"
    residual_percent: str = "0"
    life_years: str = "4"
    interest_percent: str = "0"
    space_per_hour: str = "0"
    network_per_hour: str = "0"
    operation_per_hour: str = "0"
    idle_watts: str = "0"
    load_watts: str = "0"
    pue: str = "1"
    kwh: str = "0"


class Rated(msgspec.Struct, frozen=True):
    """Terms worked out: what is fixed, and what energy costs and takes."""

    version: str
    effective_ns: int
    fixed_nano_per_hour: Fraction
    nano_per_mj: Fraction
    idle_watts: Fraction
    load_watts: Fraction
    idle_nano_per_hour: Fraction
    load_nano_per_hour: Fraction

    def fixed_nano(self, time_ns: int) -> NanoDollars:
        """What so much time costs whether or not anybody uses it."""
        return _rounded(self.fixed_nano_per_hour * time_ns / NS_PER_HOUR)

    def energy_nano(self, energy_mj: int) -> NanoDollars:
        """What energy costs, that of the building included."""
        return _rounded(self.nano_per_mj * energy_mj)

    def estimated_mj(self, up_ns: int, busy_ns: int) -> int:
        """What the machine draws, by its watts and how long it was busy."""
        more = self.load_watts - self.idle_watts
        return _rounded((self.idle_watts * up_ns + more * busy_ns) / _NS_PER_MJ_PER_W)

    def share_nano(self, machine_ns: int) -> NanoDollars:
        """What a call's share of the machine's time costs, as under full load."""
        rate = self.load_nano_per_hour
        return NanoDollars(half_even(machine_ns * rate.numerator, NS_PER_HOUR * rate.denominator))

    def takes_energy(self) -> bool:
        """Whether a call's cost holds energy, which for a single call is always estimated."""
        return bool(self.load_watts and self.nano_per_mj)


def rated(version: str, effective_ns: int, terms: Terms) -> Rated:
    """Work terms out.

    Raises:
        InvalidRequest: A value is not a number, or not a possible one; `param` names it.
    """
    value = {name: _number(name, getattr(terms, name)) for name in Terms.__struct_fields__}
    if not value["life_years"]:
        raise InvalidRequest("life_years must be more than 0", param="life_years")
    if value["residual_percent"] > 100:  # noqa: PLR2004 - percent
        raise InvalidRequest("residual_percent is at most 100", param="residual_percent")
    if value["pue"] < 1:
        raise InvalidRequest(
            "pue is at least 1: what the building draws for each watt", param="pue"
        )
    if value["load_watts"] < value["idle_watts"]:
        raise InvalidRequest("load_watts is less than idle_watts", param="load_watts")
    lost = value["purchase"] * (1 - value["residual_percent"] / 100)
    held = (value["purchase"] + value["purchase"] * value["residual_percent"] / 100) / 2
    yearly = lost / value["life_years"] + held * value["interest_percent"] / 100
    hourly = value["rent_per_hour"] + yearly / _HOURS_PER_YEAR
    hourly += value["space_per_hour"] + value["network_per_hour"] + value["operation_per_hour"]
    nano_per_mj = value["kwh"] * value["pue"] * _NANO / MJ_PER_KWH
    nano_per_watt_hour = nano_per_mj * NS_PER_HOUR / _NS_PER_MJ_PER_W
    return Rated(
        version=version,
        effective_ns=effective_ns,
        fixed_nano_per_hour=hourly * _NANO,
        idle_nano_per_hour=hourly * _NANO + value["idle_watts"] * nano_per_watt_hour,
        load_nano_per_hour=hourly * _NANO + value["load_watts"] * nano_per_watt_hour,
        nano_per_mj=nano_per_mj,
        idle_watts=value["idle_watts"],
        load_watts=value["load_watts"],
    )


class Machines:
    """The terms of all machines, by name and time.

    Args:
        database: Where they are kept.
        clock: The house's clock.
        scope: Of the organisation that has the machines.
    """

    def __init__(self, database: Database, clock: Clock, scope: Scope) -> None:
        self._database = database
        self._clock = clock
        self._scope = scope
        self._rated: Mapping[str, tuple[Rated, ...]] = {}

    async def reload(self) -> None:
        """Read them anew."""
        found = await self._database.read(lambda connection: rows.every(connection, self._scope))
        by_name: dict[str, list[Rated]] = {}
        for version in found:
            terms = decode_terms(version)
            by_name.setdefault(version.name, []).append(
                rated(version.id, version.effective_ns, terms)
            )
        self._rated = {name: tuple(versions) for name, versions in by_name.items()}

    async def set(self, name: str, terms: Terms, effective_ns: int | None = None) -> MachineVersion:
        """Write new terms down; they are in use after the next `reload`.

        Args:
            name: Of the machine.
            terms: What it costs from then on.
            effective_ns: From when; None: from now.

        Raises:
            InvalidRequest: A value is not possible, or the time has passed.
        """
        now_ns = self._clock.now_ns()
        if effective_ns is not None and effective_ns < now_ns:
            raise InvalidRequest(
                "terms cannot take effect in the past: hours that are written down stay so",
                param="effective_ns",
            )
        version = MachineVersion(
            id=new_id(self._clock),
            name=name,
            terms=msgspec.json.encode(terms).decode(),
            effective_ns=now_ns if effective_ns is None else effective_ns,
            created_ns=now_ns,
        )
        rated(version.id, version.effective_ns, terms)
        await self._database.write(lambda connection: rows.add(connection, self._scope, version))
        return version

    async def versions(self) -> tuple[MachineVersion, ...]:
        """All versions, each machine's in the order of their effect."""
        return await self._database.read(lambda connection: rows.every(connection, self._scope))

    def at(self, name: str, at_ns: int) -> Rated | None:
        """A machine's terms at a time; None before its first ones."""
        for version in reversed(self._rated.get(name, ())):
            if version.effective_ns <= at_ns:
                return version
        return None


def decode_terms(version: MachineVersion) -> Terms:
    """The terms of a row."""
    return msgspec.json.decode(version.terms, type=Terms)


def _number(name: str, text: str) -> Fraction:
    try:
        # A long exponent would make a number that fills the memory.
        if len(text) > _DIGITS_MAX or "e" in text.lower() or "/" in text:
            raise ValueError(text)  # noqa: TRY301 - the same refusal
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidRequest(f"{name} is not a decimal number: {text[:50]!r}", param=name) from None
    most = _WATTS_MAX if name.endswith("watts") else _AMOUNT_MAX
    if not 0 <= value <= most:
        raise InvalidRequest(f"{name} must be between 0 and {most}", param=name)
    return value


def _rounded(value: Fraction) -> NanoDollars:
    return NanoDollars(half_even(value.numerator, value.denominator))
