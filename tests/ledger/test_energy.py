"""Energy counters: a folder that looks like the system's, and GPUs where there are some."""

from pathlib import Path

import pytest

from headrace.ledger.energy import LocalEnergy, find_energy, find_nvml, find_rapl


def _zone(folder: Path, zone: str, name: str, uj: int, range_uj: int = 1_000_000) -> Path:
    place = folder / zone
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (place / "energy_uj").write_text(f"{uj}\n")
    return place / "energy_uj"


def test_packages_and_their_memory_are_counted_once(tmp_path: Path) -> None:
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000)
    other = _zone(tmp_path, "intel-rapl:1", "package-1", 1_000)
    core = _zone(tmp_path, "intel-rapl:0:0", "core", 100)
    memory = _zone(tmp_path, "intel-rapl:0:1", "dram", 200)
    platform = _zone(tmp_path, "intel-rapl:2", "psys", 100)
    rapl = find_rapl(tmp_path)
    assert rapl is not None
    for counter, uj in ((package, 8_000), (other, 2_000), (core, 9_000), (memory, 1_200)):
        counter.write_text(str(uj))
    platform.write_text("999999")
    assert rapl.read_mj() == 5
    assert rapl.read_mj() == 0


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 999_000, range_uj=1_000_000)
    rapl = find_rapl(tmp_path)
    assert rapl is not None
    counter.write_text("4000")
    assert rapl.read_mj() == 5


def test_what_is_less_than_a_millijoule_counts_the_next_time(tmp_path: Path) -> None:
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    rapl = find_rapl(tmp_path)
    assert rapl is not None
    found: list[int] = []
    for uj in (600, 1_200, 1_800, 2_400):
        counter.write_text(str(uj))
        found.append(rapl.read_mj())
    assert found == [0, 1, 0, 1]


def test_a_counter_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert find_rapl(tmp_path) is None
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter.write_text("not a number")
    assert find_rapl(tmp_path) is None


def test_a_counter_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    rapl = find_rapl(tmp_path)
    assert rapl is not None
    counter.unlink()
    assert rapl.read_mj() == 0
    counter.write_text("4000")
    assert rapl.read_mj() == 3


def test_without_a_driver_no_library_is_loaded(tmp_path: Path) -> None:
    assert find_nvml(tmp_path / "version") is None


class _Steady:
    def read_mj(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("rapl", "nvml", "source", "mj"),
    [
        (None, None, None, None),
        (_Steady(), None, "rapl", 7),
        (None, _Steady(), "nvml", 7),
        (_Steady(), _Steady(), "rapl+nvml", 14),
    ],
)
def test_all_counters_together(
    rapl: _Steady | None, nvml: _Steady | None, source: str | None, mj: int | None
) -> None:
    energy = LocalEnergy(rapl, nvml)
    assert (energy.source, energy.read_mj()) == (source, mj)


def test_this_machine_tells_what_it_can() -> None:
    energy = find_energy()
    read = energy.read_mj()
    assert (read is None) == (energy.source is None)
    assert read is None or read >= 0
