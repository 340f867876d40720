from pathlib import Path

import pytest

from headrace.catalog import machine
from headrace.catalog.machine import Machine, read_machine

_GB = 10**9
_MEMINFO = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:   12000000 kB\n"
_XEON = "model name\t: Some Xeon\nflags\t\t: fpu sse avx2 avx512f amx_tile\n"
_ARM = "processor\t: 0\nFeatures\t: fp asimd sve\n"


class Tree:
    """A made-up /proc and /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", _MEMINFO)
        self.write("proc/cpuinfo", _XEON)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self) -> Machine:
        return read_machine(self.root)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1, 2, 3}, raising=False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    return Tree(tmp_path)


def test_a_plain_machine(tree: Tree):
    found = tree.read()
    assert (found.processor, found.features) == ("Some Xeon", ("AVX2", "AVX-512", "AMX"))
    assert (found.memory_bytes, found.memory_available_bytes) == (16_384_000_000, 12_288_000_000)
    assert (found.cores, found.gpus) == (4, ())


def test_an_arm_machine(tree: Tree):
    tree.write("proc/cpuinfo", _ARM)
    assert tree.read().features == ("NEON", "SVE")


def test_hyper_threads_are_no_cores(tree: Tree):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        tree.write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    assert tree.read().cores == 2


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1), ("250000", 2), ("1", 1), ("max", 4)])
def test_a_quota_of_processors_counts(tree: Tree, quota: str, cores: int):
    tree.write("proc/self/cgroup", "0::/box/inner\n")
    tree.write("sys/fs/cgroup/box/cpu.max", f"{quota} 100000\n")
    assert tree.read().cores == cores


def test_the_tightest_limit_of_memory_above_counts(tree: Tree):
    tree.write("proc/self/cgroup", "0::/box/inner\n")
    tree.write("sys/fs/cgroup/box/memory.max", f"{4 * _GB}\n")
    tree.write("sys/fs/cgroup/box/memory.current", f"{3 * _GB}\n")
    tree.write("sys/fs/cgroup/box/memory.stat", f"anon 1\ninactive_file {_GB}\n")
    tree.write("sys/fs/cgroup/box/inner/memory.max", "max\n")
    found = tree.read()
    assert (found.memory_bytes, found.memory_available_bytes) == (4 * _GB, 2 * _GB)


def test_the_first_version_of_control_groups_counts_too(tree: Tree):
    tree.write("proc/self/cgroup", "3:cpu,cpuacct:/box\n2:memory:/box\n1:name=systemd:/box\n")
    tree.write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{2 * _GB}\n")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "200000\n")
    tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n")
    found = tree.read()
    assert (found.memory_bytes, found.memory_available_bytes) == (2 * _GB, 2 * _GB)
    assert found.cores == 2


def test_gpus_are_noted(tree: Tree):
    tree.write(
        "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t NVIDIA H100\nIRQ: 1\n"
    )
    tree.write("dev/kfd", "")
    assert tree.read().gpus == ("NVIDIA H100", "AMD GPU")


def test_a_machine_that_says_nothing_is_no_crash(tree: Tree):
    tree.write("proc/meminfo", "")
    tree.write("proc/cpuinfo", "")
    found = tree.read()
    assert (found.memory_bytes, found.features) == (0, ())
