"""What this machine has: memory, cores, processor features, disk; limits of a container counted."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

_ROOT = Path("/")
_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "sve": "SVE",
}


class Machine(msgspec.Struct, frozen=True):
    """A machine, as far as the choice of a model depends on it.

    `cores` are physical ones, at least 1 and no more than the container may use.
    `memory_available_bytes` is what could be taken now without swapping.
    """

    system: str
    architecture: str
    processor: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    memory_available_bytes: int
    disk_free_bytes: int
    gpus: tuple[str, ...]


def read_machine(data: Path) -> Machine:
    """Look at this machine; `data` says whose disk counts."""
    total, available = _memory()
    processor, features = _processor()
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        processor=processor,
        features=features,
        cores=_cores(),
        memory_bytes=total,
        memory_available_bytes=available,
        disk_free_bytes=shutil.disk_usage(_nearest(data)).free,
        gpus=_gpus(),
    )


def _nearest(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _memory() -> tuple[int, int]:
    if sys.platform == "darwin":
        return _memory_of_macos()
    fields = _meminfo()
    total = fields.get("MemTotal", 0)
    available = fields.get("MemAvailable", total)
    for folder in _cgroup_folders("memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is not None and limit < total:
            total = limit
            available = min(available, max(0, limit - (used or 0) + _reclaimable(folder)))
    return total, available


def _meminfo() -> dict[str, int]:
    text = _read(_ROOT / "proc/meminfo")
    return {
        name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    }


def _reclaimable(folder: Path) -> int:
    found = re.search(
        r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE
    )
    return int(found[1]) if found else 0


def _memory_of_macos() -> tuple[int, int]:
    total = int(_sysctl("hw.memsize") or 0)
    pages = _run("/usr/bin/vm_stat")
    size = re.search(r"page size of (\d+) bytes", pages)
    free = sum(
        int(count)
        for count in re.findall(r"^Pages (?:free|inactive|purgeable): +(\d+)", pages, re.MULTILINE)
    )
    return total, free * int(size[1]) if size else total // 2


def _cores() -> int:
    if sys.platform == "darwin":
        return int(_sysctl("hw.physicalcpu") or os.cpu_count() or 1)
    allowed = os.sched_getaffinity(0)
    siblings = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(siblings), _cpu_quota() or len(siblings)))


def _siblings(cpu: int) -> str:
    topology = _ROOT / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    return _read(topology).strip() or str(cpu)


def _cpu_quota() -> int | None:
    """Whole processors that the container's quota amounts to; None without one."""
    quotas: list[float] = []
    for folder in _cgroup_folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota = _read(folder / "cpu.cfs_quota_us").strip()
            period = _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.strip().isdecimal() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return max(1, int(min(quotas))) if quotas else None


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it, of either version."""
    for line in _read(_ROOT / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / "sys/fs/cgroup" / (controller if controllers else "")
        folder = root / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))


def _processor() -> tuple[str, tuple[str, ...]]:
    if sys.platform == "darwin":
        arm = platform.machine() == "arm64"
        return _sysctl("machdep.cpu.brand_string"), ("NEON",) if arm else ("AVX2",)
    text = _read(_ROOT / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags[1].split()) if flags else set[str]()
    features = tuple(shown for flag, shown in _FEATURES.items() if flag in present)
    return name[1].strip() if name else platform.machine(), features


def _gpus() -> tuple[str, ...]:
    found: list[str] = []
    for info in sorted((_ROOT / "proc/driver/nvidia/gpus").glob("*/information")):
        model = re.search(r"^Model:\s*(.+)$", _read(info), re.MULTILINE)
        found.append(model[1].strip() if model else "NVIDIA GPU")
    if not found and (_ROOT / "dev/nvidia0").exists():
        found.append("NVIDIA GPU")
    if (_ROOT / "dev/kfd").exists():
        found.append("AMD GPU")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append("Apple GPU")
    return tuple(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _sysctl(name: str) -> str:
    return _run("/usr/sbin/sysctl", "-n", name).strip()


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - fixed programs
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
