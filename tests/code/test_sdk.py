import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path

import pytest

from headrace.agent.entries import Turned
from headrace.agent.progress import Asking, Logged
from headrace.agent.tools import Output
from headrace.code import Session
from headrace.core.decisions import Ask
from headrace.core.errors import Conflict
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action
from support.model_server import ModelServer, call, text

TOUCH = call("Bash", command="touch made")


@pytest.fixture
def server() -> Generator[ModelServer]:
    started = ModelServer([text("Hi.")])
    yield started
    started.close()
    started.check()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def session(work: Path, server: ModelServer, **options: object) -> Session:
    given: dict[str, object] = {
        "endpoint": server.url,
        "dialect": "anthropic",
        "data": work.parent / "data",
        "notice": list[str]().append,
    }
    return Session(work, **(given | options))  # pyright: ignore[reportArgumentType] - keywords


async def test_turns_with_their_progress(work: Path, server: ModelServer):
    server.turns = [[call("Bash", command="echo water")], [text("Done.")], [text("More.")]]
    async with session(work, server, allow=["Bash(echo:*)"]) as one:
        heard = [progress async for progress in one.ask("Go.")]
        assert one.last is not None
        assert (one.last.text, one.last.end, one.last.usage.output) == ("Done.", "done", 20)
        done = await one.run("More?")
    assert done.text == "More."
    logged = [progress.entry.body for progress in heard if isinstance(progress, Logged)]
    assert isinstance(logged[-1], Turned)
    assert any(isinstance(getattr(body, "detail", None), Output) for body in logged)


async def test_a_function_is_asked(work: Path, server: ModelServer):
    asked: list[str | None] = []

    async def may(call: ToolCall, action: Action, ask: Ask) -> bool:
        del call, ask
        asked.append(action.command)
        return len(asked) > 1

    server.turns = [[TOUCH], [text("No?")], [TOUCH], [text("Yes.")]]
    async with session(work, server, may=may) as one:
        refused = await one.run("Make it.")
        assert [denial.call.name for denial in refused.denials] == ["Bash"]
        assert not (work / "made").exists()
        allowed = await one.run("Please.")
    assert allowed.denials == ()
    assert (work / "made").exists()
    assert asked == ["touch made", "touch made"]


async def test_leaving_the_loop_interrupts_the_turn(work: Path, server: ModelServer):
    server.turns = [[{"type": "hang"}], [text("Here.")]]
    async with session(work, server) as one:
        async with aclosing(one.ask("Wait.")) as progress:
            async for each in progress:
                if isinstance(each, Asking):
                    assert await asyncio.to_thread(server.asked.acquire, timeout=20)
                    break
        assert one.last is not None
        assert one.last.end == "interrupted"
        assert (await one.run("And now?")).text == "Here."


async def test_a_session_goes_on_later(work: Path, server: ModelServer):
    server.turns = [[text("One.")], [text("Two.")]]
    async with session(work, server) as one:
        await one.run("First.")
    async with session(work, server, resume="latest") as two:
        assert two.id == one.id
        await two.run("Second.")
    assert [m.text() for m in server.requests()[-1].messages[2:]] == ["One.", "Second."]


def test_a_session_that_is_not_open_says_so(work: Path, server: ModelServer):
    with pytest.raises(Conflict, match="not open"):
        _ = session(work, server).id


def test_the_name_is_there_and_costs_nothing_until_it_is_used():
    probe = (
        "import sys, headrace.code; assert 'msgspec' not in sys.modules;"
        "from headrace.code import Session; assert 'msgspec' in sys.modules;"
        "print(Session.__module__)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "headrace.code.sdk\n"
