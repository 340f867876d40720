"""SIGKILL at random instants; `crashes.py` says how."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


@pytest.mark.parametrize(("kind", "points"), [("journal", 100), ("projection", 30)])
def test_nothing_acknowledged_is_lost_or_doubled(kind: str, points: int, tmp_path: Path):
    result = subprocess.run(
        [sys.executable, _HERE / "crashes.py", kind, tmp_path, str(points), "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(_HERE.parent)},
    )
    assert result.returncode == 0, result.stderr
    assert f"{points} points" in result.stdout
