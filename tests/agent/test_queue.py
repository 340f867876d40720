"""Words that wait when a turn ends: nothing is lost, they are told first in the next one."""

from pathlib import Path

import pytest

from headrace.agent.entries import Said, Turned
from headrace.agent.parts import Limits
from headrace.agent.progress import Asking, Noticed, Progress
from headrace.core.events import Failed
from headrace.core.models import Usage
from headrace.ledger.prices import Rates
from support.coding import Bench, Line, answer, call

RATES = Rates(input=3_000_000_000, output=15_000_000_000)
USED = Usage(input=2_000, output=100)


def endless(count: int = 9) -> list[Line]:
    return [answer(call("Read", {"path": "a"}, f"c{n}"), usage=USED) for n in range(count)]


def said(bench: Bench) -> list[str]:
    return [one.message.text() for one in bench.bodies(Said) if one.origin == "user"]


ENDINGS: dict[str, tuple[list[Line], Limits, int]] = {
    "max_turns": (endless(), Limits(turns_max=1), 0),
    "budget": (endless(), Limits(budget_nano=25_000_000), 0),
    "failed": ([[Failed("invalid_request", "No.")]], Limits(), 0),
    "truncated": ([answer("la", stop="length")] * 3, Limits(), 2),
    "repeated": (endless(), Limits(), 3),
}
"""By the end of a turn: what the model says, and in which of its calls something is said."""


@pytest.mark.parametrize("why", ENDINGS)
async def test_what_waits_when_a_turn_ends_is_told_first_in_the_next(
    tmp_path: Path, why: str
) -> None:
    lines, limits, place = ENDINGS[why]
    bench = Bench(tmp_path, *lines, limits=limits, rates=RATES)

    def heard(progress: Progress) -> None:
        if isinstance(progress, Asking) and len(bench.model.asked) == place:
            bench.session.queue("Use tabs.")

    unsubscribe = bench.session.subscribe(heard)
    assert await bench.session.turn("Go.") == why
    unsubscribe()
    waiting = bench.session.queued()
    assert waiting == (() if why in {"max_turns", "budget"} else ("Use tabs.",))
    told = [one for one in bench.progress if isinstance(one, Noticed) and "next" in one.text]
    assert [(one.level, one.text.rpartition(": ")[2]) for one in told] == [
        ("warning", one) for one in waiting
    ]
    bench.model.lines = []
    await bench.session.turn("Go on.")
    assert said(bench) == ["Go.", "Use tabs.", "Go on."]
    assert bench.session.queued() == ()
    assert isinstance(bench.log.branch()[-1].body, Turned)
