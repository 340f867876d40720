"""Every session of a test is replayed when the test has passed."""

from collections.abc import AsyncGenerator

import pytest

from headrace.agent.replay import replay
from support.coding import Bench


@pytest.fixture(autouse=True)
async def replayed() -> AsyncGenerator[None]:
    Bench.made.clear()
    yield
    for path in Bench.made:
        report = await replay(path)
        assert report.differences == ()
