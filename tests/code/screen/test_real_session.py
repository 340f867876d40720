"""The screen on a real session: the command, a server, the scripted engine, the sandbox."""

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from support.running import Running, running
from support.tmux import Tmux, terminal

SCRIPT = {
    "model": {"id": "parrot", "display_name": "Parrot", "context_tokens": 32768},
    "turns": [
        {
            "match": {"user": "fix"},
            "times": 1,
            "steps": [
                {"text": "I **look** first.\n"},
                {"tool_call": {"name": "Read", "arguments": {"file_path": "calc.py"}}},
            ],
        },
        {
            "match": {"tool_result": True},
            "times": 1,
            "steps": [
                {
                    "tool_call": {
                        "name": "Edit",
                        "arguments": {
                            "file_path": "calc.py",
                            "old_string": "a - b",
                            "new_string": "a + b",
                        },
                    }
                }
            ],
        },
        {"match": {"tool_result": True}, "times": 1, "steps": [{"text": "It adds now."}]},
        {
            "match": {"user": "wait"},
            "steps": [{"text": "Waiting "}, {"delay_ms": 60_000}, {"text": "over"}],
        },
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("screen")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    with running(folder / "data", f"scripted:{script}") as started:
        yield started


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    workspace = tmp_path / "project"
    workspace.mkdir()
    (workspace / "calc.py").write_text("def add(a, b):\n    return a - b\n", encoding="utf-8")
    return workspace


@pytest.fixture
def started(server: Running, workspace: Path, tmp_path: Path) -> Generator[Tmux]:
    program = f"cd {workspace} && exec {sys.executable} -m headrace code --data {server.data}"
    with terminal(["sh", "-c", program], tmp_path, environment={"HOME": str(tmp_path)}) as tmux:
        yield tmux


@pytest.fixture
def screen(started: Tmux) -> Tmux:
    started.wait("ask, or / for commands", timeout_s=30)
    return started


def test_what_is_typed_while_it_loads_is_said_once_it_stands(started: Tmux):
    started.wait("───")
    started.say("wait for early words")
    started.wait("● Waiting", timeout_s=30)
    assert "❯ wait for early words" in started.whole()  # noqa: RUF001 - the sign of a prompt


def test_a_file_is_read_edited_with_leave_and_put_back(screen: Tmux, workspace: Path):
    screen.say("fix it")
    screen.wait("❯ 1. Yes")  # noqa: RUF001 - the sign of a prompt
    asked = screen.screen()
    assert "return a" in asked or "a - b" in asked
    assert "- b" in (workspace / "calc.py").read_text(encoding="utf-8")
    screen.keys("1")
    screen.wait("● It adds now.")
    assert "May it do" not in screen.whole()
    assert "a + b" in (workspace / "calc.py").read_text(encoding="utf-8"), screen.whole()
    shown = screen.whole()
    assert "● Read(calc.py)" in shown
    assert "● Edit(calc.py)" in shown
    screen.wait("ask, or / for commands")
    screen.say("/why")
    screen.wait("Edit")
    screen.keys("Escape")
    screen.wait("esc again goes back")
    screen.keys("Escape")
    screen.wait("Go back to before")
    screen.keys("Enter")
    screen.wait("Files and conversation")
    screen.keys("1")
    screen.wait("went back: files and conversation")
    screen.wait("❯ fix it\n──")  # noqa: RUF001 - the sign of a prompt
    assert "a - b" in (workspace / "calc.py").read_text(encoding="utf-8")


def test_escape_ends_a_call_at_once(screen: Tmux):
    screen.say("wait for it")
    screen.wait("● Waiting")
    screen.keys("Escape")
    screen.wait("interrupted; say what to do instead", timeout_s=3)
    screen.wait("ask, or / for commands")


def test_a_command_of_the_persons_own_runs_in_the_sandbox(screen: Tmux):
    screen.say("!ls; ls ~/.ssh /work 2>&1 | head -3")
    screen.wait("     calc.py")
    screen.wait("ask, or / for commands")
