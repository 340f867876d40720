"""A sample of what `bench/idempotency.py` does: duplicates through hang-ups and a crash."""

from pathlib import Path

from support.retries import DUPLICATES, Retries

REQUESTS = 200


async def test_duplicates_are_charged_once_through_hang_ups_and_a_crash(tmp_path: Path):
    keys = REQUESTS // DUPLICATES
    tally = await Retries(tmp_path, keys=keys, kills=1, seed=1).run()
    assert tally.kills == 1
    assert tally.hang_ups > 0
    assert tally.differing == 0
    # The same answer each time, so the same price for each key.
    assert list(tally.charged.values()) == [keys]
    assert 0 not in tally.charged
