"""A sample of `bench/budgets.py`: many callers at once, in one process and in two."""

import subprocess
import sys
from pathlib import Path

import msgspec

_BENCH = Path(__file__).parents[2] / "bench/budgets.py"
_CALLS = 1_500
_LIMIT_NANO = _CALLS * 500_000


def test_a_crowd_spends_a_budget_and_no_more(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, _BENCH, tmp_path, "--calls", str(_CALLS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = msgspec.json.decode((tmp_path / "budgets.json").read_bytes())
    for name in ("256 in 1 process", "256 in 2 processes"):
        spent_nano = lines[name]["spent_nano"]
        assert 0.99 * _LIMIT_NANO <= spent_nano <= _LIMIT_NANO, name
