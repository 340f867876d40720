"""Whatever a network, a proxy or a server puts into a stream, the client makes nothing up.

`bench/code_faults.py` sends more of them.
"""

import pytest

from headrace.agent.endpoint import Dialect
from support.stream_faults import DIALECTS, check_many

STREAMS = 670
"""For each dialect."""


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_faulty_stream_invents_nothing_and_never_passes_for_whole(dialect: Dialect):
    found = await check_many(dialect, range(STREAMS))
    assert {one.end for one in found} == {"Failed", "Finished"}
    assert sum(one.ready for one in found) > STREAMS // 3
