"""What an adversary would try: nothing is lost, forged or left without an answer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.agent.acting import INTERRUPTED
from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.agent.entries import Answered, Begun, Broke, Entry, Set, Turned, Used
from headrace.agent.guide import Act, Consult, Finish, Step
from headrace.agent.log import Log
from headrace.agent.parts import Limits
from headrace.agent.prompt import invariants, request_of
from headrace.agent.replay import replay
from headrace.agent.stopper import Interrupted, Stopper
from headrace.agent.tools import Outcome, Use
from headrace.core.clock import SystemClock
from headrace.core.errors import Conflict, StoreError
from headrace.core.events import Failed, Started
from headrace.core.messages import Message, ToolCall, user
from headrace.core.requests import Request
from headrace.ledger.prices import Rates
from support.coding import Bench, Noting, Scripted, Shelf, answer, call


def texts(bench: Bench) -> list[str]:
    return [one.result.parts[0].text for one in bench.bodies(Used)]


async def test_a_read_that_had_ended_keeps_its_answer(tmp_path: Path) -> None:
    """Of several side by side, others were interrupted."""

    class Mixed(Noting):
        async def run(self, use: Use) -> Outcome:
            if use.arguments["path"] == "slow":
                self.used.append(use.arguments)
                await asyncio.sleep(60)
            return await super().run(use)

    read = Mixed("Read", says=lambda arguments: f"read {arguments['path']}")
    names = ["a", "slow", "b", "slow", "c"]
    bench = Bench(
        tmp_path, answer(*(call("Read", {"path": name}) for name in names)), tools=(read,)
    )
    assert (
        await bench.interrupted_when(lambda: len(read.used) == 5 and not read.now, "Go.")
        == "interrupted"
    )
    assert texts(bench) == ["read a", INTERRUPTED, "read b", INTERRUPTED, "read c"]


async def test_stopping_twice_leaves_time_to_clean_up() -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("all of it")

    stopper = Stopper()
    running = asyncio.ensure_future(stopper.run(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stopper.stop()
    await asyncio.sleep(0)
    stopper.stop()
    with pytest.raises(Interrupted):
        await running
    assert cleaned == ["all of it"]


async def test_an_interrupt_waits_for_no_ledger(tmp_path: Path) -> None:
    """A call has failed, and the server does not say what it cost."""
    half = [Started("scripted", generation_id="g"), Failed("engine_failed", "broke")]
    bench = Bench(tmp_path, half)
    asked = asyncio.Event()

    async def hangs(generation_id: str | None) -> int | None:
        del generation_id
        asked.set()
        await asyncio.sleep(60)

    bench.model.cost_nano = hangs
    assert await bench.interrupted_when(asked.is_set, "Go.") == "interrupted"
    assert [one.kind for one in bench.bodies(Broke)] == ["engine_failed"]


async def test_an_interrupt_between_two_tries_is_replayed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Failed("overloaded", "Busy.", 30.0)])
    resting = asyncio.Event()

    async def rests(seconds: float) -> None:
        resting.set()
        await asyncio.sleep(seconds)

    bench.rest = rests
    assert await bench.interrupted_when(resting.is_set, "Go.") == "interrupted"


async def test_a_beginning_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer(call("Read", {"path": "a"})), answer("Done."))
    other = Noting("Other")
    begun = msgspec.structs.replace(bench.session.begun, tools=(other.spec,))

    def fails(body: Any) -> Entry:
        del body
        raise StoreError("the disk is full")

    append, bench.log.append = bench.log.append, fails
    with pytest.raises(StoreError):
        bench.session.begin(begun, client=Scripted(), tools=(other,), rates=(Rates(), 5.0))
    bench.log.append = append
    assert await bench.session.turn("Go.") == "done"
    assert bench.read.used == [{"path": "a"}]
    assert bench.session.cost().unpriced == 2, "the prices of the former model, which has none"


async def test_nothing_begins_while_files_are_put_back(tmp_path: Path) -> None:
    class Slow(Shelf):
        async def restore(self, snapshot_id: str) -> None:
            with pytest.raises(Conflict):
                await bench.session.turn("Meanwhile.")
            await super().restore(snapshot_id)

    shelf = Slow()
    bench = Bench(tmp_path, answer(call("Edit", {"path": "a"})), answer("Done."), snapshots=shelf)
    await bench.session.turn("Go.")
    said = next(one.id for one in bench.log.branch() if one.parent_id is not None)
    await bench.session.rewind(said)
    assert shelf.restored == ["s1"]
    assert not bench.session.running
    assert bench.kinds() == ["begun", "moved"]


async def test_call_ids_are_unique_in_the_whole_session(tmp_path: Path) -> None:
    """Some servers count anew in each answer, and others refuse such a conversation."""
    lines = [answer(call("Read", {"path": str(n)}, "call_0")) for n in range(3)]
    bench = Bench(tmp_path, *lines)
    await bench.session.turn("Go.")
    ids = [
        part.id
        for one in bench.bodies(Answered)
        for part in one.message.parts
        if isinstance(part, ToolCall)
    ]
    assert len(set(ids)) == len(ids) == 3
    assert ids[0] == "call_0"
    assert bench.model.grows()


@pytest.mark.parametrize("name", ["", "look at/it", "Größe", "x" * 5_000])
async def test_names_that_no_api_takes_do_not_end_the_session(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, answer(call(name, {"path": "a"}, "c1")), answer("Done."))
    assert await bench.session.turn("Go.") == "done"
    assert "There is no tool" in texts(bench)[0]
    assert len(texts(bench)[0]) < 300
    assert invariants(bench.model.asked[-1]) == []


def line(id_: str, parent_id: str | None, name: str = "n") -> bytes:
    body = {"type": "set", "name": name, "value": "v"}
    return msgspec.json.encode(
        {"id": id_, "parent_id": parent_id, "time_ns": 1, "body": body, "v": 1}
    )


def test_entries_that_form_a_ring_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    lines = [line("a", None), line("b", "a"), line("a", "b", "forged"), line("c", "a")]
    path.write_bytes(b"\n".join(lines) + b"\n")
    log = Log.open(path, SystemClock())
    assert [one.id for one in log.branch()] == ["a", "c"]
    assert [one.body.name for one in log.all() if isinstance(one.body, Set)] == ["n"] * 3
    assert "line 3" in log.notices[0]
    log.close()


def test_a_line_nested_too_deep_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    deep = b'{"id":"b","parent_id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    path.write_bytes(line("a", None) + b"\n" + deep + b"\n" + line("c", "b") + b"\n")
    log = Log.open(path, SystemClock())
    assert [one.id for one in log.branch()] == ["a", "c"]
    assert log.notices
    log.fork(tmp_path / "two.jsonl")
    log.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1", f"http://{'a' * 70}.b"]
)
async def test_a_malformed_address_is_a_failure_in_words(url: str) -> None:
    client = Client(Endpoint(base_url=url))
    events = [one async for one in client.stream(Request(model="m", messages=(user("Hi."),)))]
    assert [type(one) for one in events] == [Failed]


class Scripting:
    """A guide that does what it is told to."""

    def __init__(self, *steps: str) -> None:
        self.steps = steps

    def step(self, branch: Sequence[Entry]) -> Step:
        own = [one for one in branch if isinstance(one.body, Answered)]
        match self.steps[len(own)]:
            case "ask":
                return Consult(Request(model="scripted", messages=(user("Well?"),)))
            case "act":
                return Act((call("Read", {"path": str(len(own))}),))
            case "break":
                raise ValueError("lost the thread")
            case text:
                return Finish(text)

    def read(self, branch: Sequence[Entry], answer: Message) -> Message:
        del branch
        if answer.text() == "odd":
            raise ValueError("cannot read it")
        return answer


async def guided(
    folder: Path, guide: Scripting, *lines: Any, limits: Limits | None = None
) -> tuple[Bench, list[str]]:
    bench = Bench(folder, *lines, begun={"guided": True}, guide=guide, limits=limits)
    try:
        ends: list[str] = [await bench.session.turn("Go.")]
    except ValueError as error:
        ends = [str(error)]
    bench.made.clear()
    report = await replay(bench.log.path, guide)
    assert report.differences == ()
    assert report.entries == len(bench.log.all())
    return bench, ends


async def test_a_guided_answer_that_cannot_be_read_is_kept(tmp_path: Path) -> None:
    bench, ends = await guided(tmp_path, Scripting("act", "ask"), answer("odd"))
    assert ends == ["failed"]
    (broke,) = bench.bodies(Broke)
    assert broke.partial.text() == "odd"
    assert broke.usage is not None


@pytest.mark.parametrize("then", ["act", "ask", "Done."])
async def test_a_guided_turn_at_its_limit_is_replayed(tmp_path: Path, then: str) -> None:
    guide = Scripting("act", "ask", then)
    bench, ends = await guided(tmp_path, guide, answer("Hm."), limits=Limits(turns_max=1))
    assert ends == ["max_turns"]
    assert isinstance(bench.log.branch()[-1].body, Turned)


async def test_a_guide_that_breaks_is_replayed(tmp_path: Path) -> None:
    _, ends = await guided(tmp_path, Scripting("act", "break"))
    assert ends == ["lost the thread"]


async def test_changes_of_mode_and_model_are_replayed(tmp_path: Path) -> None:
    read = Noting("Read", writes=True)

    def changes(arguments: dict[str, Any]) -> str:
        bench.session.set_mode(f"mode {arguments['path']}")
        bench.session.set_name("Named meanwhile")
        bench.session.queue("And this.")
        return "ok"

    read.says = changes
    bench = Bench(
        tmp_path,
        answer(call("Read", {"path": "1"}), call("Read", {"path": "2"})),
        answer("Done."),
        answer(call("Other", {"path": "3"})),
        tools=(read,),
    )
    await bench.session.turn("Go.")
    bench.session.set_mode("plan")
    other = Noting("Other")
    begun: Begun = bench.session.begun
    changed = msgspec.structs.replace(begun, model="other", tools=(other.spec,), text_calls=True)
    bench.session.begin(changed, tools=(other,))
    bench.session.set_mode("default")
    await bench.session.turn("Go on.")
    modes = [one.value for one in bench.bodies(Set) if one.name == "mode"]
    assert modes == ["mode 1", "mode 2", "plan", "default"]
    assert bench.model.asked[-1].model == "other"
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(bench.log.path.read_bytes() + b'{"id":"half')
    forked = tmp_path / "forked.jsonl"
    bench.log.fork(forked, bench.log.branch()[6].id)
    for path in (bench.log.path, torn, forked):
        report = await replay(path)
        assert report.differences == ()
        assert len(report.notices) == (path == torn)


async def test_requests_after_any_fork_are_sound(tmp_path: Path) -> None:
    calls = [call("Read", {"path": str(n)}) for n in range(3)]
    bench = Bench(tmp_path, answer(*calls), answer("Done."))
    await bench.session.turn("Go.")
    for number, entry in enumerate(bench.log.branch()[1:]):
        path = tmp_path / f"{number}.jsonl"
        bench.log.fork(path, entry.id)
        log = Log.open(path, SystemClock())
        after = log.append(bench.log.branch()[1].body)
        assert invariants(request_of(log.branch(after.id))) == []
        log.close()
