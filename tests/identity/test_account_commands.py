"""The commands against a whole Headrace on a real port."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from headrace.config import runfile
from headrace.core.errors import EngineUnavailable, HeadraceError, NotFound
from headrace.identity import account_commands, commands, team_commands
from headrace.up.server import Server, bind, url_of
from support.desk import open_desk


@pytest.fixture
async def data(tmp_path: Path) -> AsyncGenerator[str]:
    listener = bind("127.0.0.1", 0)
    async with open_desk(tmp_path) as desk:
        server = Server(desk.house.app, lambda: desk.house.drain(0))
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0)
        known = desk.house.run
        run = runfile.RunFile(
            url_of(listener), known.pid, known.process_start, known.credential, known.started_ns
        )
        runfile.write(tmp_path / "data", run)
        yield str(tmp_path / "data")
        server.should_exit = True
        await serving
        listener.close()


class Terminal:
    """Runs commands in a thread, as the loop serves what they ask."""

    def __init__(self, data: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._capsys = capsys

    async def run(self, word: str, *arguments: str) -> str:
        modules = {"accounts": account_commands, "teams": team_commands, "keys": commands}
        line = [arguments[0], "--data", self._data, *arguments[1:]]
        assert await asyncio.to_thread(modules[word].main, line) == 0
        return self._capsys.readouterr().out.strip()


@pytest.fixture
def terminal(data: str, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data, capsys)


async def test_people_come_and_go(terminal: Terminal):
    team = await terminal.run("teams", "add", "Research")
    account, link = (
        await terminal.run(
            "accounts", "add", "Ada", "--email", "ada@example.org", "--role", "admin",
            "--team", team,
        )
    ).splitlines()  # fmt: skip
    assert "/signin?token=" in link
    table = await terminal.run("accounts", "list")
    (line,) = (line for line in table.splitlines() if account in line)
    assert line.split() == [
        account,
        "Ada",
        "ada@example.org",
        "person",
        "admin",
        "Research",
        "open",
    ]
    assert (await terminal.run("teams", "list")).splitlines()[1].split() == [team, "Research", "1"]
    changed = await terminal.run("accounts", "change", account, "--role", "viewer", "--team", "-")
    assert changed == f"changed {account}"
    again = await terminal.run("accounts", "invite", account)
    assert again.startswith("http")
    assert again != link
    assert await terminal.run("accounts", "close", account) == f"closed {account}"
    assert await terminal.run("accounts", "erase", account) == f"erased {account}"
    shown = json.loads(await terminal.run("accounts", "list", "--json"))["accounts"]
    (gone,) = (each for each in shown if each["id"] == account)
    assert (gone["name"], gone["email"], gone["role"], gone["team_id"]) == (
        "",
        None,
        "viewer",
        None,
    )
    assert gone["closed_ns"] is not None


async def test_teams_are_renamed_and_closed(terminal: Terminal):
    team = json.loads(await terminal.run("teams", "add", "Research", "--json"))["id"]
    await terminal.run("teams", "rename", team, "Science")
    shown = json.loads(await terminal.run("teams", "list", "--json"))["teams"]
    assert [(each["id"], each["name"]) for each in shown] == [(team, "Science")]
    await terminal.run("teams", "close", team)
    assert json.loads(await terminal.run("teams", "list", "--json")) == {"teams": []}
    with pytest.raises(NotFound):
        await terminal.run("teams", "close", team)


async def test_a_service_gets_a_key_with_scopes_that_rotates(terminal: Terminal):
    service = await terminal.run("accounts", "add", "ci", "--service")
    made = json.loads(
        await terminal.run(
            "keys", "create", "runner", "--account", service, "--models", "qwen*",
            "--routes", "chat,models", "--purposes", "ci,eval", "--json",
        )
    )  # fmt: skip
    assert made["purpose"] == "ci"
    rotated = json.loads(
        await terminal.run("keys", "rotate", made["id"], "--grace-s", "60", "--json")
    )
    assert rotated["id"] == made["id"]
    assert rotated["secret"] != made["secret"]
    (shown,) = (
        key
        for key in json.loads(await terminal.run("keys", "list", "--json"))["keys"]
        if key["account_id"] == service
    )
    assert shown["scopes"] == {
        "models": ["qwen*"],
        "routes": ["chat", "models"],
        "purposes": ["ci", "eval"],
    }
    assert shown["former_until_ns"] is not None


async def test_mistakes_are_told(terminal: Terminal):
    with pytest.raises(HeadraceError, match="e-mail"):
        await terminal.run("accounts", "add", "Ada", "--email", "nothing")
    with pytest.raises(HeadraceError, match="role"):
        await terminal.run("accounts", "add", "Ada", "--role", "king")
    with pytest.raises(HeadraceError, match="routes"):
        await terminal.run("keys", "create", "x", "--routes", "everywhere")


def test_without_a_running_headrace_they_say_so(tmp_path: Path):
    for each in (account_commands, team_commands):
        with pytest.raises(EngineUnavailable, match="no Headrace runs"):
            each.main(["list", "--data", str(tmp_path)])
