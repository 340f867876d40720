"""Journals of released versions open for ever; `tests/store/golden.py` wrote them."""

import shutil
from pathlib import Path

import pytest

from headrace.core.models import Usage
from headrace.ledger.reader import read, verify
from headrace.ledger.records import GenerationClosed, GenerationOpened, decode

_GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("golden", sorted(_GOLDEN.glob("journal-*")), ids=str)
def test_a_released_journal_opens(golden: Path, tmp_path: Path):
    directory = Path(shutil.copytree(golden, tmp_path / "journal"))
    assert verify(directory) == []
    said = [decode(record) for record in read(directory, "control")]
    assert [one.id for one in said if isinstance(one, GenerationOpened)] == [
        "generation-0",
        "generation-1",
        "generation-2",
    ]
    ended = [one for one in said if isinstance(one, GenerationClosed)]
    assert [(one.id, one.stop) for one in ended] == [
        ("generation-0", "end"),
        ("generation-1", "failed"),
    ]
    assert ended[0].usage == Usage(12, 4, 30, 5)
    assert said[-1] is None
