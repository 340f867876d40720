"""Energy: what this machine draws, where it has counters that tell.

RAPL counts the processors and their memory (Linux, /sys/class/powercap), NVML the GPUs. Neither
knows fans, disks or the power supply; what such a counter says is called measured all the same,
and a machine without any is estimated from its watts.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

Source = Literal["rapl", "nvml", "rapl+nvml"]

POWERCAP = Path("/sys/class/powercap")
NVIDIA = Path("/proc/driver/nvidia/version")
_UJ_PER_MJ = 1_000
_RAPL_ZONES = ("package-", "dram")


class Meter(Protocol):
    """Counts energy from when it was made."""

    def read_mj(self) -> int:
        """Millijoules since the last reading, or since it was made."""
        ...


class _Zone(msgspec.Struct):
    """One counter of RAPL: it begins anew at `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int


class Rapl:
    """The RAPL counters of a folder.

    Must be read more often than they wrap around, which at full load is about once in ten
    minutes.

    Args:
        zones: From `find_rapl`.
    """

    def __init__(self, zones: list[_Zone]) -> None:
        self._zones = zones
        self._rest_uj = 0

    def read_mj(self) -> int:
        """Millijoules since the last reading; what is less than one counts the next time."""
        used_uj = self._rest_uj
        for zone in self._zones:
            now_uj = _number(zone.path)
            if now_uj is None:
                continue  # it has gone for now; its counter goes on
            passed_uj = now_uj - zone.last_uj
            used_uj += passed_uj if passed_uj >= 0 else passed_uj + zone.range_uj
            zone.last_uj = now_uj
        used_mj, self._rest_uj = divmod(used_uj, _UJ_PER_MJ)
        return used_mj


def find_rapl(folder: Path = POWERCAP) -> Rapl | None:
    """The counters of all packages and of their memory; None where we may read none.

    Parts of a package (cores, graphics) are in its own count; that of the whole platform, which
    few machines have, holds the packages' again.
    """
    zones: list[_Zone] = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        name = _text(zone / "name")
        counter, range_uj = zone / "energy_uj", _number(zone / "max_energy_range_uj")
        now_uj = _number(counter)
        if name.startswith(_RAPL_ZONES) and range_uj is not None and now_uj is not None:
            zones.append(_Zone(counter, range_uj, now_uj))
    return Rapl(zones) if zones else None


class Nvml:
    """The counters of all GPUs that have one (Volta and later).

    Args:
        library: `pynvml`, initialised.
        handles: Of the GPUs.
    """

    def __init__(self, library: Any, handles: list[Any]) -> None:  # noqa: ANN401 - it has no types
        self._library = library
        self._last_mj = {index: self._count(handle) for index, handle in enumerate(handles)}
        self._handles = handles

    def read_mj(self) -> int:
        """Millijoules since the last reading."""
        used_mj = 0
        for index, handle in enumerate(self._handles):
            now_mj = self._count(handle)
            # The counter begins anew when the driver is loaded again.
            used_mj += max(0, now_mj - self._last_mj[index])
            self._last_mj[index] = now_mj
        return used_mj

    def _count(self, handle: Any) -> int:  # noqa: ANN401 - as above
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(handle))
        except self._library.NVMLError:
            return 0


def find_nvml(driver: Path = NVIDIA) -> Nvml | None:
    """The GPUs' counters; the library is loaded only where NVIDIA's driver is."""
    if not driver.exists():
        return None
    # 3 MB that a machine without a GPU never needs.
    library: Any = import_module("pynvml")
    try:
        library.nvmlInit()
        handles = [
            library.nvmlDeviceGetHandleByIndex(index)
            for index in range(library.nvmlDeviceGetCount())
        ]
        counting = [handle for handle in handles if _counts(library, handle)]
    except library.NVMLError:
        return None
    return Nvml(library, counting) if counting else None


class LocalEnergy:
    """All counters of this machine together.

    Args:
        rapl: Of its processors.
        nvml: Of its GPUs.
    """

    def __init__(self, rapl: Meter | None, nvml: Meter | None) -> None:
        self._meters = [meter for meter in (rapl, nvml) if meter is not None]
        both = rapl is not None and nvml is not None
        self.source: Source | None = (
            "rapl+nvml" if both else "rapl" if rapl is not None else "nvml" if nvml else None
        )
        """What measures, None where nothing does."""

    def read_mj(self) -> int | None:
        """Millijoules since the last reading, None where nothing measures."""
        if not self._meters:
            return None
        return sum(meter.read_mj() for meter in self._meters)


def find_energy() -> LocalEnergy:
    """The counters that this machine has and that we may read."""
    rapl = find_rapl() if sys.platform == "linux" else None
    return LocalEnergy(rapl, find_nvml())


def _counts(library: Any, handle: Any) -> bool:  # noqa: ANN401 - as above
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except library.NVMLError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None
