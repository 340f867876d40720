"""A coding task in a real process, killed at any moment, and what must be true then and after.

The model asks for what is not answered yet, whoever runs the task: so a killed session that is
gone on with comes to the same end as one that nobody killed.
"""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.agent.entries import BEFORE, Answered, Entry, Said, Set, Used
from headrace.agent.log import Log
from headrace.agent.prompt import UNANSWERED, cached, extends, invariants, request_of
from headrace.code.snapshots import Snapshots
from headrace.core.clock import SystemClock
from headrace.core.messages import Message, Text, ToolCall, ToolResult, user
from support.model_server import Block, Desk, ModelServer, Turn, call, plain, text
from support.trees import tree_of

WRONG = "def add(a, b):\n    return a - b\n"
RIGHT = WRONG.replace("a - b", "a + b")
CHECK = "from calc import add\n\nassert add(1, 2) == 3\n"
RUNS = "echo run >> runs.txt; sleep 0.05; python3 test_calc.py && echo fine; echo end >> runs.txt"
STEPS: tuple[tuple[Block, ...], ...] = (
    (call("Read", file_path="calc.py"), call("Read", file_path="test_calc.py")),
    (call("Edit", file_path="calc.py", old_string="a - b", new_string="a + b"),),
    (call("Write", file_path="notes.md", content="It adds now.\n"),),
    (call("Bash", command=RUNS),),
)
DONE = "It adds now; the test passes."
LINES = 17
"""How many lines the log of a task has that nobody killed."""
_POLL_S = 0.0002
_WAIT_S = 60.0


class Working(ModelServer):
    """A model that asks for the first calls of the task that have no answer yet."""

    def turn(self, number: int, body: bytes) -> Turn:
        del number
        done = _answered(json.loads(body)["messages"])
        for step in STEPS:
            open_calls = [one for one in step if _key(one) not in done]
            if open_calls:
                return [text("Next."), *open_calls]
        return [text(DONE)]


def _key(block: Block) -> str:
    return json.dumps([block["name"], block["input"]])


def _answered(messages: list[Block]) -> set[str]:
    asked: dict[str, str] = {}
    done: set[str] = set()
    for message in messages:
        for block in _blocks(message["content"]):
            if block["type"] == "tool_use":
                asked[block["id"]] = _key(block)
            elif block["type"] == "tool_result" and plain(block["content"]) != UNANSWERED:
                done.add(asked[block["tool_use_id"]])
    return done


def _blocks(content: str | list[Block]) -> list[Block]:
    return [] if isinstance(content, str) else content


class Point(NamedTuple):
    """When to kill: so many milliseconds after the log has so many lines."""

    lines: int
    wait_ms: float


class Crashed(NamedTuple):
    """What a kill has met with; `lines` the log had then, `torn` bytes of one more."""

    lines: int
    torn: int
    finished: bool
    unanswered: int
    snapshots: int


def points() -> list[Point]:
    """All over the task."""
    each = [Point(lines, wait_ms) for lines in range(LINES + 1) for wait_ms in WAITS_MS]
    return each + [Point(LINES - 3, wait_ms) for wait_ms in COMMAND_MS]


def sample() -> list[Point]:
    """One for each line, a little later or earlier behind it, and two while the command runs."""
    many = len(WAITS_MS)
    return [*points()[: many * (LINES + 1) : many + 1], *points()[-14::8]]


def begin(folder: Path, server: Working) -> Desk:
    """What the task begins with."""
    desk = Desk(folder, server.url)
    (desk.folder / "calc.py").write_text(WRONG)
    (desk.folder / "test_calc.py").write_text(CHECK)
    return desk


def crash(folder: Path, point: Point) -> Crashed:
    """Run the task, kill it, look at what it left, and go on with it to its end."""
    server = Working()
    desk = begin(folder, server)
    before = tree_of(desk.folder)
    try:
        finished = _killed(desk, point)
        crashed = check_left(desk, server, finished=finished)
        kept = _whole_lines(desk)
        _go_on(desk, by_id=bool(point.lines % 2))
        check_end(desk, server, kept)
        check_snapshots(desk, before)
    finally:
        server.close()
    server.check()
    return crashed


WAITS_MS = (0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.5)
"""After each line of the log: a step of the task takes two milliseconds or so."""
COMMAND_MS = tuple(5.0 * n for n in range(1, 17))
"""After the line behind which the command runs."""
FLAGS = ("--permission-mode", "acceptEdits", "--allowedTools", "Bash")


def _killed(desk: Desk, point: Point) -> bool:
    """Whether it had come to its end before it was killed."""
    running = desk.start("-p", "Fix add.", *FLAGS)
    ends_s = time.monotonic() + _WAIT_S
    while running.poll() is None and _lines(desk) < point.lines and time.monotonic() < ends_s:
        time.sleep(_POLL_S)
    time.sleep(point.wait_ms / 1_000)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return running.returncode == 0


def _lines(desk: Desk) -> int:
    return sum(path.read_bytes().count(b"\n") for path in desk.logs())


def _whole_lines(desk: Desk) -> bytes:
    content = b"".join(path.read_bytes() for path in desk.logs())
    return content[: content.rfind(b"\n") + 1]


def _go_on(desk: Desk, *, by_id: bool) -> None:
    if not any(b'"said"' in path.read_bytes() for path in desk.logs()):
        resumed: tuple[str, ...] = ()  # it was killed before it had heard anything
    else:
        resumed = ("--resume", desk.logs()[0].stem) if by_id else ("--continue",)
    shown = desk.code("-p", "Go on.", *resumed, *FLAGS)
    assert (shown.returncode, shown.stdout) == (0, DONE + "\n"), shown.stderr


def check_left(desk: Desk, server: ModelServer, *, finished: bool) -> Crashed:
    """What a kill leaves: a sound log that holds all that was asked and done."""
    if not desk.logs():
        assert not server.bodies
        return Crashed(0, 0, finished, 0, 0)
    [path] = desk.logs()
    content = path.read_bytes()
    torn = len(content) - content.rfind(b"\n") - 1
    copied = desk.home / "copied.jsonl"
    copied.write_bytes(content)
    log = Log.open(copied, SystemClock())
    log.close()
    assert len(log.notices) == (1 if torn else 0)
    branch = log.branch()
    assert len(branch) == content.count(b"\n")
    calls, used = _calls(branch), _used(branch)
    assert [one.id for one in calls][: len(used)] == [one.result.call_id for one in used]
    if any(isinstance(entry.body, Said) for entry in branch):
        log = Log.open(copied, SystemClock())
        log.append(Said(user("Go on.")))
        log.close()
        request = cached(request_of(log.branch()))
        assert invariants(request) == []
        for asked in server.requests():
            assert extends(asked, request)
    done = {one.name for one in calls}
    assert _runs(desk).count("run") <= sum(one.name == "Bash" for one in calls)
    assert (desk.folder / "calc.py").read_text() in ((WRONG, RIGHT) if "Edit" in done else (WRONG,))
    assert "Write" in done or not (desk.folder / "notes.md").exists()
    for one in used:
        _check_done(desk, one)
    snapshots = sum(isinstance(entry.body, Set) for entry in branch)
    return Crashed(len(branch), torn, finished, len(calls) - len(used), snapshots)


def _check_done(desk: Desk, used: Used) -> None:
    """What the log says was done stands in the files."""
    match used.tool:
        case "Edit":
            assert (desk.folder / "calc.py").read_text() == RIGHT
        case "Write":
            assert (desk.folder / "notes.md").read_text() == "It adds now.\n"
        case "Bash":
            assert "end" in _runs(desk)
        case _:
            pass


def check_end(desk: Desk, server: ModelServer, kept: bytes) -> None:
    """The task is done; the log has grown only, and tells of each time a call was made."""
    assert (desk.folder / "calc.py").read_text() == RIGHT
    [path] = [path for path in desk.logs() if b'"said"' in path.read_bytes()]
    if b'"said"' in kept:
        assert path.read_bytes().startswith(kept)
    log = Log.open(path, SystemClock())
    log.close()
    assert log.notices == []
    branch = log.branch()
    # A request holds an answer to each call; those of calls that were lost say so.
    results = {one.call_id: one for one in _results(request_of(branch).messages)}
    made: dict[str, list[bool]] = {}
    for one in _calls(branch):
        known = results[one.id].parts != (Text(UNANSWERED),)
        made.setdefault(f"{one.name} {one.arguments}", []).append(known)
    assert all(tries == [False] * (len(tries) - 1) + [True] for tries in made.values()), made
    bash = next(tries for name, tries in made.items() if name.startswith("Bash"))
    runs = _runs(desk)
    assert runs.count("run") <= len(bash)
    assert runs[-1] == "end"
    assert len(server.requests()) >= len(STEPS)


def check_snapshots(desk: Desk, first: dict[str, tuple[int, bytes]]) -> None:
    """Each snapshot that the log names is what the files were then; all can be had back."""
    [path] = [path for path in desk.logs() if b'"said"' in path.read_bytes()]
    log = Log.open(path, SystemClock())
    log.close()
    last = tree_of(desk.folder)
    [kept] = (desk.home / "data" / "code" / "snapshots").iterdir()
    snapshots = Snapshots(desk.folder, kept, SystemClock())
    named = list(_named(log.branch()))
    for snapshot_id, tool in named:
        snapshots.restore_now(snapshot_id)
        if tool == "Edit":
            assert (desk.folder / "calc.py").read_text() == RIGHT
        if tool == "Write":
            assert (desk.folder / "notes.md").exists()
    snapshots.restore_now(named[0][0])
    assert tree_of(desk.folder) == first, "the first snapshot is not what the files were at first"
    snapshots.restore_now(named[-1][0])
    assert tree_of(desk.folder) == last
    snapshots.close()


def _named(branch: tuple[Entry, ...]) -> Iterator[tuple[str, str]]:
    for body in (entry.body for entry in branch):
        if isinstance(body, Set) and body.name == BEFORE:
            yield body.value, ""
        elif isinstance(body, Used) and body.after is not None:
            yield body.after, body.tool


def _calls(branch: tuple[Entry, ...]) -> list[ToolCall]:
    answers = [entry.body.message for entry in branch if isinstance(entry.body, Answered)]
    return [part for one in answers for part in one.parts if isinstance(part, ToolCall)]


def _used(branch: tuple[Entry, ...]) -> list[Used]:
    return [entry.body for entry in branch if isinstance(entry.body, Used)]


def _results(messages: tuple[Message, ...]) -> Iterator[ToolResult]:
    for message in messages:
        yield from (part for part in message.parts if isinstance(part, ToolResult))


def _runs(desk: Desk) -> list[str]:
    path = desk.folder / "runs.txt"
    return path.read_text().split() if path.exists() else []
