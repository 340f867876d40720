"""What nobody expected: every call is answered, every turn has an end, nothing paid for is lost."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from headrace.agent import loop
from headrace.agent.entries import Answered, Broke, Turned, Used
from headrace.agent.progress import Noticed, Reply
from headrace.agent.prompt import invariants, request_of
from headrace.agent.tools import Outcome
from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import StoreError
from headrace.core.messages import ToolCall
from headrace.core.models import Usage
from headrace.ledger.prices import Rates
from headrace.safety.actions import Action
from support.coding import Bench, Noting, Rules, Shelf, answer, call

RATES = Rates(input=1_000_000, output=1_000_000)


class Oddity(Exception):
    """An error that nobody knows."""


def fails(*_: object) -> Any:
    raise Oddity("the wheel fell off")


def texts(bench: Bench) -> list[str]:
    return [used.result.parts[0].text for used in bench.bodies(Used)]


def calls(*names: str) -> list[Any]:
    return answer(*(call(name, {"path": str(n)}, f"c{n}") for n, name in enumerate(names)))


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError, RecursionError, Oddity])
async def test_a_tool_that_breaks_is_an_answered_error(
    tmp_path: Path, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(_: object) -> str:
        raise error("the wheel fell off")

    odd = Noting("Odd", says=breaks)
    lines = calls("Odd", "Read", "Odd"), answer("I see.")
    bench = Bench(tmp_path, *lines, tools=(odd, Noting("Read")))
    assert await bench.session.turn("Go.") == "done"
    first, second, third = texts(bench)
    assert first == third
    assert error.__name__ in first
    assert "the wheel fell off" in first
    assert "Traceback" not in first
    assert second == "ok"
    assert [used.result.is_error for used in bench.bodies(Used)] == [True, False, True]
    assert "in breaks" in caplog.text


@pytest.mark.parametrize("writes", [False, True])
async def test_a_tool_that_cannot_say_what_it_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, writes: bool
) -> None:
    odd = Noting("Odd", writes=writes)
    monkeypatch.setattr(odd, "action", fails)
    bench = Bench(
        tmp_path, calls("Read", "Odd", "Read"), answer("I see."), tools=(odd, Noting("Read"))
    )
    assert await bench.session.turn("Go.") == "done"
    assert texts(bench) == ["ok", "Oddity: the wheel fell off", "ok"]
    assert odd.used == []
    assert isinstance(bench.bodies(Used)[1].decision, Deny)


async def test_rules_that_break_allow_nothing(tmp_path: Path) -> None:
    class Broken(Rules):
        def decide(self, action: Action) -> Decision:
            return fails() if action.tool == "Edit" else Allow()

    bench = Bench(tmp_path, calls("Edit", "Read"), answer("I see."))
    bench.session._loop.actor._policy = Broken()  # pyright: ignore[reportPrivateUsage]
    assert await bench.session.turn("Go.") == "done"
    assert texts(bench) == ["Oddity: the wheel fell off", "ok"]
    assert bench.edit.used == []


class Person:
    """Says yes for always, or breaks."""

    def __init__(self, *, breaks: bool) -> None:
        self.breaks = breaks

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        del call, action, ask
        return fails() if self.breaks else Reply(allowed=True, always=True)

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        raise AssertionError(question, options)


async def test_a_face_that_breaks_while_it_asks_allows_nothing(tmp_path: Path) -> None:
    bash = Noting("Bash", writes=True)
    bench = Bench(
        tmp_path, calls("Bash"), answer("I see."), tools=(bash,), human=Person(breaks=True)
    )
    assert await bench.session.turn("Go.") == "done"
    assert bash.used == []
    assert texts(bench) == ["Not allowed: nobody could be asked (Oddity: the wheel fell off)"]


@pytest.mark.parametrize("error", [StoreError, OSError])
async def test_a_rule_that_cannot_be_kept_holds_once(
    tmp_path: Path, error: type[Exception]
) -> None:
    def keep(rule: str) -> None:
        del rule
        raise error("the settings cannot be written")

    bash = Noting("Bash", writes=True)
    lines = calls("Bash"), calls("Bash"), answer("Done.")
    bench = Bench(tmp_path, *lines, tools=(bash,), human=Person(breaks=False))
    bench.rules.keep = keep
    assert await bench.session.turn("Go.") == "done"
    assert len(bash.used) == 2
    told = [one.text for one in bench.progress if isinstance(one, Noticed)]
    assert "the settings cannot be written" in told[0]


@pytest.mark.parametrize("place", [1, 2])
async def test_snapshots_that_break_stop_nothing(tmp_path: Path, place: int) -> None:
    class Broken(Shelf):
        async def take(self, label: str) -> str:
            taken = await super().take(label)
            return fails() if len(self.taken) == place else taken

    bench = Bench(tmp_path, calls("Edit"), answer("Done."), snapshots=Broken())
    assert await bench.session.turn("Go.") == "done"
    assert texts(bench) == ["ok"]
    assert any(isinstance(one, Noticed) and "Oddity" in one.text for one in bench.progress)


async def test_a_listener_that_breaks_breaks_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, calls("Read"), answer("Done."))
    bench.session.subscribe(fails)
    heard: list[object] = []
    bench.session.subscribe(heard.append)
    assert await bench.session.turn("Go.") == "done"
    assert len(heard) == len(bench.progress) - 1  # that of `begin` is not among them


async def test_what_a_log_cannot_say_is_an_answered_error(tmp_path: Path) -> None:
    """A file's name may hold bytes that are no text."""
    name = os.fsdecode(b"\xff.txt")
    read = Noting("Read", says=lambda _: Outcome.of(name, note=name))
    bench = Bench(tmp_path, calls("Read", "Read"), answer("I see."), tools=(read,))
    assert await bench.session.turn("Go.") == "done"
    assert all(text.startswith("UnicodeEncodeError") for text in texts(bench))


async def test_what_is_no_ordinary_error_answers_every_call_and_goes_on(tmp_path: Path) -> None:
    class Halt(BaseException):
        pass

    def halts(_: object) -> str:
        raise Halt

    odd = Noting("Odd", says=halts)
    bench = Bench(tmp_path, calls("Odd", "Odd"), tools=(odd,))
    with pytest.raises(Halt):
        await bench.session.turn("Go.")
    assert len(texts(bench)) == 2
    assert bench.kinds()[-1] == "turned"
    assert not bench.session.running
    Bench.made.clear()  # what halted it is no part of the log


async def test_a_disk_that_is_full_for_a_moment_leaves_no_call_without_an_answer(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, calls("Edit", "Edit"), answer("Done."))
    append, full = bench.log.append, [True]

    def once(body: Any) -> Any:
        if isinstance(body, Used) and full.pop() if full else False:
            raise StoreError("the disk is full")
        return append(body)

    bench.log.append = once
    with pytest.raises(StoreError):
        await bench.session.turn("Go.")
    assert len(texts(bench)) == 2
    turned = bench.log.branch()[-1].body
    assert turned == Turned("failed", "the disk is full")
    assert invariants(request_of((*bench.log.branch(),))) == []
    Bench.made.clear()


async def test_a_turn_that_breaks_has_an_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fails)
    with pytest.raises(Oddity):
        await bench.session.turn("Go.")
    assert bench.bodies(Turned) == [Turned("failed", "Oddity: the wheel fell off")]
    assert not bench.session.running
    bench.model.lines = [answer("Here.")]
    assert await bench.session.turn("And now?") == "done"


async def test_an_answer_that_cannot_be_understood_is_kept_and_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = Usage(input=100, output=10)
    bench = Bench(tmp_path, answer("Hm."), answer("Here.", usage=usage), rates=RATES)
    monkeypatch.setattr(loop, "understood", fails)
    assert await bench.session.turn("Go.") == "failed"
    (broke,) = bench.bodies(Broke)
    assert broke.partial.text() == "Hm."
    assert (broke.usage, broke.cost_nano) == (usage, 110)
    assert bench.session.cost().nano == 110
    assert "Oddity: the wheel fell off" in bench.bodies(Turned)[0].text
    assert "the wheel fell off" in caplog.text
    monkeypatch.undo()
    assert await bench.session.turn("And now?") == "done"
    assert [one.message.text() for one in bench.bodies(Answered)] == ["Here."]


async def test_a_call_that_had_ended_keeps_its_answer(tmp_path: Path) -> None:
    """Cancelled while the snapshot behind it is taken."""
    reached = asyncio.Event()

    class Slow(Shelf):
        async def take(self, label: str) -> str:
            if label.startswith("after"):
                reached.set()
                await asyncio.sleep(60)
            return await super().take(label)

    bench = Bench(tmp_path, calls("Edit", "Edit"), snapshots=Slow())
    turn = asyncio.create_task(bench.session.turn("Go."))
    await reached.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert texts(bench)[0] == "ok"
    assert len(texts(bench)) == 2
