"""The loop against a model for every fault."""

import asyncio
from pathlib import Path

import pytest

from headrace.agent import brake, prompt_texts
from headrace.agent.acting import INTERRUPTED, NOT_RUN
from headrace.agent.entries import Answered, Begun, Broke, Said, Turned, Used
from headrace.agent.parts import Limits
from headrace.agent.progress import Asking, Noticed, Printed, Reply, Retrying, Running
from headrace.agent.session import Session
from headrace.agent.tools import Outcome
from headrace.core.clock import SystemClock
from headrace.core.decisions import Allow, Ask, Deny
from headrace.core.errors import ConfigError, Conflict, InvalidRequest
from headrace.core.events import Delta, Failed, Started
from headrace.core.messages import Text, Thinking, ToolCall, user
from headrace.core.models import Usage
from headrace.ledger.prices import Rates
from headrace.safety.actions import Action
from support.coding import HANG, Bench, Noting, Scripted, Shelf, answer, call


class Person:
    """Answers every question alike."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[Ask] = []

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        del call, action
        self.asked.append(ask)
        return self.reply

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        del question
        return options[0]


async def test_a_turn_asks_acts_and_ends(tmp_path: Path) -> None:
    shelf = Shelf()
    bench = Bench(
        tmp_path,
        answer(Thinking("Hm."), "Looking.", call("Read", {"path": "a.py"}, "c1")),
        answer(call("Edit", {"path": "a.py"}, "c2")),
        answer("Fixed."),
        snapshots=shelf,
    )
    assert await bench.session.turn("Fix it.") == "done"
    assert bench.kinds() == [
        "begun", "said", "answered", "used", "answered", "set", "used", "answered", "turned",
    ]  # fmt: skip
    assert bench.read.used == bench.edit.used == [{"path": "a.py"}]
    first = bench.model.asked[0]
    assert first.messages[0].text() == "Be good."
    assert first.messages[1].text() == "Folder: /work\n\nFix it."
    assert bench.model.grows()
    reading, editing = bench.bodies(Used)
    assert (reading.before, reading.after) == (None, None)
    assert (editing.before, editing.after) == ("s1", "s2")
    assert reading.decision == Allow("reading is free")
    assert bench.bodies(Turned) == [Turned("done", "Fixed.")]
    assert [type(one) for one in bench.progress if isinstance(one, Asking | Running | Printed)] == [
        Asking, Running, Printed, Asking, Running, Printed, Asking,
    ]  # fmt: skip
    assert [one.body for one in bench.logged()] == [one.body for one in bench.log.branch()]


async def test_calls_that_only_read_run_side_by_side(tmp_path: Path) -> None:
    read = Noting("Read", seconds=0.02)
    edit = Noting("Edit", writes=True, seconds=0.01)
    calls = [call("Read", {"path": str(n)}, f"r{n}") for n in range(4)]
    mixed = [*calls, call("Edit", {"path": "x"}, "e"), call("Read", {"path": "y"}, "z")]
    bench = Bench(tmp_path, answer(*mixed), tools=(read, edit))
    assert await bench.session.turn("Go.") == "done"
    assert read.most == 4
    ids = [used.result.call_id for used in bench.bodies(Used)]
    assert ids == ["r0", "r1", "r2", "r3", "e", "z"]


@pytest.mark.parametrize(
    "failed",
    [
        [Failed("overloaded", "Busy.")],
        [Failed("rate_limited", "Slower.")],
        [Started("scripted"), Delta(0, Text("Half an ans")), Failed("engine_failed", "cut")],
        [Started("scripted"), Delta(0, Text("Half"))],
    ],
)
async def test_a_failed_call_is_tried_again_and_is_no_answer(
    tmp_path: Path, failed: list[Delta | Failed | Started]
) -> None:
    bench = Bench(tmp_path, failed, answer("Whole."))
    assert await bench.session.turn("Hi.") == "done"
    assert bench.kinds() == ["begun", "said", "broke", "answered", "turned"]
    assert bench.model.asked[0] == bench.model.asked[1]
    assert bench.waits == [1.0]
    (retry,) = [one for one in bench.progress if isinstance(one, Retrying)]
    assert retry.attempt == 2


async def test_retries_wait_as_long_as_the_server_asks_and_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *[[Failed("overloaded", "Busy.", 7.0)]] * 9)
    assert await bench.session.turn("Hi.") == "failed"
    assert bench.waits == [7.0] * 4
    assert [one.attempt for one in bench.bodies(Broke)] == [1, 2, 3, 4, 5]
    assert bench.bodies(Turned) == [Turned("failed", "Busy.")]


@pytest.mark.parametrize(
    ("kind", "why"), [("unauthenticated", "failed"), ("budget_spent", "budget")]
)
async def test_what_waiting_does_not_mend_ends_at_once(tmp_path: Path, kind: str, why: str) -> None:
    bench = Bench(tmp_path, [Failed(kind, "No.")])
    assert await bench.session.turn("Hi.") == why
    assert bench.waits == []


async def test_a_wait_beyond_the_limit_is_not_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Failed("rate_limited", "Tomorrow.", 80_000.0)])
    assert await bench.session.turn("Hi.") == "failed"
    assert bench.waits == []
    assert any(isinstance(one, Noticed) and one.level == "error" for one in bench.progress)


async def test_an_empty_answer_gets_one_nudge(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer(), answer("Here."))
    assert await bench.session.turn("Hi.") == "done"
    assert bench.bodies(Said)[1] == Said(user(prompt_texts.NUDGE), "notice")
    again = Bench(tmp_path / "2", answer(), answer(Thinking("Hm."), " \n"))
    assert await again.session.turn("Hi.") == "failed"
    assert len(again.model.asked) == 2


async def test_an_answer_cut_at_its_limit_goes_on_and_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("One, ", stop="length"), answer("two."))
    assert await bench.session.turn("Count.") == "done"
    assert bench.bodies(Said)[1].message.text() == prompt_texts.CUT
    endless = Bench(tmp_path / "2", *[answer("la", stop="length")] * 9)
    assert await endless.session.turn("Sing.") == "truncated"
    assert len(endless.model.asked) == 3


async def test_half_a_file_is_never_written(tmp_path: Path) -> None:
    cut = answer(call("Edit", '{"path": "a.py", "text": "x = 1\\ny', "c1"), stop="length")
    bench = Bench(tmp_path, cut, answer("Sorry."))
    assert await bench.session.turn("Write.") == "done"
    assert bench.edit.used == []
    (used,) = bench.bodies(Used)
    assert used.result.parts == (Text(prompt_texts.CUT_CALL),)


async def test_a_refusal_is_a_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer("I would rather not.", stop="refusal"))
    assert await bench.session.turn("Hi.") == "failed"


async def test_the_third_of_identical_calls_does_not_run(tmp_path: Path) -> None:
    same = [answer(call("Read", {"path": "a"}, f"c{n}")) for n in range(9)]
    bench = Bench(tmp_path, *same)
    assert await bench.session.turn("Look.") == "repeated"
    assert len(bench.read.used) == brake.SAME_MAX == 2
    assert [used.result.parts for used in bench.bodies(Used)][2:] == [(Text(brake.ADVICE),)] * 2
    assert bench.kinds()[-1] == "turned"


async def test_alternating_calls_are_braked_too(tmp_path: Path) -> None:
    lines = [answer(call("Read", {"path": "ab"[n % 2]}, f"c{n}")) for n in range(12)]
    bench = Bench(tmp_path, *lines)
    assert await bench.session.turn("Look.") == "repeated"
    assert len(bench.read.used) == 4


async def test_the_advice_of_the_brake_can_be_taken(tmp_path: Path) -> None:
    same = [answer(call("Read", {"path": "a"}, f"c{n}")) for n in range(3)]
    bench = Bench(tmp_path, *same, answer(call("Read", {"path": "b"}, "d")), answer("Found."))
    assert await bench.session.turn("Look.") == "done"
    assert len(bench.read.used) == 3


async def test_asking_again_after_a_change_is_no_repetition(tmp_path: Path) -> None:
    lines = [
        answer(call("Edit" if n % 2 else "Read", {"path": f"{n if n % 2 else 'a'}"}, f"c{n}"))
        for n in range(10)
    ]
    bench = Bench(tmp_path, *lines)
    assert await bench.session.turn("Work.") == "done"
    assert len(bench.read.used) == 5


async def test_growing_output_is_no_repetition(tmp_path: Path) -> None:
    read = Noting("Read")

    def grown(_: object) -> str:
        return "line\n" * len(read.used)

    read.says = grown
    bench = Bench(
        tmp_path, *[answer(call("Read", {"path": "log"}, f"c{n}")) for n in range(6)], tools=(read,)
    )
    assert await bench.session.turn("Watch.") == "done"
    assert len(read.used) == 6


async def test_the_same_error_again_and_again_ends_the_turn(tmp_path: Path) -> None:
    broken = Noting("Read", says=lambda _: Outcome.error("no such file"))
    lines = [answer(call("Read", {"path": str(n)}, f"c{n}")) for n in range(20)]
    bench = Bench(tmp_path, *lines, tools=(broken,))
    assert await bench.session.turn("Look.") == "repeated"
    assert len(broken.used) == 6
    told = [said for said in bench.bodies(Said) if said.origin == "notice"]
    assert [said.message.text() for said in told] == [brake.ADVICE_ERRORS]


async def test_a_call_in_text_runs(tmp_path: Path) -> None:
    text = 'Sure.\n```json\n{"name": "Read", "arguments": {"path": "a.py", "limit": "5"}}\n```'
    bench = Bench(tmp_path, answer(text), answer("Done."))
    assert await bench.session.turn("Read it.") == "done"
    assert bench.read.used == [{"path": "a.py", "limit": 5}]
    answered = bench.bodies(Answered)[0]
    assert answered.written is not None
    assert answered.written.text() == text
    assert isinstance(answered.message.parts[-1], ToolCall)


async def test_models_without_calls_are_told_of_tools_in_words(tmp_path: Path) -> None:
    text = '<tool_call>\n{"name": "Read", "arguments": {"path": "a.py"}}\n</tool_call>'
    bench = Bench(tmp_path, answer(text), answer("Done."), begun={"text_calls": True})
    assert await bench.session.turn("Read it.") == "done"
    first, second = bench.model.asked
    assert first.tools == ()
    assert "Does Read." in first.messages[0].text()
    assert [message.text() for message in second.messages[2:]] == [text, "Read result:\nok"]
    assert bench.model.grows()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (call("Raed", {"path": "a"}), "There is no tool 'Raed'. Nearest: Read."),
        (call("Read", {}), 'missing: \'path\'. A call that works: Read {"path":"<path>"}'),
        (call("Read", "{nonsense"), "cut off"),
        (call("Read", {"path": "/forbidden"}), "that path is none of ours"),
        (call("Rm", {"path": "/"}), "Not allowed: a rule denies Rm"),
    ],
)
async def test_what_cannot_run_says_what_would(
    tmp_path: Path, written: ToolCall, expected: str
) -> None:
    read, remove = Noting("Read"), Noting("Rm", writes=True)
    bench = Bench(tmp_path, answer(written), answer("I see."), tools=(read, remove))
    assert await bench.session.turn("Go.") == "done"
    (used,) = bench.bodies(Used)
    assert used.result.is_error
    assert expected in used.result.parts[0].text
    assert isinstance(used.decision, Deny)
    assert read.used == remove.used == []


@pytest.mark.parametrize("always", [False, True])
async def test_a_human_is_asked(tmp_path: Path, *, always: bool) -> None:
    bash = Noting("Bash", writes=True, required=("command",))
    person = Person(Reply(allowed=True, always=always))
    runs = [answer(call("Bash", {"command": f"make {n}"}, f"c{n}")) for n in range(2)]
    bench = Bench(tmp_path, *runs, tools=(bash,), human=person)
    assert await bench.session.turn("Build.") == "done"
    assert len(bash.used) == 2
    assert len(person.asked) == (1 if always else 2)
    assert bench.rules.kept == (["Bash"] if always else [])


@pytest.mark.parametrize(
    ("human", "said"),
    [
        (None, "nobody is there to ask"),
        (Person(Reply(allowed=False, words="Use make.")), "The user says: Use make."),
    ],
)
async def test_what_nobody_allows_does_not_run(
    tmp_path: Path, human: Person | None, said: str
) -> None:
    bash = Noting("Bash", writes=True, required=("command",))
    bench = Bench(
        tmp_path, answer(call("Bash", {"command": "rm x"}, "c1")), tools=(bash,), human=human
    )
    assert await bench.session.turn("Go.") == "done"
    (used,) = bench.bodies(Used)
    assert said in used.result.parts[0].text
    assert bash.used == []


async def test_an_interrupt_ends_a_model_call_at_once(tmp_path: Path) -> None:
    hanging = [Started("scripted"), Delta(0, Text("Once upon")), Failed(HANG, "")]
    bench = Bench(tmp_path, hanging, answer("Hello."))
    why = await bench.interrupted_when(lambda: len(bench.progress) == 4, "Tell.")
    assert why == "interrupted"
    (broke,) = bench.bodies(Broke)
    assert (broke.kind, broke.partial.text()) == ("interrupted", "Once upon")
    assert not bench.session.running
    assert await bench.session.turn("Again.") == "done"
    said = bench.model.asked[-1].messages[1].parts
    assert said == (Text("Folder: /work\n\nTell."), Text("Again."))


async def test_an_interrupt_stops_tools_and_answers_every_call(tmp_path: Path) -> None:
    slow = Noting("Edit", writes=True, seconds=60)
    calls = [call("Edit", {"path": str(n)}, f"c{n}") for n in range(3)]
    bench = Bench(tmp_path, answer(*calls), answer("Fine."), tools=(slow,), snapshots=Shelf())
    assert await bench.interrupted_when(lambda: bool(slow.used), "Go.") == "interrupted"
    assert slow.stopped == 1
    texts = [used.result.parts[0].text for used in bench.bodies(Used)]
    assert texts == [INTERRUPTED, NOT_RUN, NOT_RUN]
    assert bench.bodies(Used)[0].before == "s1"
    assert await bench.session.turn("Go on.") == "done"
    assert bench.model.grows()


async def test_cancelling_the_turn_is_an_interrupt_too(tmp_path: Path) -> None:
    slow = Noting("Read", seconds=60)
    bench = Bench(tmp_path, answer(call("Read", {"path": "a"}, "c")), tools=(slow,))
    turn = asyncio.create_task(bench.session.turn("Go."))
    while not slow.used:
        await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert bench.kinds()[-2:] == ["used", "turned"]
    assert not bench.session.running


async def test_words_said_meanwhile_are_told_between_tools_or_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, answer(call("Read", {"path": "a"}, "c")), answer("Done."))

    def interjected(_: object) -> str:
        bench.session.queue("Use tabs.")
        return "ok"

    bench.read.says = interjected
    bench.session.subscribe(
        lambda _: (
            bench.session.queue("And test it.")
            if len(bench.kinds()) == 6
            and not bench.session.queued()
            and len(bench.model.asked) == 2
            else None
        )
    )
    assert await bench.session.turn("Go.") == "done"
    assert [said.message.text() for said in bench.bodies(Said)][:3] == [
        "Go.", "Use tabs.", "And test it.",
    ]  # fmt: skip
    assert bench.model.grows()
    assert bench.session.unqueue() == ()


async def test_a_turn_has_a_limit_of_model_calls(tmp_path: Path) -> None:
    lines = [answer(call("Read", {"path": str(n)}, f"c{n}")) for n in range(9)]
    bench = Bench(tmp_path, *lines, limits=Limits(turns_max=3))
    assert await bench.session.turn("Look.") == "max_turns"
    assert len(bench.model.asked) == 3
    assert bench.kinds()[-2:] == ["used", "turned"]


RATES = Rates(input=3_000_000_000, output=15_000_000_000)


async def test_a_budget_holds_exactly(tmp_path: Path) -> None:
    usage = Usage(input=2_000, output=100)
    lines = [answer(call("Read", {"path": str(n)}, f"c{n}"), usage=usage) for n in range(99)]
    budget_nano = 60_000_000
    bench = Bench(tmp_path, *lines, limits=Limits(budget_nano=budget_nano), rates=RATES)
    assert await bench.session.turn("Look.") == "budget"
    spent = bench.session.cost()
    assert spent.nano <= budget_nano
    assert (spent.calls, spent.unpriced) == (len(bench.model.asked), 0)
    assert spent.calls >= 4
    for request in bench.model.asked:
        assert request.max_tokens is not None


async def test_a_budget_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="price"):
        Bench(tmp_path, limits=Limits(budget_nano=1))


async def test_a_session_does_one_thing_at_a_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [Started("scripted"), Failed(HANG, "")])
    turn = asyncio.create_task(bench.session.turn("Go."))
    while not bench.session.running:
        await asyncio.sleep(0)
    with pytest.raises(Conflict):
        await bench.session.turn("Me too.")
    with pytest.raises(Conflict):
        await bench.session.rewind(bench.log.branch()[1].id)
    bench.session.interrupt()
    assert await turn == "interrupted"


async def test_a_session_knows_its_tools(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(InvalidRequest):
        bench.session.begin(Begun(workspace="/w", model="m", system=""))


async def test_rewinding_restores_files_and_conversation(tmp_path: Path) -> None:
    shelf = Shelf()
    bench = Bench(
        tmp_path,
        answer("Hello."),
        answer(call("Edit", {"path": "a"}, "c1")),
        answer("Changed."),
        answer("Anew."),
        snapshots=shelf,
    )
    await bench.session.turn("Hi.")
    await bench.session.turn("Change it.")
    (said,) = [e for e in bench.log.branch() if e.body == Said(user("Change it."))]
    assert await bench.session.rewind(said.id) == user("Change it.")
    assert shelf.restored == ["s1"]
    await bench.session.turn("Change it well.")
    texts = [message.text() for message in bench.model.asked[-1].messages]
    assert texts == ["Be good.", "Folder: /work\n\nHi.", "Hello.", "Change it well."]
    assert bench.session.cost().calls == 4
    await bench.session.rewind(bench.log.branch()[1].id, conversation=False)
    assert bench.kinds()[-1] == "set"


async def test_a_session_is_gone_on_with_after_a_crash(tmp_path: Path) -> None:
    """A call that was never answered is answered in the next request."""
    bench = Bench(tmp_path, answer(call("Read", {"path": "a"}, "c1")))
    await bench.session.turn("Look.")
    lines = bench.log.path.read_bytes().splitlines(keepends=True)
    bench.log.close()
    bench.log.path.write_bytes(b"".join(lines[:3]))
    again = Bench(tmp_path, answer("I see."))
    assert again.kinds() == ["begun", "said", "answered"]
    assert await again.session.turn("Well?") == "done"
    last = again.model.asked[-1].messages[-1]
    assert last.parts[0].is_error  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - a result
    assert last.parts[1] == Text("Well?")


async def test_what_a_killed_call_has_changed_can_be_put_back(tmp_path: Path) -> None:
    """The snapshot before a call stands in the log before the call is begun."""
    shelf = Shelf()
    bench = Bench(tmp_path, answer(call("Edit", {"path": "a"}, "c1")), snapshots=shelf)
    await bench.session.turn("Change it.")
    lines = bench.log.path.read_bytes().splitlines(keepends=True)
    assert bench.kinds()[3:5] == ["set", "used"]
    bench.log.close()
    bench.log.path.write_bytes(b"".join(lines[:4]))
    again = Bench(tmp_path, snapshots=shelf)
    await again.session.rewind(again.log.branch()[1].id)
    assert shelf.restored == ["s1"]


async def test_modes_and_names_are_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.session.set_mode("plan")
    bench.session.set_name("Mine")
    assert (bench.rules.mode, bench.session.setting("mode")) == ("plan", "plan")
    assert bench.session.setting("name") == "Mine"


def test_a_session_needs_a_beginning(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.log.close()
    from headrace.agent.log import Log  # noqa: PLC0415 - beside its one use

    log = Log.open(tmp_path / "new.jsonl", SystemClock())
    session = Session(
        log, Scripted(), tools=(), policy=bench.rules, human=None, clock=SystemClock()
    )
    with pytest.raises(InvalidRequest):
        session.begun  # noqa: B018 - it raises
    log.close()
