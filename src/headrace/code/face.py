"""The faces without a screen: what is printed of a session, and what signals do to it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.agent.entries import Answered, Used
from headrace.agent.failures import told
from headrace.agent.parts import Spent
from headrace.agent.progress import End, Human, Logged, Partial, Progress, Retrying, Running
from headrace.agent.session import Session
from headrace.agent.terminal import neutral, one_line
from headrace.code import json_output, stream_json
from headrace.code.build import Ground, lay, open_session
from headrace.code.flags import Flags
from headrace.code.tally import WHY, Cost, Tally
from headrace.code.trace import trace_path
from headrace.core.clock import SystemClock
from headrace.core.errors import HeadraceError
from headrace.core.messages import Message

SIGNALLED = 128
"""What is added to a signal's number for the exit code."""
_LINE_CHARS_MAX = 2_000


@asynccontextmanager
async def session_of(flags: Flags, face: "Face", *, human: Human | None) -> AsyncGenerator[Session]:
    """The session that the flags name, closed at the end."""
    ground = await lay(flags, Path.cwd(), human=human, clock=SystemClock(), tell=tell)
    try:
        session = await open_session(ground)
        try:
            face.begin(ground, session)
            yield session
        finally:
            session.log.close()
    finally:
        await ground.close()


def tell(line: str) -> None:
    """A notice for people."""
    sys.stderr.write(f"headrace code: {one_line(line, _LINE_CHARS_MAX)}\n")
    sys.stderr.flush()


class Caught:
    """The first signal that came, and what it does."""

    def __init__(self) -> None:
        self.number = 0
        self.stop: Callable[[], object] = lambda: None

    def take(self, number: int) -> None:
        """The first ends the work, the second the process."""
        if self.number:
            os._exit(SIGNALLED + number)
        self.number = number
        self.stop()


@asynccontextmanager
async def signals() -> AsyncGenerator[Caught]:
    """SIGINT and SIGTERM, for the length of the context."""
    caught, loop = Caught(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, caught.take, number)
    try:
        yield caught
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Face:
    """What is printed: text, one object, or a stream of them."""

    def __init__(self, flags: Flags) -> None:
        self.session: Session | None = None
        self.ready = asyncio.Event()
        self.tally = Tally()
        self.writer = stream_json.Writer(sys.stdout.fileno(), flags.session_id or "")
        self._flags = flags
        self.ground: Ground | None = None
        self._has_result = False
        self._before = Spent()
        self._model = ""
        self._started_ns = SystemClock().monotonic_ns()
        self._pieces = stream_json.Pieces(self._piece, "")

    def begin(self, ground: Ground, session: Session) -> None:
        """The session is there."""
        self.ground, self.session = ground, session
        self.writer.session_id = session.log.id
        self.ready.set()

    async def turn(self, session: Session, said: str | Message) -> End:
        """One turn, with its result."""
        self.tally = Tally(session.policy.decide)
        self._model = session.begun.model
        self._pieces = stream_json.Pieces(self._piece, self._model)
        self._started_ns = SystemClock().monotonic_ns()
        self._before = session.cost()
        self._has_result = False
        if self._streams:
            self.writer.message("system", **self._init(session))
        unsubscribe = session.subscribe(self._hear)
        structured: dict[str, object] = {}
        try:
            end = await self._shaped(session, said, structured)
        finally:
            unsubscribe()
        self._result(end, structured)
        return end

    def never(self, end: End, why: str, *, hint: str | None = None) -> End:
        """There never was a session, or its work broke; said where a reader looks for it."""
        self.tally.errors.append(f"{why}. {hint}" if hint else why)
        if self._flags.output_format == "text" or self._has_result:
            tell(why)
            if hint:
                sys.stderr.write(f"  {one_line(hint, _LINE_CHARS_MAX)}\n")
        else:
            self._result(end, {})
        return end

    def broke(self, error: Exception) -> End:
        """The same of an error, ours or one that nobody expected."""
        if isinstance(error, HeadraceError):
            return self.never("failed", error.message, hint=error.hint)
        hint = f"This should not happen; its trace is in {trace_path(self._flags)}"
        return self.never("failed", told(error), hint=hint)

    def _cost(self) -> Cost:
        if self.session is None or self.ground is None:
            return Cost(0)
        now, before = self.session.cost(), self._before
        known = now.unpriced == before.unpriced
        return Cost(now.nano - before.nano if known else None, self.ground.priced.source)

    @property
    def _streams(self) -> bool:
        return self._flags.output_format == "stream-json"

    async def _shaped(
        self, session: Session, said: str | Message, structured: dict[str, object]
    ) -> End:
        """The turn; where a schema is given, asked again until the answer fits it."""
        schema = self._flags.json_schema
        if schema is None:
            return await session.turn(said)
        words = json_output.wanted(schema)
        asked = f"{said}\n\n{words}" if isinstance(said, str) else said
        problems: list[str] = []
        for _ in range(json_output.TRIES_MAX):
            end = await session.turn(asked)
            if end != "done":
                return end
            try:
                value = json_output.read(self.tally.text)
                problems = json_output.problems_of(value, schema)
            except ValueError as error:
                value, problems = None, [str(error)]
            if not problems:
                structured["structured_output"] = value
                return end
            asked = json_output.asked_again(problems)
        self.tally.errors.append(f"the answer does not fit the schema: {problems[0]}")
        structured["subtype"] = "error_max_structured_output_retries"
        return "failed"

    def _init(self, session: Session) -> dict[str, Any]:
        assert self.ground is not None  # noqa: S101 - begin() comes first
        ground = self.ground
        return {
            "subtype": "init",
            "cwd": str(ground.workspace),
            "tools": [tool.name for tool in session.begun.tools],
            "mcp_servers": [],
            "model": self._model,
            "permissionMode": ground.policy.mode,
            "slash_commands": [],
            "apiKeySource": "none",
            "output_style": "default",
            "agents": [],
            "skills": [],
            "plugins": [],
        }

    def _hear(self, progress: Progress) -> None:
        self.tally.hear(progress)
        if self._flags.verbose and not self._streams:
            _say_step(progress)
        if not self._streams:
            return
        match progress:
            case Logged(entry=entry):
                self._logged(entry.id, entry.body)
            case Partial(delta=delta) if self._flags.include_partial_messages:
                self._pieces.more(delta)
            case Retrying(why=why, after_s=after_s, attempt=attempt):
                self._pieces.end(None)
                fields = {"attempt": attempt, "retry_delay_ms": int(after_s * 1000), "error": why}
                self.writer.message("system", subtype="api_retry", **fields)
            case _:
                pass

    def _logged(self, entry_id: str, body: object) -> None:
        match body:
            case Answered():
                self._pieces.end(body)
                message = stream_json.assistant(entry_id, body, self._model)
                self.writer.message("assistant", message=message, parent_tool_use_id=None)
            case Used():
                self.writer.message(
                    "user",
                    message=stream_json.tool_result(body),
                    parent_tool_use_id=None,
                    tool_use_result=stream_json.detail(body),
                )
            case _:
                pass

    def _piece(self, event: dict[str, Any]) -> None:
        self.writer.message("stream_event", event=event, parent_tool_use_id=None)

    def _result(self, end: End, structured: dict[str, object]) -> None:
        self._has_result = True
        if self._flags.output_format == "text":
            self._print(end, structured)
            return
        duration_ms = (SystemClock().monotonic_ns() - self._started_ns) // 1_000_000
        fields = self.tally.result(
            end, duration_ms=duration_ms, cost=self._cost(), model=self._model
        )
        self.writer.message("result", **(fields | structured))

    def _print(self, end: End, structured: dict[str, object]) -> None:
        text = self.tally.text
        if "structured_output" in structured:
            import msgspec  # noqa: PLC0415 - with --json-schema

            text = msgspec.json.encode(structured["structured_output"]).decode()
        if text:
            shown = neutral(text) if sys.stdout.isatty() else text
            sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")
            sys.stdout.flush()
        for denial in self.tally.denials:
            allow = f"; allow it with --allowedTools {denial.rule!r}" if denial.rule else ""
            tell(f"refused {denial.call.name}: {denial.why}{allow}")
        if end != "done":
            tell("; ".join(self.tally.errors) or WHY.get(end, end))


def _say_step(progress: Progress) -> None:
    match progress:
        case Running(call=call, action=action):
            tell(f"{call.name} {action.command or action.path or action.url or ''}".rstrip())
        case Logged(entry=entry) if isinstance(entry.body, Used):
            tell(f"  {entry.body.note or ('failed' if entry.body.result.is_error else 'done')}")
        case Retrying(why=why, after_s=after_s):
            tell(f"again in {after_s:.0f} s: {why}")
        case _:
            pass
