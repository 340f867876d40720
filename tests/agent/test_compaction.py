"""Compaction: by itself when the window fills, readable, editable, undone; and its limits."""

import asyncio
from pathlib import Path

import pytest

from headrace.agent import prompt_texts
from headrace.agent.entries import Answered, Begun, Broke, Compacted
from headrace.agent.parts import Limits
from headrace.agent.progress import Noticed
from headrace.core.errors import BudgetSpent, Conflict, InvalidRequest, NotFound
from headrace.core.events import Event, Failed
from headrace.core.messages import user
from headrace.core.models import Usage
from headrace.core.requests import Request
from headrace.ledger.prices import Rates
from support.coding import HANG, Bench, Line, Noting, answer, call

LONG = "word " * 600


def said_by(request: Request) -> str:
    return "\n".join(message.text() for message in request.messages)


def reading(count: int) -> list[Line]:
    return [
        answer(call("Read", {"path": str(n)}, f"c{n}"), usage=Usage(input=0, output=0))
        for n in range(count)
    ]


async def test_a_full_window_is_compacted_and_the_work_goes_on(tmp_path: Path) -> None:
    read = Noting("Read", says=lambda used: LONG + used["path"])

    def line(request: Request) -> list[Event]:
        if prompt_texts.COMPACT in request.messages[-1].text():
            return answer("SUMMARY", usage=Usage(input=1, output=1))
        return answer(call("Read", {"path": str(len(read.used))}, f"c{len(read.used)}"))

    lines: list[Line] = [line] * 20
    bench = Bench(
        tmp_path,
        *lines,
        answer("Done."),
        tools=(read,),
        begun={"context_tokens": 8_000},
        limits=Limits(turns_max=10),
    )
    assert await bench.session.turn("Never use tabs. Read all.") == "max_turns"
    compactions = bench.bodies(Compacted)
    assert compactions
    assert compactions[0].summary == "SUMMARY"
    assert compactions[0].pinned == ("Never use tabs. Read all.",)
    last = said_by(bench.model.asked[-1])
    assert "SUMMARY" in last
    assert last.count("Never use tabs.") == 1
    for request in bench.model.asked:
        assert len(said_by(request)) < 8_000 * 3


async def test_the_summary_is_asked_for_behind_the_same_prefix(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One."), answer("Two."), answer("SUMMARY"), answer("Three."))
    await bench.session.turn("First.")
    await bench.session.turn("Second.")
    compacted = await bench.session.compact("Keep the names.")
    assert compacted is not None
    assert bench.session.compacted() == compacted
    assert bench.model.grows()
    assert "Keep the names." in bench.model.asked[-1].messages[-1].text()
    await bench.session.turn("Third.")
    shown = said_by(bench.model.asked[-1])
    assert "Summary:\nSUMMARY" in shown
    assert "One." not in shown
    assert "<user>\nSecond.\n</user>" in shown


async def test_a_summary_is_edited_and_undone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One."), answer("SUMMARY"))
    with pytest.raises(NotFound):
        bench.session.edit_compaction("x")
    await bench.session.turn("First.")
    assert await bench.session.compact() is not None
    await bench.session.turn("Second.")
    bench.session.edit_compaction("EDITED")
    with pytest.raises(InvalidRequest):
        bench.session.edit_compaction(" ")
    bench.model.lines = []
    await bench.session.turn("Third.")
    shown = said_by(bench.model.asked[-1])
    assert "EDITED" in shown
    assert "SUMMARY" not in shown
    assert "Second." in shown
    assert bench.session.undo_compaction()
    assert not bench.session.undo_compaction()
    assert bench.session.compacted() is None


async def test_what_does_not_fit_even_then_stops_loudly(tmp_path: Path) -> None:
    bench = Bench(tmp_path, begun={"context_tokens": 300})
    assert await bench.session.turn("w " * 4_000) == "context_full"
    turned = bench.log.branch()[-1].body
    assert "300" in turned.text  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - a Turned
    assert bench.model.asked == []


async def test_a_server_that_finds_it_too_long_makes_it_shorter(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        answer("One."),
        [Failed("context_too_long", "Too long.")],
        answer("SUMMARY"),
        answer("Two."),
        begun={"context_tokens": 0},
    )
    await bench.session.turn("First.")
    assert await bench.session.turn("Second.") == "done"
    assert [one.summary for one in bench.bodies(Compacted)] == ["SUMMARY"]


async def test_an_empty_summary_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One."), answer(), begun={"context_tokens": 0})
    await bench.session.turn("First.")
    assert await bench.session.compact() is None
    assert bench.kinds()[-1] == "broke"
    assert [one.kind for one in bench.bodies(Broke)] == ["empty_summary"]


async def test_a_summary_is_paid_for(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        answer("One."),
        answer("SUMMARY"),
        begun={"context_tokens": 0},
        rates=Rates(input=1_000_000, output=1_000_000),
        limits=Limits(budget_nano=10_000),
    )
    await bench.session.turn("First.")
    assert await bench.session.compact() is not None
    assert bench.session.cost().nano == 220
    assert isinstance(bench.log.branch()[0].body, Begun)
    assert len(bench.bodies(Answered)) == 1
    assert bench.log.branch()[1].body.message == user("First.")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - a Said


async def test_why_nothing_is_summarised_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One."), begun={"context_tokens": 0})
    bench.session.queue("Two.")
    with pytest.raises(Conflict, match="nothing to summarise"):
        await bench.session.compact()
    bench.model.lines = [[Failed("invalid_request", "No.")]]
    await bench.session.turn("First.")
    with pytest.raises(Conflict, match="nothing to summarise"):
        await bench.session.compact()
    assert not bench.session.running
    poor = Bench(
        tmp_path / "2",
        answer("One.", usage=Usage(input=1_790, output=10)),
        rates=Rates(input=1_000_000, output=1_000_000),
        limits=Limits(budget_nano=1_800),
        begun={"context_tokens": 0},
    )
    await poor.session.turn("First. " * 20)
    with pytest.raises(BudgetSpent, match="does not reach"):
        await poor.session.compact()
    assert len(poor.model.asked) == 1


async def test_a_summary_that_is_interrupted_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One."), [Failed(HANG, "")])
    await bench.session.turn("First.")
    work = asyncio.create_task(bench.session.compact())
    while len(bench.model.asked) < 2:
        await asyncio.sleep(0)
    bench.session.interrupt()
    assert await work is None
    told = [one.text for one in bench.progress if isinstance(one, Noticed)]
    assert told[-1] == "interrupted: nothing is summarised"
