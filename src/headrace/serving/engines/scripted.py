"""ScriptedEngine: plays answers from a file, for tests, demos and fault drills.

`script.py` has the format.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import (
    EngineUnavailable,
    HeadraceError,
    Retryable,
    Unsupported,
)
from headrace.core.events import (
    Counted,
    Delta,
    Event,
    Failed,
    Finished,
    Started,
    Stop,
    TokenLogprob,
)
from headrace.core.messages import Document, Image, Part, Text, Thinking, ToolCall, ToolResult
from headrace.core.models import Model, Usage
from headrace.core.requests import Request
from headrace.core.version import __version__
from headrace.serving.engine import EngineInfo
from headrace.serving.engines.script import FinishSpec, Step, Turn, last_user_text, read

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")


class _Pause(msgspec.Struct, frozen=True):
    ms: float


class ScriptedEngine:
    """Plays the script at `path`; `script.py` has the format.

    Raises:
        ConfigError: The script cannot be read or is wrong; the text names the field.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._script, digest = read(path)
        spec = self._script.model
        abilities = spec.abilities
        if self._script.embedding_dimensions is not None:
            abilities = msgspec.structs.replace(abilities, embeddings=True)
        self._model = Model(
            spec.id, spec.display_name, spec.context_tokens, abilities, clock.now_ns()
        )
        self._info = EngineInfo("scripted", __version__, digest)
        self._plays = [0] * len(self._script.turns)
        self._running = False
        self._stopped = asyncio.Event()
        self._late: dict[int, int] = {}

    @property
    def model(self) -> Model:
        """The model that the script names."""
        return self._model

    @property
    def info(self) -> EngineInfo:
        """The digest is that of the script's file."""
        return self._info

    async def start(self) -> None:
        """Begin to answer; the script plays on from where it stood."""
        self._stopped.clear()
        self._running = True

    async def stop(self) -> None:
        """Stop answering; answers under way fail."""
        self._running = False
        self._stopped.set()

    def ready(self) -> bool:
        """Whether it is started."""
        return self._running

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        """Play the turn that fits `request`."""
        if not self._running:
            raise EngineUnavailable("the scripted engine is not started", retry_after_s=1)
        started = False
        player = _Player(request, await self.count_tokens(request), self._script.token_delay_ms)
        try:
            for action in player.play(self._choose(request)):
                if isinstance(action, HeadraceError):
                    if not started:
                        raise action
                    yield player.failed(action)
                    return
                if not isinstance(action, _Pause):
                    started = True
                    yield action
                elif await self._stops_within(action.ms):
                    if not started:
                        raise EngineUnavailable("the scripted engine was stopped")
                    yield player.failed(EngineUnavailable("the scripted engine was stopped"))
                    return
        except (GeneratorExit, asyncio.CancelledError):
            if started:
                self._late[id(request)] = self._script.late_tokens
            raise

    def late_tokens(self, request: Request) -> int:
        """What the script says that it made for nobody."""
        return self._late.pop(id(request), 0)

    async def count_tokens(self, request: Request) -> int:
        """Tokens of every message and tool, and one more for each message's role."""
        tools = sum(
            _count(tool.name) + _count(tool.description) + _count(_json(tool.parameters))
            for tool in request.tools
        )
        parts = sum(_part_tokens(part) for message in request.messages for part in message.parts)
        return tools + parts + len(request.messages)

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        """Unit vectors from a hash of each text.

        Raises:
            Unsupported: The script sets no `embedding_dimensions`.
        """
        dimensions = self._script.embedding_dimensions
        if dimensions is None:
            raise Unsupported(f"the model {self._model.id} makes no embeddings", param="model")
        vectors = tuple(_vector(text, dimensions) for text in texts)
        return vectors, sum(_count(text) for text in texts)

    def _choose(self, request: Request) -> Turn:
        for number, turn in enumerate(self._script.turns):
            times = turn.times if turn.times is not None else (None if turn.match else 1)
            played = times is not None and self._plays[number] >= times
            if not played and (turn.match is None or turn.match.fits(request)):
                self._plays[number] += 1
                return turn
        return Turn((Step(text=last_user_text(request) or "(nothing to echo)"),))

    async def _stops_within(self, delay_ms: float) -> bool:
        """Let `delay_ms` pass; True at once when the engine is stopped meanwhile."""
        if delay_ms == 0:
            await asyncio.sleep(0)  # others get their turn, and cancellation is seen
            return self._stopped.is_set()
        try:
            async with asyncio.timeout(delay_ms / 1000):
                await self._stopped.wait()
        except TimeoutError:
            return False
        return True


class _Player:
    """Turns steps into events, pauses and errors; no I/O, no time."""

    def __init__(self, request: Request, input_tokens: int, token_delay_ms: float) -> None:
        self._request = request
        self._input = input_tokens
        self._token_delay_ms = token_delay_ms
        self._stops = _StopFilter(request.stop)
        self._started = False
        self._output = self._reasoning = 0
        self._calls = 0
        self._index = -1
        self._open: type[Part] | None = None
        self._logprobs: list[TokenLogprob] = []

    def play(self, turn: Turn) -> Iterator[Event | Counted | _Pause | HeadraceError]:
        """The whole turn; the last item is a Finished, a Failed or an error."""
        for step in turn.steps:
            if step.delay_ms is not None:
                yield _Pause(step.delay_ms)
            elif step.error is not None:
                yield from self._flush()
                yield step.error.build()
                return
            elif step.cut:
                yield from self._flush()
                yield from self._start()
                yield Failed(
                    "engine_failed", "the engine broke off its answer", usage=self._usage()
                )
                return
            elif step.finish is not None:
                yield from self._finish(step.finish)
                return
            else:
                yield from self._say(step)
                if self._stopped() is not None:
                    break
        yield from self._finish(FinishSpec())

    def failed(self, error: HeadraceError) -> Failed:
        """`error` as the end of an answer that had begun."""
        retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
        return Failed(error.kind, error.message, retry_after_s, self._usage())

    def _say(self, step: Step) -> Iterator[Event | Counted | _Pause]:
        delay_ms = self._token_delay_ms if step.token_delay_ms is None else step.token_delay_ms
        for part in self._pieces(step):
            if self._stopped() is not None:
                return
            yield _Pause(delay_ms)
            if isinstance(part, ToolCall) and part.id:
                yield from self._flush()
                self._open = None  # each call is a part of its own
            self._output += 1
            self._reasoning += isinstance(part, Thinking)
            if not isinstance(part, Text):
                yield from self._flush()
                yield from self._emit(part)
                continue
            self._logprobs.append(TokenLogprob(part.text, 0.0, tuple(part.text.encode())))
            if text := self._stops.feed(part.text):
                yield from self._emit(Text(text))
            else:
                yield from self._start()
                yield Counted(self._output, self._reasoning)

    def _pieces(self, step: Step) -> Iterator[Text | Thinking | ToolCall]:
        if step.text is not None:
            yield from (Text(token) for token in _TOKEN.findall(step.text))
        elif step.thinking is not None:
            yield from (Thinking(token) for token in _TOKEN.findall(step.thinking))
        elif step.tool_call is not None:
            call = step.tool_call
            self._calls += 1
            # From the request alone: the same in every replay, another in each later turn.
            identifier = call.id or f"call_{len(self._request.messages)}_{self._calls}"
            written = call.arguments if isinstance(call.arguments, str) else _json(call.arguments)
            yield ToolCall(identifier, call.name, "")
            yield from (ToolCall("", "", token) for token in _TOKEN.findall(written))

    def _emit(self, part: Text | Thinking | ToolCall) -> Iterator[Event]:
        yield from self._start()
        if self._open is not type(part):
            self._open = type(part)
            self._index += 1
        logprobs: tuple[TokenLogprob, ...] = ()
        if isinstance(part, Text) and self._request.logprobs is not None:
            logprobs = tuple(self._logprobs)
        self._logprobs.clear()
        yield Delta(self._index, part, self._output, logprobs, self._reasoning)

    def _start(self) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield Started(self._request.model, Usage(input=self._input))

    def _flush(self) -> Iterator[Event]:
        if text := self._stops.flush():
            yield from self._emit(Text(text))

    def _finish(self, spec: FinishSpec) -> Iterator[Event]:
        yield from self._flush()
        yield from self._start()
        stop = spec.stop or self._stopped() or ("tool_calls" if self._calls else "end")
        given = {name: n for name, n in msgspec.structs.asdict(spec.usage).items() if n is not None}
        usage = msgspec.structs.replace(self._usage(), **given)
        yield Finished(stop, usage, self._stops.matched if stop == "stop_sequence" else None)

    def _stopped(self) -> Stop | None:
        """Why the answer must end here, if it must."""
        if self._stops.matched is not None:
            return "stop_sequence"
        if self._request.max_tokens is not None and self._output >= self._request.max_tokens:
            return "length"
        return None

    def _usage(self) -> Usage:
        return Usage(input=self._input, output=self._output, reasoning=self._reasoning)


class _StopFilter:
    """Lets text through up to a stop sequence; holds back what may be the start of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """The text that may go out now."""
        self._held += text
        found = [(self._held.find(stop), stop) for stop in self._stops if stop in self._held]
        if found:
            at, self.matched = min(found)
            return self._release(at, drop=True)
        for start in range(len(self._held)):
            if any(stop.startswith(self._held[start:]) for stop in self._stops):
                return self._release(start)
        return self._release(len(self._held))

    def flush(self) -> str:
        """What was held back: no stop sequence came of it."""
        return self._release(len(self._held))

    def _release(self, upto: int, *, drop: bool = False) -> str:
        text, self._held = self._held[:upto], "" if drop else self._held[upto:]
        return text


def _count(text: str) -> int:
    return len(_TOKEN.findall(text))


def _part_tokens(part: Part) -> int:
    match part:
        case Text() | Thinking():
            return _count(part.text)
        case ToolCall():
            return _count(part.name) + _count(part.arguments)
        case ToolResult():
            return sum(_part_tokens(inner) for inner in part.parts)
        case Document():
            return _count(part.text or "") + 1
        case Image():
            return 1


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _vector(text: str, dimensions: int) -> tuple[float, ...]:
    digest = hashlib.shake_256(text.encode()).digest(dimensions)
    raw = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(value * value for value in raw))
    return tuple(value / length for value in raw)
