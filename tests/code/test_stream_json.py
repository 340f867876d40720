"""The lines of JSON that programs exchange with Claude Code, exchanged with us."""

import contextlib
import json
import subprocess
import tracemalloc
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from headrace.code.stream_json import Lines, Pieces, said
from headrace.core.events import Delta
from headrace.core.messages import Image, Text
from support.model_server import MODEL, Desk, ModelServer, Turn, call, text

BOTH = ("--output-format", "stream-json", "--input-format", "stream-json", "--verbose")
TOUCH = call("Bash", command="touch made")


class Talk:
    """A program at the other end."""

    def __init__(self, running: "subprocess.Popen[str]") -> None:
        self.running = running
        self.seen: list[dict[str, Any]] = []

    def send(self, **message: object) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write(json.dumps(message) + "\n")
        self.running.stdin.flush()

    def say(self, words: str) -> None:
        self.send(type="user", message={"role": "user", "content": words})

    def ask(self, number: str, **request: object) -> dict[str, Any]:
        """A control request and its answer."""
        self.send(type="control_request", request_id=number, request=request)
        answer = self.until("control_response")["response"]
        assert answer["request_id"] == number
        return answer

    def answer(self, request: dict[str, Any], **response: object) -> None:
        inner = {"subtype": "success", "request_id": request["request_id"], "response": response}
        self.send(type="control_response", response=inner)

    def until(self, kind: str) -> dict[str, Any]:
        assert self.running.stdout is not None
        for line in self.running.stdout:
            self.seen.append(json.loads(line))
            if self.seen[-1]["type"] == kind:
                return self.seen[-1]
        raise AssertionError(
            f"no {kind}: {self.running.stderr.read() if self.running.stderr else ''}"
        )

    def end(self) -> int:
        assert self.running.stdin is not None
        self.running.stdin.close()
        return self.running.wait(20)


@pytest.fixture
def server() -> Generator[ModelServer]:
    started = ModelServer([text("Hi.")])
    yield started
    started.close()
    started.check()


@pytest.fixture
def desk(tmp_path: Path, server: ModelServer) -> Desk:
    return Desk(tmp_path, server.url)


@pytest.fixture
def talks(desk: Desk, server: ModelServer) -> Generator[Any]:
    open_: list[Talk] = []

    def start(*arguments: str, turns: tuple[Turn, ...] = ()) -> Talk:
        server.turns = turns or server.turns
        open_.append(Talk(desk.start(*BOTH, *arguments, talks=True)))
        return open_[-1]

    yield start
    for talk in open_:
        talk.running.kill()
        with contextlib.suppress(BrokenPipeError), talk.running:
            pass


def test_a_stream_of_what_happens(desk: Desk, server: ModelServer):
    server.turns = [[text("I look."), call("Glob", pattern="*")], [text("Nothing.")]]
    shown = desk.code("-p", "Look.", "--output-format", "stream-json", "--include-partial-messages")
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    whole = [event for event in events if event["type"] != "stream_event"]
    assert [event["type"] for event in whole] == [
        "system",
        "assistant",
        "user",
        "assistant",
        "result",
    ]
    assert len({event["session_id"] for event in events}) == 1
    assert len({event["uuid"] for event in events}) == len(events)
    init, asked, answered = whole[0], whole[1]["message"], whole[2]["message"]
    assert (init["subtype"], init["cwd"], init["permissionMode"]) == (
        "init",
        str(desk.folder),
        "default",
    )
    assert init["tools"][:2] == ["Read", "Edit"]
    assert [block["type"] for block in asked["content"]] == ["text", "tool_use"]
    assert (asked["stop_reason"], asked["content"][1]["input"]) == ("tool_use", {"pattern": "*"})
    assert answered["content"][0]["tool_use_id"] == asked["content"][1]["id"]
    pieces = [event["event"]["type"] for event in events if event["type"] == "stream_event"]
    one = ["content_block_start", "content_block_delta", "content_block_stop"]
    end = ["message_delta", "message_stop"]
    assert pieces == ["message_start", *one, *one, *end, "message_start", *one, *end]


def test_a_conversation_of_several_turns(talks: Any, server: ModelServer):
    talk = talks(turns=([text("One.")], [text("Two.")]))
    assert talk.ask("1", subtype="initialize", hooks=None)["subtype"] == "success"
    talk.say("First.")
    assert talk.until("result")["result"] == "One."
    talk.say("Second.")
    assert talk.until("result")["result"] == "Two."
    assert talk.end() == 0
    assert [m.text() for m in server.requests()[-1].messages[2:]] == ["One.", "Second."]


def test_permission_is_asked_of_the_other_end(talks: Any, desk: Desk):
    talk = talks("--permission-prompt-tool", "stdio", turns=([TOUCH], [text("Made.")]))
    talk.say("Make it.")
    asked = talk.until("control_request")
    assert asked["request"]["subtype"] == "can_use_tool"
    assert asked["request"]["tool_name"] == "Bash"
    assert asked["request"]["input"] == {"command": "touch made"}
    assert not (desk.folder / "made").exists()
    talk.answer(asked, behavior="allow", updatedInput={"command": "touch made"})
    assert talk.until("result")["permission_denials"] == []
    assert (desk.folder / "made").exists()


@pytest.mark.parametrize(
    "response",
    [
        {"behavior": "deny", "message": "not today"},
        {"behavior": "allow", "updatedInput": {"command": "touch other"}},
        {"behavior": "perhaps"},
        {},
    ],
)
def test_whatever_is_no_plain_yes_is_a_no(talks: Any, desk: Desk, response: dict[str, Any]):
    talk = talks("--permission-prompt-tool", "stdio", turns=([TOUCH], [text("Not made.")]))
    talk.say("Make it.")
    talk.answer(talk.until("control_request"), **response)
    result = talk.until("result")
    assert [denial["tool_name"] for denial in result["permission_denials"]] == ["Bash"]
    assert not list(desk.folder.iterdir())


def test_without_that_flag_nobody_is_asked(talks: Any, desk: Desk):
    talk = talks(turns=([TOUCH], [text("Not made.")]))
    talk.say("Make it.")
    assert len(talk.until("result")["permission_denials"]) == 1
    assert not (desk.folder / "made").exists()


def test_an_interrupt_ends_the_turn_and_the_next_one_works(talks: Any, server: ModelServer):
    talk = talks(turns=([{"type": "hang"}], [text("Here.")]))
    talk.say("Wait.")
    assert server.asked.acquire(timeout=20)
    assert talk.ask("7", subtype="interrupt")["subtype"] == "success"
    result = talk.until("result")
    assert (result["end"], result["subtype"]) == ("interrupted", "error_during_execution")
    talk.say("And now?")
    assert talk.until("result")["result"] == "Here."
    assert talk.end() == 0


def test_the_permission_mode_changes_on_request(talks: Any, desk: Desk):
    write = call("Write", file_path="new.txt", content="water\n")
    talk = talks(turns=([write], [text("Written.")]))
    assert talk.ask("1", subtype="set_permission_mode", mode="acceptEdits")["subtype"] == "success"
    assert talk.ask("2", subtype="set_permission_mode", mode="godMode")["subtype"] == "error"
    talk.say("Write it.")
    assert talk.until("result")["permission_denials"] == []
    assert (desk.folder / "new.txt").read_text() == "water\n"


def test_what_is_not_there_yet_is_refused(talks: Any):
    talk = talks()
    hooks = {"PreToolUse": [{"hookCallbackIds": ["hook_0"]}]}
    answer = talk.ask("1", subtype="initialize", hooks=hooks)
    assert (answer["subtype"], answer["error"]) == ("error", "hooks are not supported yet")
    assert talk.ask("2", subtype="mcp_set_servers")["subtype"] == "error"


def test_what_is_no_message_is_told_and_passed_over(talks: Any):
    talk = talks()
    talk.running.stdin.write("hello\n[1]\n\n")
    talk.send(type="nonsense")
    talk.send(type="user", message={"role": "user", "content": [{"type": "video"}]})
    talk.say("Hello.")
    assert talk.until("result")["result"] == "Hi."
    assert talk.end() == 0


def test_an_input_that_ends_at_once_is_no_error(talks: Any, server: ModelServer):
    assert talks().end() == 0
    assert server.bodies == []


def test_what_a_message_says():
    source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    message = said(
        {"content": [{"type": "text", "text": "See"}, {"type": "image", "source": source}]}
    )
    assert message is not None
    assert message.parts == (Text("See"), Image(media_type="image/png", data="AA=="))
    assert said({"content": " "}) is said({}) is said({"content": [{"type": "audio"}]}) is None


def test_an_answer_that_broke_off_is_closed_in_the_stream():
    events: list[dict[str, Any]] = []
    pieces = Pieces(events.append, "m")
    pieces.more(Delta(0, Text("Once")))
    pieces.end(None)
    pieces.end(None)
    kinds = [event["type"] for event in events]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("message_stop") == 1


def test_the_model_changes_on_request_from_the_next_turn_on(talks: Any, server: ModelServer):
    talk = talks(turns=([text("One.")],))
    assert talk.ask("1", subtype="set_model", model="first-7b")["subtype"] == "success"
    talk.say("First.")
    assert talk.until("result")["result"] == "One."
    assert server.last()["model"] == "first-7b"
    server.play([{"type": "hang"}], [text("Two.")])
    talk.say("Wait.")
    assert server.asked.acquire(timeout=20)
    assert server.asked.acquire(timeout=20)
    assert talk.ask("2", subtype="set_model", model="second-7b")["subtype"] == "success"
    assert talk.ask("3", subtype="interrupt")["subtype"] == "success"
    assert talk.until("result")["end"] == "interrupted"
    server.play([text("Two.")])
    talk.say("Second.")
    assert talk.until("result")["result"] == "Two."
    assert server.last()["model"] == "second-7b"
    inits = [one for one in talk.seen if one["type"] == "system"]
    assert [one["model"] for one in inits] == ["first-7b", "first-7b", "second-7b"]
    server.play([text("Three.")])
    assert talk.ask("4", subtype="set_model", model=None)["subtype"] == "success"
    talk.say("Third.")
    assert talk.until("result")["result"] == "Three."
    assert server.last()["model"] == MODEL
    assert talk.end() == 0


def test_a_line_that_is_too_deep_is_passed_over(talks: Any):
    talk = talks()
    talk.running.stdin.write('{"a":' + "[" * 100_000 + "\n")
    talk.say("Hello.")
    assert talk.until("result")["result"] == "Hi."
    assert talk.end() == 0


@pytest.mark.parametrize("form", ["stream-json", "json", "text"])
def test_what_nobody_expected_is_told_in_one_result(
    desk: Desk, server: ModelServer, tmp_path: Path, form: str
):
    """A part of ours that breaks while the session is put together."""
    breaks = tmp_path / "breaks"
    breaks.mkdir()
    (breaks / "sitecustomize.py").write_text(
        "import sys\n"
        "class Found:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'headrace.code.toolbox':\n"
        "            raise ValueError('the wheel fell off')\n"
        "sys.meta_path.insert(0, Found())\n"
    )
    desk.more = {"PYTHONPATH": str(breaks)}
    shown = desk.code("-p", "Hello.", "--output-format", form)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stdout + shown.stderr
    if form == "text":
        assert "ValueError: the wheel fell off" in shown.stderr
        told = shown.stderr
    else:
        [result] = [json.loads(line) for line in shown.stdout.splitlines()]
        assert (result["is_error"], result["subtype"]) == (True, "error_during_execution")
        told = result["errors"][0]
        assert "ValueError: the wheel fell off" in told
    path = Path(told.rstrip().rpartition(" ")[2])
    assert path.name == "code.log"
    assert "in find_spec" in path.read_text()
    assert server.bodies == []


def test_an_empty_prompt_is_told_in_a_result(desk: Desk):
    shown = desk.code("-p", "--output-format", "json")
    [result] = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (shown.returncode, result["is_error"]) == (1, True)
    assert "nothing to do" in result["errors"][0]


def test_lines_cut_finer_cost_no_more_than_their_bytes():
    """Counted are the bytes that each piece has allocated, not the time."""
    assert allocated(pieces=8_000) < 6 * allocated(pieces=2_000)


def allocated(pieces: int) -> int:
    lines, count = Lines(1_000_000), 0
    tracemalloc.start()
    try:
        for _ in range(pieces):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            assert not list(lines.feed(b"x" * 64))
            count += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert list(lines.rest()) == [b"x" * 64 * pieces]
    return count


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_over_the_limit_is_told_once_and_the_next_is_read(size: int):
    whole = b"one\n" + b"x" * 50 + b"\n\n" + b"y" * 20 + b"\nlast"
    lines = Lines(20)
    found: list[bytes | None] = []
    for at in range(0, len(whole), size):
        found += lines.feed(whole[at : at + size])
    assert [*found, *lines.rest()] == [b"one", None, b"", b"y" * 20, b"last"]
