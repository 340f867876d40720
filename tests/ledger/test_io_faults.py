"""A disk that fails under a loaded ledger; `io_faults.py` and `faults.c` say how."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_POINTS = 25


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The library that fails what programs write."""
    if sys.platform != "linux":
        pytest.skip("files are told by /proc")
    compiler = shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("a C compiler is missing: apt-get install gcc libc6-dev")
        pytest.skip("there is no C compiler (Debian: apt-get install gcc libc6-dev)")
    library = tmp_path / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", library, _HERE / "faults.c"]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def test_no_acknowledged_charge_is_lost_or_doubled(faults: Path, tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    result = subprocess.run(
        [sys.executable, _HERE / "io_faults.py", folder, str(_POINTS), "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(_HERE.parent), "LD_PRELOAD": str(faults)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{_POINTS} errors met" in result.stdout
