"""Kill -9 a loaded Headrace with two workers; `support/house_crashes.py` says how."""

from pathlib import Path

from support.house_crashes import crash_again_and_again

_POINTS = 30


def test_no_kill_loses_or_doubles_a_charge(tmp_path: Path):
    state = crash_again_and_again(tmp_path, _POINTS, seed=1, report=print)
    assert state.points >= _POINTS
    assert state.acknowledged > 0
