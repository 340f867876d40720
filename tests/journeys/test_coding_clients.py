"""Claude Code and Codex CLI, unmodified, against Headrace and through it."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from headrace.core.clock import SystemClock
from headrace.core.events import Event
from headrace.core.requests import Request
from headrace.serving.engine import Counted
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.store.database import Database
from support.coding_clients import Clients, Ran
from support.running import Running, running, write_script
from support.serving import Api, served_api

pytestmark = pytest.mark.coding_clients

MODEL = "claude-parrot"
WRITE = "printf water | tee mill.txt"
LAST = "The water is in the file."


def _asks_for(word: str, tool: str, arguments: dict[str, str]) -> dict[str, Any]:
    call = {"name": tool, "arguments": arguments}
    steps = [{"thinking": "A file, then."}, {"text": "I write it. "}, {"tool_call": call}]
    return {"match": {"user": word}, "steps": steps}


def _once(word: str, *steps: object) -> dict[str, Any]:
    return {"match": {"user": word}, "times": 1, "steps": steps}


FULL = {"error": {"kind": "overloaded", "message": "Full.", "retry_after_s": 1}}
LONG = {"error": {"kind": "context_too_long", "message": "The context holds 8192 tokens."}}
SCRIPT: dict[str, Any] = {
    "model": {"id": MODEL, "display_name": "Parrot", "context_tokens": 200_000},
    "turns": [
        {"match": {"user": "detailed summary"}, "steps": [{"text": "<summary>Hi.</summary>"}]},
        _once("overflow", LONG),
        {"match": {"tool_result": True}, "steps": [{"thinking": "Done."}, {"text": LAST}]},
        _asks_for("by Bash", "Bash", {"command": WRITE, "description": "Write a file"}),
        _asks_for("by exec_command", "exec_command", {"cmd": WRITE}),
        _asks_for("a helper", "Agent", {"description": "Help", "prompt": "Help me."}),
        _asks_for("an agent", "multi_agent_v1__spawn_agent", {"message": "Help me."}),
        {"match": {"user": "all of it"}, "steps": [LONG]},
        {"match": {"user": "break"}, "steps": [{"text": "Once upon a"}, {"cut": True}]},
        _once("falter, Claude", {"text": "Once upon a"}, {"cut": True}),
        _once("falter, Codex", {"text": "Once upon a"}, {"cut": True}),
        _once("busy, Claude", FULL),
        _once("busy, Codex", FULL),
        {"match": {"user": "falter|busy|overflow"}, "steps": [{"text": "Here I am."}]},
    ],
}
UPSTREAM = """
[upstreams.{name}]
dialect = "{dialect}"
url = "{url}/v1"
key = {{ file = "{key}" }}
read_tool_calls = {translated}

[models."{name}"]
targets = [ {{ upstream = "{name}", model = "claude-parrot" }} ]
context_tokens = 200_000
abilities = {{ tools = true, thinking = true }}
"""
UPSTREAMS = {
    "messages": "anthropic",
    "relayed-messages": "anthropic",
    "responses": "openai_responses",
    "relayed-responses": "openai_responses",
    "chat": "openai_chat",
}


@pytest.fixture(scope="module")
def back(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A Headrace with a scripted model."""
    folder = tmp_path_factory.mktemp("back")
    with running(folder / "data", write_script(folder / "script.json", SCRIPT)) as started:
        yield started


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, back: Running) -> Generator[Running]:
    """Another one with two workers, whose models the first one answers for, in every dialect."""
    folder = tmp_path_factory.mktemp("front")
    (folder / "home").mkdir()
    key = folder / "key"
    key.write_text(back.key)
    tables = [
        UPSTREAM.format(
            name=name,
            dialect=dialect,
            url=back.url,
            key=key,
            translated=str(not name.startswith("relayed")).lower(),
        )
        for name, dialect in UPSTREAMS.items()
    ]
    (folder / "home" / "headrace.toml").write_text("".join(tables))
    model = write_script(folder / "script.json", {})
    with running(folder / "data", model, workers="2") as started:
        yield started


@pytest.fixture
def clients(coding_programs: Path, tmp_path: Path, back: Running) -> Clients:
    """The programs, set up to speak to the scripted model."""
    return made(coding_programs, tmp_path, back)


@pytest.fixture
def through(coding_programs: Path, tmp_path: Path, front: Running) -> Clients:
    """The programs, set up to speak to the Headrace in front."""
    return made(coding_programs, tmp_path, front)


def made(programs: Path, folder: Path, house: Running | Api) -> Clients:
    home = folder / "home"
    home.mkdir()
    return Clients(programs, home, house.url, house.key)


def newest(house: Running, count: int) -> list[Any]:
    """The last receipts, oldest first."""
    return house.receipts()[:count][::-1]


def tokens(receipts: list[Any], kind: str) -> int:
    return sum(each["usage"][kind] for each in receipts)


# A task with a tool


def wrote_by_claude(ran: Ran, project: Path) -> Any:
    """Checks what it printed and did; returns its result."""
    assert ran.code == 0, ran
    [asked] = ran.blocks("tool_use")
    assert (asked["name"], asked["input"]["command"]) == ("Bash", WRITE)
    [answered] = ran.blocks("tool_result")
    assert (answered["tool_use_id"], answered["content"]) == (asked["id"], "water")
    assert [block["thinking"] for block in ran.blocks("thinking")] == ["A file, then.", "Done."]
    assert [block["text"] for block in ran.blocks("text")] == ["I write it. ", LAST]
    assert (project / "mill.txt").read_text() == "water"
    [result] = ran.of("result")
    assert (result["result"], result["num_turns"]) == (LAST, 2)
    return result


def wrote_by_codex(ran: Ran, project: Path) -> Any:
    """Checks what it printed and did; returns the usage it tells."""
    assert ran.code == 0, ran
    [ran_command] = ran.items("command_execution")
    assert (ran_command["aggregated_output"], ran_command["exit_code"]) == ("water", 0)
    assert [item["text"] for item in ran.items("reasoning")] == ["A file, then.", "Done."]
    assert [item["text"].strip() for item in ran.items("agent_message")] == ["I write it.", LAST]
    assert (project / "mill.txt").read_text() == "water"
    [completed] = ran.of("turn.completed")
    return completed["usage"]


def test_claude_code_does_a_task(clients: Clients, back: Running, tmp_path: Path):
    project = tmp_path / "project"
    result = wrote_by_claude(clients.claude(project, "Write by Bash.", MODEL), project)
    receipts = newest(back, 2)
    assert [each["stop"] for each in receipts] == ["tool_calls", "end"]
    assert {each["dialect"] for each in receipts} == {"anthropic"}
    assert result["usage"]["input_tokens"] == tokens(receipts, "input") > 0
    assert result["usage"]["output_tokens"] == tokens(receipts, "output") > 0


def test_codex_does_a_task(clients: Clients, back: Running, tmp_path: Path):
    project = tmp_path / "project"
    usage = wrote_by_codex(clients.codex(project, "Write by exec_command.", MODEL), project)
    receipts = newest(back, 2)
    assert [each["stop"] for each in receipts] == ["tool_calls", "end"]
    assert {each["dialect"] for each in receipts} == {"openai_responses"}
    assert usage["input_tokens"] == tokens(receipts, "input") > 0
    assert usage["output_tokens"] == tokens(receipts, "output") > 0
    assert usage["reasoning_output_tokens"] == tokens(receipts, "reasoning") > 0


def check_both_sides(front: Running, back: Running, client: str, upstream: str) -> None:
    """Two calls on either side, with the same figures."""
    seen, sent = newest(front, 2), newest(back, 2)
    assert {(each["dialect"], each["model_id"]) for each in seen} == {(client, upstream)}
    spoken = UPSTREAMS[upstream]
    assert {each["dialect"] for each in sent} == {spoken}
    assert [each["stop"] for each in seen] == [each["stop"] for each in sent]
    for kind in ("input", "output"):
        assert tokens(seen, kind) == tokens(sent, kind) > 0


@pytest.mark.parametrize("upstream", ["relayed-messages", "messages", "chat", "responses"])
def test_claude_code_works_with_any_upstream(
    through: Clients, front: Running, back: Running, tmp_path: Path, upstream: str
):
    project = tmp_path / "project"
    ran = through.claude(project, "Write by Bash.", upstream)
    wrote_by_claude(ran, project)
    check_both_sides(front, back, "anthropic", upstream)
    # An answer has the name of who wrote it: what is relayed is not written anew.
    writer = back if upstream.startswith("relayed") else front
    named = {event["message"]["id"] for event in ran.of("assistant")}
    assert named == {f"msg_{each['id']}" for each in newest(writer, 2)}


@pytest.mark.parametrize("upstream", ["relayed-responses", "responses", "chat", "messages"])
def test_codex_works_with_any_upstream(
    through: Clients, front: Running, back: Running, tmp_path: Path, upstream: str
):
    project = tmp_path / "project"
    wrote_by_codex(through.codex(project, "Write by exec_command.", upstream), project)
    check_both_sides(front, back, "openai_responses", upstream)


@pytest.mark.parametrize("upstream", ["relayed-messages", "chat"])
def test_claude_code_asks_helpers(through: Clients, back: Running, tmp_path: Path, upstream: str):
    ran = through.claude(tmp_path, "Ask a helper.", upstream)
    [result] = ran.of("result")
    assert (result["result"], result["is_error"]) == (LAST, False)
    assert [block["name"] for block in ran.blocks("tool_use")] == ["Agent"]
    assert [each["stop"] for each in newest(back, 3)] == ["tool_calls", "end", "end"]


@pytest.mark.parametrize("upstream", ["relayed-responses", "chat", "messages"])
def test_codex_calls_a_tool_in_a_namespace(through: Clients, tmp_path: Path, upstream: str):
    ran = through.codex(tmp_path, "Ask an agent.", upstream)
    [called] = ran.items("collab_tool_call")
    assert (called["tool"], called["prompt"]) == ("spawn_agent", "Help me.")
    # That the agent has ended is told behind it, if it had not by then.
    assert LAST in [item["text"] for item in ran.items("agent_message")]


def test_codex_makes_a_summary_in_time(clients: Clients, back: Running, tmp_path: Path):
    limit = ("-c", "model_auto_compact_token_limit=5000")
    project = tmp_path / "project"
    clients.codex(project, "Write by exec_command.", MODEL, *limit)
    shorter = newest(back, 3)
    assert [each["stop"] for each in shorter] == ["tool_calls", "end", "end"]


# What goes wrong


def test_an_unknown_model_is_told(clients: Clients, tmp_path: Path):
    [result] = clients.claude(tmp_path, "Hello.", "nobody").of("result")
    assert result["is_error"]
    assert result["api_error_status"] == 404
    assert "selected model (nobody)" in result["result"]
    [failed] = clients.codex(tmp_path, "Hello.", "nobody").of("turn.failed")
    assert "the model 'nobody' does not exist here; served: claude-" in failed["error"]["message"]


def test_a_wrong_key_is_told_at_once(clients: Clients, tmp_path: Path):
    strangers = Clients(clients.programs, clients.home, clients.url, "hr-wrong")
    ran = strangers.claude(tmp_path, "Hello.", MODEL)  # patient without our `x-should-retry`
    [result] = ran.of("result")
    assert result["api_error_status"] == 401
    assert "the API key is unknown" in result["result"]
    [failed] = strangers.codex(tmp_path, "Hello.", MODEL).of("turn.failed")
    assert "the API key is unknown" in failed["error"]["message"]


def test_a_prompt_that_does_not_fit_is_told_from_other_errors(clients: Clients, tmp_path: Path):
    [result] = clients.claude(tmp_path, "Read all of it.", MODEL).of("result")
    assert result["is_error"]
    assert result["result"].startswith("Prompt is too long")
    [failed] = clients.codex(tmp_path, "Read all of it.", MODEL).of("turn.failed")
    assert "ran out of room in the model's context" in failed["error"]["message"]


def test_claude_code_shortens_a_conversation_that_does_not_fit(clients: Clients, tmp_path: Path):
    clients.claude(tmp_path, "Hello.", MODEL)
    for _ in range(3):
        clients.claude(tmp_path, "Hello again.", MODEL, "--continue")
    ran = clients.claude(tmp_path, "Please overflow.", MODEL, "--continue")
    assert "compacting" in [event.get("status") for event in ran.of("system")]
    [result] = ran.of("result")
    assert (result["result"], result["is_error"]) == ("Here I am.", False)


@pytest.mark.parametrize("word", ["falter", "busy"])
def test_they_ask_again_where_that_helps(clients: Clients, tmp_path: Path, word: str):
    [result] = clients.claude(tmp_path, f"Please {word}, Claude.", MODEL).of("result")
    assert (result["result"], result["is_error"]) == ("Here I am.", False)
    said = clients.codex(tmp_path, f"Please {word}, Codex.", MODEL).items("agent_message")
    assert said[-1]["text"] == "Here I am."


def test_an_answer_that_breaks_off_is_an_error_and_has_a_receipt(
    clients: Clients, back: Running, tmp_path: Path
):
    ran = clients.claude(tmp_path, "Please break.", MODEL, CLAUDE_CODE_MAX_RETRIES="0")
    [result] = ran.of("result")
    assert result["is_error"]
    assert "the engine broke off its answer" in result["result"]
    failures = [each["error_kind"] for each in newest(back, 2)]
    assert failures == ["engine_failed", "engine_failed"]  # the stream, then one without
    once = ("-c", "model_providers.headrace.stream_max_retries=0")
    [failed] = clients.codex(tmp_path, "Please break.", MODEL, *once).of("turn.failed")
    assert "the engine broke off its answer" in failed["error"]["message"]
    assert newest(back, 1)[0]["error_kind"] == "engine_failed"


# What models are given


class Listener(ScriptedEngine):
    """Remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SystemClock())
        self.asked: list[Request] = []
        self.counted: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        self.asked.append(request)
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield event

    async def count_tokens(self, request: Request) -> int:
        self.counted.append(request)
        return await super().count_tokens(request)

    def prompts(self) -> list[list[tuple[str, str]]]:
        """The texts of each request, and who says them."""
        return [
            [(message.role, message.text()) for message in request.messages]
            for request in self.asked
        ]


async def test_the_prompts_of_claude_code_share_their_beginning(
    coding_programs: Path, sqlite_database: Database, tmp_path: Path
):
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    listener = Listener(tmp_path / "script.json")
    async with served_api(sqlite_database, tmp_path, [listener]) as api:
        clients = made(coding_programs, tmp_path, api)
        for prompt in ("Write by Bash.", "Now tell me about rivers."):
            await asyncio.to_thread(clients.claude, tmp_path / "project", prompt, MODEL)
        first, second, other = listener.prompts()
        assert second[: len(first)] == first
        assert other[0] == first[0]
        assert len(first[0][1]) > 1_000
        assert all(request.tools == listener.asked[0].tools for request in listener.asked)
        assert "billing-header" not in str([first, second, other])

        listener.counted.clear()
        ran = await asyncio.to_thread(clients.claude, tmp_path / "project", "/context", MODEL)
        assert MODEL in str(ran)
        assert listener.counted
        assert len(listener.asked) == 3


async def test_the_prompts_of_codex_share_their_beginning(
    coding_programs: Path, sqlite_database: Database, tmp_path: Path
):
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    listener = Listener(tmp_path / "script.json")
    async with served_api(sqlite_database, tmp_path, [listener]) as api:
        clients = made(coding_programs, tmp_path, api)
        for prompt in ("Write by exec_command.", "Now tell me about rivers."):
            await asyncio.to_thread(clients.codex, tmp_path / "project", prompt, MODEL)
        first, second, other = listener.prompts()
        assert second[: len(first)] == first
        assert other[:-1] == first[:-1]
        assert all(request.tools == listener.asked[0].tools for request in listener.asked)


def test_claude_codes_picker_offers_our_models(clients: Clients, tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    cache = clients.home / ".claude" / "cache" / "gateway-models.json"
    switches = {
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }
    with clients.claude_screen(project, MODEL, **switches):
        until = time.monotonic() + 60
        while not cache.exists() and time.monotonic() < until:
            time.sleep(0.1)
    found = json.loads(cache.read_text())["models"]
    assert found == [{"id": MODEL, "display_name": "Parrot"}]
