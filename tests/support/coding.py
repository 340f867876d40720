"""A session with a model that says what a test has written down, and with tools that note it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from headrace.agent.endpoint import Endpoint
from headrace.agent.entries import Begun, Entry
from headrace.agent.guide import Guide
from headrace.agent.log import Log
from headrace.agent.parts import Limits
from headrace.agent.progress import Human, Logged, Progress
from headrace.agent.prompt import extends, invariants
from headrace.agent.session import Session
from headrace.agent.tools import Outcome, Tool, Use
from headrace.core import requests
from headrace.core.clock import Clock, SystemClock
from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import InvalidRequest
from headrace.core.events import Delta, Event, Failed, Finished, Started
from headrace.core.messages import Message, Part, Text, Thinking, ToolCall
from headrace.core.models import Usage
from headrace.core.requests import Request
from headrace.ledger.prices import Rates
from headrace.safety.actions import Action

Line = Sequence[Event] | Callable[[Request], Sequence[Event]]
HANG = "hang"


def call(name: str, arguments: dict[str, Any] | str = "", id_: str = "") -> ToolCall:
    written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id_, name, written)


def answer(*parts: Part | str, stop: str | None = None, usage: Usage | None = None) -> list[Event]:
    """The events of a whole answer; words stand for text."""
    said = [Text(part) if isinstance(part, str) else part for part in parts]
    deltas = [
        Delta(number, part, number + 1)
        for number, part in enumerate(said)
        if isinstance(part, Text | Thinking | ToolCall)
    ]
    calls = any(isinstance(part, ToolCall) for part in said)
    ended = stop or ("tool_calls" if calls else "end")
    events: list[Event] = [Started("scripted", generation_id="g1"), *deltas]
    return [
        *events,
        Finished(ended, usage or Usage(input=100, output=10)),  # pyright: ignore[reportArgumentType] - tests name stops
    ]


class Scripted:
    """A client whose answers stand in a list. What is asked must be a sound request, each time."""

    def __init__(self, *lines: Line) -> None:
        self.endpoint = Endpoint(base_url="http://scripted", ours=True)
        self.lines: list[Line] = list(lines)
        self.asked: list[Request] = []
        self.may_differ = False

    async def stream(
        self, request: Request, *, conversation_id: str | None = None
    ) -> AsyncGenerator[Event]:
        del conversation_id
        assert invariants(request) == []
        self.asked.append(request)
        line = self.lines.pop(0) if self.lines else answer("Done.")
        for event in line(request) if callable(line) else line:
            if isinstance(event, Failed) and event.kind == HANG:
                await asyncio.sleep(60)
            yield event

    async def cost_nano(self, generation_id: str | None) -> int | None:
        del generation_id
        return None

    def grows(self) -> bool:
        """Whether each request begins with the one before."""
        pairs = zip(self.asked, self.asked[1:], strict=False)
        return all(extends(before, after) for before, after in pairs)


class Noting:
    """A tool that notes its calls and says what it is told to."""

    def __init__(
        self,
        name: str,
        *,
        writes: bool = False,
        says: Callable[[dict[str, Any]], Outcome | str] = lambda _: "ok",
        seconds: float = 0,
        required: Sequence[str] = ("path",),
    ) -> None:
        properties = {each: {"type": "string"} for each in required} | {
            "limit": {"type": "integer"}
        }
        parameters = {"type": "object", "properties": properties, "required": list(required)}
        self.spec = requests.Tool(name, parameters, f"Does {name}.")
        self.used: list[dict[str, Any]] = []
        self.stopped = 0
        self.most = self.now = 0
        self._writes = writes
        self.says = says
        self.seconds = seconds

    def action(self, arguments: dict[str, Any]) -> Action:
        if arguments.get("path") == "/forbidden":
            raise InvalidRequest("that path is none of ours")
        return Action(tool=self.spec.name, path=arguments.get("path"), writes=self._writes)

    async def run(self, use: Use) -> Outcome:
        self.used.append(use.arguments)
        use.progress("working\n")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.now -= 1
        said = self.says(use.arguments)
        return said if isinstance(said, Outcome) else Outcome.of(said)


class Rules:
    """Asks about Bash, denies Rm, allows the rest; what is kept is allowed."""

    def __init__(self) -> None:
        self.mode = "default"
        self.kept: list[str] = []

    def decide(self, action: Action) -> Decision:
        if action.tool == "Rm":
            return Deny("a rule denies Rm")
        if action.tool == "Bash" and "Bash" not in self.kept:
            return Ask("no rule allows it", rule="Bash")
        return Allow("reading is free")

    def keep(self, rule: str) -> None:
        self.kept.append(rule)


class Shelf:
    """Snapshots with numbers for names."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.restored: list[str] = []

    async def take(self, label: str) -> str:
        self.taken.append(label)
        return f"s{len(self.taken)}"

    async def restore(self, snapshot_id: str) -> None:
        self.restored.append(snapshot_id)


class Bench:
    """A session on a scripted model, and all that a test looks into."""

    made: ClassVar[list[Path]] = []
    """The logs of this test's sessions."""

    def __init__(
        self,
        folder: Path,
        *lines: Line,
        tools: Sequence[Tool] | None = None,
        human: Human | None = None,
        limits: Limits | None = None,
        rates: Rates | None = None,
        clock: Clock | None = None,
        begun: dict[str, Any] | None = None,
        snapshots: Shelf | None = None,
        guide: Guide | None = None,
    ) -> None:
        self.model = Scripted(*lines)
        self.read = Noting("Read")
        self.edit = Noting("Edit", writes=True)
        self.tools: tuple[Tool, ...] = tuple(tools or (self.read, self.edit))
        self.rules = Rules()
        self.waits: list[float] = []
        self.rest: Callable[[float], Awaitable[None]] | None = None
        self.progress: list[Progress] = []
        clock = clock or SystemClock()
        self.log = Log.open(folder / "sessions" / "one.jsonl", clock)
        self.made.append(self.log.path)
        self.session = Session(
            self.log,
            self.model,
            tools=self.tools,
            policy=self.rules,
            human=human,
            clock=clock,
            snapshots=snapshots,
            limits=limits,
            rates=rates,
            sleep=self._sleep,
            guide=guide,
        )
        self.session.subscribe(self.progress.append)
        if self.log.head is None:
            self.session.begin(
                msgspec.structs.replace(
                    Begun(
                        workspace="/work",
                        model="scripted",
                        system="Be good.",
                        context="Folder: /work",
                        tools=tuple(tool.spec for tool in self.tools),
                    ),
                    **(begun or {}),
                )
            )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self.rest is not None:
            await self.rest(seconds)

    def kinds(self) -> list[str]:
        """What stands in the branch, by kind."""
        return [kind_of(entry) for entry in self.log.branch()]

    def bodies(self, kind: type[Any]) -> list[Any]:
        return [entry.body for entry in self.log.branch() if isinstance(entry.body, kind)]

    def logged(self) -> list[Entry]:
        return [one.entry for one in self.progress if isinstance(one, Logged)]

    async def interrupted_when(self, ready: Callable[[], bool], said: str | Message) -> str:
        """Run a turn, interrupt it as soon as `ready`, and say how it ended."""
        turn = asyncio.create_task(self.session.turn(said))
        async with asyncio.timeout(5):
            while not ready():
                await asyncio.sleep(0)
        self.session.interrupt()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                return await turn
        raise AssertionError("an interrupt takes effect at once")


def kind_of(entry: Entry) -> str:
    return str(msgspec.to_builtins(entry.body)["type"])
