"""Replay: a session run again from its log, offline, byte for byte.

The same loop runs on a new log. What came from outside is taken from the recorded one: answers and
failures of the model, results of tools, decisions about them, what people said and when they
interrupted, ids and times. Every entry that the loop then writes must be the recorded one, and
every request must be sound and begin with the one before it. Snapshots, durations and prices are
taken over, as nothing here could measure them.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import msgspec

from headrace.agent import prompt_texts
from headrace.agent.acting import INTERRUPTED, INVALID, NOBODY_WHY, NOT_RUN, REFUSED, STOPPED
from headrace.agent.asking import EMPTY_SUMMARY, Over
from headrace.agent.endpoint import Endpoint
from headrace.agent.entries import (
    Answered,
    Begun,
    Broke,
    Compacted,
    Entry,
    Moved,
    Said,
    Set,
    Turned,
    Used,
)
from headrace.agent.failures import told
from headrace.agent.guide import Guide, Step
from headrace.agent.log import Log
from headrace.agent.progress import End, Logged, Progress, Reply
from headrace.agent.prompt import begun_of, extends, invariants
from headrace.agent.session import Session
from headrace.agent.tools import Outcome, Use
from headrace.core import requests
from headrace.core.clock import SystemClock
from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import InvalidRequest
from headrace.core.events import Delta, Event, Failed, Finished, Started
from headrace.core.messages import Message, Text, Thinking, ToolCall
from headrace.core.requests import Request
from headrace.safety.actions import Action

_TURN_S_MAX = 60.0
_FOREVER_S = 3_600.0
_TOO_LONG_S = 1e9
_SHOWN_CHARS = 300
_SAYS = " The user says: "


class Report(msgspec.Struct, frozen=True):
    """What a replay found; `differences` is empty where all of it came out the same."""

    entries: int
    requests: int
    differences: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class _Off(BaseException):
    """The session goes another way than the recorded one, or that one ends here."""


async def replay(path: Path, guide: Guide | None = None) -> Report:
    """Run a session again, with the guide that led it where one did.

    Raises:
        StoreError: It cannot be read.
    """
    with TemporaryDirectory(prefix="headrace-replay-") as folder:
        copied = Path(folder) / path.name
        shutil.copyfile(path, copied)
        recorded = Log.open(copied, SystemClock())
        recorded.close()
        tape = _Tape(recorded.all())
        log = Log.open(Path(folder) / "again" / path.name, SystemClock(), stamp=tape.stamp)
        try:
            await _Player(tape, log, guide).play()
        finally:
            log.close()
    return Report(tape.at, tape.requests, tuple(tape.differences), tuple(recorded.notices))


class _Tape:
    """The recorded entries, and how far the replay is."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.at = 0
        self.requests = 0
        self.differences: list[str] = []
        self.is_off = False

    def off(self) -> _Off:
        """From here on nothing more is written in this step."""
        self.is_off = True
        return _Off()

    def stamp(self) -> tuple[str, int]:
        """Id and time of the entry that is written next."""
        if self.is_off or (entry := self.peek()) is None:
            raise self.off()
        return entry.id, entry.time_ns

    def peek(self, ahead: int = 0) -> Entry | None:
        """An entry that is yet to come."""
        place = self.at + ahead
        return self.entries[place] if place < len(self.entries) else None

    def body(self, ahead: int = 0) -> object:
        """What it says."""
        entry = self.peek(ahead)
        return None if entry is None else entry.body

    def take(self, written: Entry) -> None:
        """Compare an entry with the recorded one."""
        expected = self.peek()
        if expected is None:
            raise self.off()
        ours, theirs = _plain(written), _plain(expected)
        if ours != theirs:
            self.differs(f"entry {self.at + 1}: recorded {theirs!r}, replayed {ours!r}")
        self.at += 1

    def differs(self, text: str) -> None:
        """Write down a difference, which ends the replay."""
        self.differences.append(text[: 2 * _SHOWN_CHARS])
        raise self.off()

    def limited(self) -> None:
        """End the turn where it had reached a limit.

        Raises:
            Over: It had.
        """
        body = self.body()
        if isinstance(body, Turned) and body.why in {"max_turns", "budget"}:
            raise Over(cast("End", body.why), body.text)

    def used(self, call_id: str) -> Used | None:
        """The recorded answer to a call of the answer that is worked on."""
        for entry in self.entries[self.at :]:
            if isinstance(entry.body, Used) and entry.body.result.call_id == call_id:
                return entry.body
            if isinstance(entry.body, Answered | Turned):
                return None
        return None


class _Player:
    """Runs a session along a tape. It is model, policy and human of that session at once."""

    def __init__(self, tape: _Tape, log: Log, guide: Guide | None) -> None:
        self.endpoint = Endpoint(base_url="http://replay", ours=True)
        self.mode = "default"
        self._tape = tape
        self._log = log
        self._before: Request | None = None
        self._begun_at = 0
        self._calls: dict[tuple[str, bytes], list[str]] = {}
        self._session = Session(
            log,
            self,
            tools=(),
            policy=self,
            human=self,
            clock=SystemClock(),
            sleep=self._sleep,
            guide=None if guide is None else _RecordedGuide(guide, tape),
        )
        self._session.subscribe(self._heard)

    async def play(self) -> None:
        """Go through the tape; stops at the first difference."""
        while not self._tape.differences and (entry := self._tape.peek()) is not None:
            at, self._tape.is_off = self._tape.at, False
            try:
                await self._step(entry)
            except TimeoutError:
                self._tape.differences.append(f"entry {self._tape.at + 1} is waited for in vain")
            except _Off:
                pass
            except Exception as error:  # noqa: BLE001 - what broke a turn then breaks it now
                told(error)  # what it has not written is found below
            if self._tape.at == at and not self._tape.differences:
                self._tape.differences.append(f"entry {at + 1} does not come about")

    async def _step(self, entry: Entry) -> None:
        body = entry.body
        if isinstance(body, Said) and body.origin == "user":
            self._session.human = None if self._alone() else self
            self._session.unqueue()  # what a crash has left
            said = [body.message]
            while isinstance(more := self._tape.body(len(said)), Said) and more.origin == "user":
                said.append(more.message)
            for words in said[:-1]:  # an earlier turn was not told of them
                self._session.queue(words)
            self._begun_at = self._tape.at + len(said)
            async with asyncio.timeout(_TURN_S_MAX):
                await self._session.turn(said[-1])
            return
        if isinstance(body, Compacted) and body.usage is not None:
            await self._session.compact()
            return
        if isinstance(body, Begun):
            self._before = None
            tools = tuple(_RecordedTool(spec, self) for spec in body.tools)
            self._session.begin(body, tools=tools)
            return
        self._before = None if isinstance(body, Moved | Compacted) else self._before
        if isinstance(body, Moved) and entry.parent_id is not None:
            self._tape.take(self._log.move(entry.parent_id, body.snapshot))
        else:  # a setting, an edit, or what a crash has left without its turn
            self._tape.take(self._log.append(body))

    def _alone(self) -> bool:
        """Whether nobody could be asked in the turn that begins."""
        for entry in self._tape.entries[self._tape.at + 1 :]:
            match entry.body:
                case Used(decision=Deny(why=why)) if why.startswith(NOBODY_WHY):
                    return True
                case Turned():
                    return False
                case _:
                    pass
        return False

    def _heard(self, progress: Progress) -> None:
        if not isinstance(progress, Logged):
            return
        self._tape.take(progress.entry)
        if isinstance(progress.entry.body, Begun | Compacted | Moved):
            self._before = None
        while isinstance(body := self._tape.body(), Set) and self._session.running:
            self._tape.take(self._log.append(body))  # a mode that was changed meanwhile
        interjected = self._session.running and self._tape.at >= self._begun_at
        if isinstance(body, Said) and body.origin == "user" and interjected:
            self._session.queue(body.message)

    async def _sleep(self, seconds: float) -> None:
        del seconds
        if isinstance(self._tape.body(), Turned):
            await self._interrupted()

    async def _interrupted(self) -> None:
        self._session.interrupt()
        await asyncio.sleep(_FOREVER_S)

    async def cost_nano(self, generation_id: str | None) -> int | None:
        """Costs are taken over."""
        del generation_id

    async def stream(
        self, request: Request, *, conversation_id: str | None = None
    ) -> AsyncGenerator[Event]:
        """What the model said then."""
        del conversation_id
        self._check(request)
        body = self._tape.body()
        match body:
            case Answered():
                yield Started(request.model, generation_id=body.generation_id)
                for delta in _deltas(body.written or body.message):
                    yield delta
                yield Finished(body.stop, body.usage)  # pyright: ignore[reportArgumentType] - as it was recorded
            case Compacted(usage=usage) if usage is not None:
                yield Started(request.model)
                yield Delta(0, Text(body.summary))
                yield Finished("end", usage)
            case Broke():
                async for event in self._broken(body, request):
                    yield event
            case _:
                self._tape.limited()
                raise self._tape.off()  # the recorded session died while it asked

    async def _broken(self, body: Broke, request: Request) -> AsyncGenerator[Event]:
        if body.kind == EMPTY_SUMMARY and body.usage is not None:
            yield Finished("end", body.usage)
            return
        if body.partial is not None:
            yield Started(request.model)
            for delta in _deltas(body.partial):
                yield delta
        if body.kind == "interrupted":
            await self._interrupted()
        after = self._tape.body(1)
        gave_up = isinstance(after, Turned) and after.why != "interrupted"
        wait_s = _TOO_LONG_S if gave_up else None
        yield Failed(body.kind, body.text, wait_s, body.usage)

    def _check(self, request: Request) -> None:
        self._tape.requests += 1
        if wrong := invariants(request):
            self._tape.differs(f"request {self._tape.requests}: {'; '.join(wrong)}")
        if prompt_texts.COMPACT in request.messages[-1].text():
            return
        if self._guided():
            return  # its questions share their beginning, not what comes after
        if self._before is not None and not extends(self._before, request):
            self._tape.differs(
                f"request {self._tape.requests} does not begin with the one before it"
            )
        self._before = request

    def _guided(self) -> bool:
        return begun_of(self._log.branch()).guided

    def action(self, name: str, arguments: dict[str, object]) -> Action:
        """What a call would have done: it is told by its id, which stands as its command."""
        wanted = msgspec.json.encode(arguments)
        for call in self._open_calls():
            used = self._tape.used(call.id)
            if call.name != name or used is None or msgspec.json.encode(_read(call)) != wanted:
                continue
            if used.decision == INVALID:
                raise InvalidRequest(_text(used))
            return Action(tool=name, command=call.id, writes=not self._together(call))
        raise self._tape.off()

    def _together(self, call: ToolCall) -> bool:
        """Whether a call ran beside others when it was interrupted, or one of those was.

        That they were the last ones to run, from the first interrupted one on, is all there is to
        tell; whether those before ran side by side too makes no difference.
        """
        calls = self._open_calls()
        told = [_text(used) if (used := self._tape.used(one.id)) else NOT_RUN for one in calls]
        if INTERRUPTED not in told:
            return False
        last = max(n for n, text in enumerate(told) if text != NOT_RUN)
        return told.index(INTERRUPTED) <= calls.index(call) <= last

    def _open_calls(self) -> list[ToolCall]:
        branch = self._log.branch()
        last = max(n for n, one in enumerate(branch) if isinstance(one.body, Answered))
        answered = branch[last].body
        done = {e.body.result.call_id for e in branch[last:] if isinstance(e.body, Used)}
        parts = answered.message.parts if isinstance(answered, Answered) else ()
        return [part for part in parts if isinstance(part, ToolCall) and part.id not in done]

    def decide(self, action: Action) -> Decision:
        """What was decided then."""
        used = self._tape.used(action.command or "")
        if used is None:
            raise self._tape.off()
        if isinstance(used.decision, Allow):
            return used.decision
        if used.decision == STOPPED:
            return Ask("")
        why = used.decision.why
        if why.startswith(NOBODY_WHY):
            return Ask(why.removeprefix(NOBODY_WHY))
        if _text(used).startswith(REFUSED):
            return Ask("")
        return used.decision if isinstance(used.decision, Deny) else Deny(why)

    def keep(self, rule: str) -> None:
        """Nothing is kept: each decision is recorded."""

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """What the human said then."""
        del action, ask
        used = self._tape.used(call.id)
        if used is None:
            raise self._tape.off()
        if _text(used) == NOT_RUN:
            await self._interrupted()
        return Reply(allowed=False, words=_text(used).partition(_SAYS)[2])

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        """Tools answer from the tape, and ask nobody."""
        del question, options
        raise self._tape.off()

    async def run(self, use: Use) -> Outcome:
        """What a tool answered then."""
        used = self._tape.used(use.id)
        if used is None:
            raise self._tape.off()
        if _text(used) == INTERRUPTED:
            await asyncio.sleep(0)  # those beside it may have ended
            await self._interrupted()
        return Outcome(used.result.parts, used.result.is_error, used.detail, used.note)


class _RecordedTool:
    """A tool that answers from the tape."""

    def __init__(self, spec: requests.Tool, player: _Player) -> None:
        self.spec = spec
        self._player = player

    def action(self, arguments: dict[str, object]) -> Action:
        """What a call would have done."""
        return self._player.action(self.spec.name, arguments)

    async def run(self, use: Use) -> Outcome:
        """What it answered then."""
        return await self._player.run(use)


class _RecordedGuide:
    """A guide that is not asked where a limit had ended the turn: it may go on without a model."""

    def __init__(self, guide: Guide, tape: _Tape) -> None:
        self._guide = guide
        self._tape = tape

    def step(self, branch: Sequence[Entry]) -> Step:
        """What to do next."""
        self._tape.limited()
        return self._guide.step(branch)

    def read(self, branch: Sequence[Entry], answer: Message) -> Message:
        """The model's answer with the calls that it amounts to."""
        return self._guide.read(branch, answer)


def _deltas(message: Message) -> list[Delta]:
    return [
        Delta(number, part)
        for number, part in enumerate(message.parts)
        if isinstance(part, Text | Thinking | ToolCall)
    ]


def _read(call: ToolCall) -> object:
    try:
        return msgspec.json.decode(call.arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        return None


def _text(used: Used) -> str:
    return "".join(part.text for part in used.result.parts if isinstance(part, Text))


def _plain(entry: Entry) -> bytes:
    """An entry without what is taken over."""
    body = entry.body
    if isinstance(body, Answered):
        body = msgspec.structs.replace(body, first_token_ms=None, duration_ms=None, cost_nano=None)
    elif isinstance(body, Broke | Compacted):
        body = msgspec.structs.replace(body, cost_nano=None)
    elif isinstance(body, Used):
        body = msgspec.structs.replace(body, before=None, after=None, duration_ms=0)
    return msgspec.json.encode(msgspec.structs.replace(entry, body=body))
