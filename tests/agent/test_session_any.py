"""Any sequence of what people, models and tools do: every request is sound, and grows."""

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.agent.acting import INTERRUPTED, NOT_RUN
from headrace.agent.entries import Answered, Compacted, Said, Turned, Used
from headrace.agent.prompt import UNANSWERED, extends, invariants, request_of
from headrace.agent.replay import replay
from headrace.core.errors import Conflict
from headrace.core.events import Event, Failed, Started
from headrace.core.messages import Part, Text, Thinking, ToolCall
from support.coding import HANG, Bench, answer, call

PARTS = st.one_of(
    st.sampled_from(["", "Words. ", "\n", '{"name": "Read", "arguments": {"path": "t"}}']),
    st.sampled_from([Thinking("Hm.")]),
    st.builds(
        call,
        st.sampled_from(["Read", "Edit", "Nope"]),
        st.sampled_from([{"path": "a"}, {"path": "b"}, {}, '{"path": "c"', '{"path": "', "[]"]),
        st.sampled_from(["", "c", "d"]),
    ),
)


def answered(parts: list[Part | str], stop: str | None) -> list[Event]:
    return answer(*parts, stop=stop)


FAILURES: list[list[Event]] = [
    [Failed("overloaded", "Busy.")],
    [Failed("invalid_request", "No.")],
    [Started("scripted"), *answer("Half")[1:2], Failed("engine_failed", "cut")],
]
ANSWERS = st.one_of(
    st.builds(
        answered,
        st.lists(PARTS, max_size=3),
        st.sampled_from([None, None, None, "length"]),
    ),
    st.sampled_from(FAILURES),
)
STEPS = st.one_of(
    st.tuples(st.just("turn"), st.lists(ANSWERS, max_size=5)),
    st.tuples(st.just("interrupt"), st.lists(ANSWERS, max_size=2)),
    st.tuples(st.just("compact"), st.just([])),
    st.tuples(st.just("edit"), st.just([])),
    st.tuples(st.just("undo"), st.just([])),
    st.tuples(st.just("rewind"), st.lists(ANSWERS, max_size=1)),
    st.tuples(st.just("queue"), st.just([])),
)


async def run(bench: Bench, kind: str, lines: list[list[Event]], number: int) -> None:
    session = bench.session
    bench.model.lines = list(lines)
    match kind:
        case "turn":
            await session.turn(f"Say {number}.")
        case "interrupt":
            bench.model.lines.append([Started("scripted"), Failed(HANG, "")])
            turn = asyncio.create_task(session.turn(f"Stop {number}."))
            for _ in range(1 + 40 * number % 70):
                await asyncio.sleep(0)
            session.interrupt()
            await turn
        case "compact":
            bench.model.lines = [answer("What was.")]
            with suppress(Conflict):  # nothing was answered yet
                await session.compact()
        case "edit" if session.compacted() is not None:
            session.edit_compaction(f"Edited {number}.")
        case "undo":
            session.undo_compaction()
        case "rewind":
            said = [e.id for e in bench.log.branch() if isinstance(e.body, Said)]
            if said:
                await session.rewind(said[number % len(said)])
        case _:
            session.queue(f"Queued {number}.")


def check_growth(bench: Bench) -> None:
    """Every prefix of the branch makes a request that the next one extends, or starts anew."""
    branch = bench.log.branch()
    before = None
    for place in range(2, len(branch) + 1):
        body = branch[place - 1].body
        if isinstance(body, Compacted):
            before = None
        if isinstance(body, Answered) or not any(isinstance(e.body, Said) for e in branch[:place]):
            continue
        request = request_of(branch[:place])
        if request.messages[-1].role != "user" or UNANSWERED in str(request.messages[-1]):
            continue
        assert invariants(request) == []
        assert before is None or extends(before, request)
        before = request


async def play(steps: list[tuple[str, list[list[Event]]]], folder: Path, *, text: bool) -> None:
    bench = Bench(folder, begun={"text_calls": text, "context_tokens": 4_000})
    for number, (kind, lines) in enumerate(steps):
        await run(bench, kind, lines, number)
        check_growth(bench)
    entries = bench.log.all()
    said = sum(isinstance(e.body, Said) and e.body.origin == "user" for e in entries)
    assert sum(isinstance(e.body, Turned) for e in entries) <= said
    report = await replay(bench.log.path)
    assert report.differences == ()
    assert report.entries == len(entries)
    bench.log.close()


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=7), text=st.booleans())
def test_any_session_is_sound_and_can_be_replayed(
    steps: list[tuple[str, list[list[Event]]]], *, text: bool
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(play(steps, Path(folder), text=text))
    Bench.made.clear()


async def test_every_call_is_answered_in_the_log(tmp_path: Path) -> None:
    calls = [call("Read", {"path": str(n)}, f"c{n}") for n in range(3)]
    bench = Bench(tmp_path, answer(*calls), answer(Text("x")))
    bench.read.seconds = 60
    await bench.interrupted_when(lambda: len(bench.read.used) == 3, "Go.")
    asked = [part.id for part in bench.bodies(Answered)[0].message.parts]
    told = bench.bodies(Used)
    assert [one.result.call_id for one in told] == asked
    assert {one.result.parts[0].text for one in told} <= {INTERRUPTED, NOT_RUN}
    assert isinstance(calls[0], ToolCall)
