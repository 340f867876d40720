"""The measured year, a small one: its books are right."""

import runpy
import sys
from pathlib import Path

import pytest

from headrace.ledger.verify import verify
from headrace.store.database import Database

BENCH = Path(__file__).parents[2] / "bench" / "ledger_year.py"


def test_a_small_year_is_filled_asked_and_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    few = ["--calls", "400", "--days", "35", "--runs", "1"]
    monkeypatch.setattr(sys, "argv", ["ledger_year", str(tmp_path), *few, "--journal"])
    runpy.run_path(str(BENCH), run_name="__main__")
    told = capsys.readouterr().out
    assert "spend page by team, 30 days" in told
    database = Database.at(tmp_path, None)
    try:
        found = database.read_now(lambda c: verify(c, tmp_path / "journal", lambda _: None))
    finally:
        database.close()
    assert found.problems == []
    assert found.generations > 300
