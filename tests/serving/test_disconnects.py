"""A sample of what `bench/disconnects.py` does: clients that leave at random moments."""

from pathlib import Path

import pytest

from headrace.store.database import Database
from support.disconnects import RATES, Witness, hang_ups
from support.money import set_price
from support.serving import scripted, served_api

CLIENTS = 50
LATE = 2


@pytest.mark.parametrize("seed", [1])
async def test_whoever_leaves_is_billed_to_the_token(
    sqlite_database: Database, tmp_path: Path, seed: int
):
    turn = {"match": {"user": "tell"}, "steps": [{"text": "word " * 60, "token_delay_ms": 1}]}
    engine = scripted(tmp_path / "s.json", turn, model={"id": "parrot"}, late_tokens=LATE)
    witness = Witness(engine)
    async with served_api(sqlite_database, tmp_path, [witness]) as api:
        await set_price(api, "parrot", RATES)
        tally = await hang_ups(
            api, witness, clients=CLIENTS, seed=seed, longest_s=0.25, text="tell"
        )
    assert tally.wrong == []
    assert tally.cancelled > CLIENTS / 4
    assert tally.billed_tokens > CLIENTS
    assert tally.unbilled_most == LATE
