"""`headrace code --profile-model`: measures a model with real calls, and keeps its profile.

A dozen short calls: how fast it reads and writes, whether it calls tools by the API, several at
once, whether it looks before it changes, and which form of edit it gets right.
"""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from headrace.agent.client import Client
from headrace.agent.terminal import neutral
from headrace.code.connect import connect, data_folder
from headrace.code.flags import Flags
from headrace.code.profile import SMALL_PARAMETERS_MAX, EditFormat, Profile, Profiles, shipped
from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import HeadraceError, of_kind
from headrace.core.events import Delta, Event, Failed, Finished, fold
from headrace.core.messages import Message, Text, ToolCall, user
from headrace.core.models import Model, Usage
from headrace.core.requests import Request, Sampling, Tool

_TRIES = 3
_GOOD = 2
_SHORT_WORDS, _LONG_WORDS = 40, 900
_WRITTEN_TOKENS = 48
_ANSWER_TOKENS = 400
_WINDOW_WORDS = (1_500, 3_000, 6_000, 12_000, 24_000)
_NANO = 1_000_000_000
_FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)

_PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
_READ = Tool("Read", _PATH, "Read a file.")
_EDIT = Tool(
    "Edit",
    {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("path", "old_string", "new_string")},
        "required": ["path", "old_string", "new_string"],
    },
    "Replace old_string, which must be in the file exactly once, by new_string.",
)
_BASH = Tool(
    "Bash",
    {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
    "Run a shell command.",
)
_FILE = """\
LIMIT = 10
RETRIES = 3


def allowed(count):
    if count > LIMIT:
        return False
    return count >= 0


def tries():
    return RETRIES + 1
"""
_TASKS = (
    ("Set LIMIT to 20.", "LIMIT = 10", "LIMIT = 20"),
    ("Make tries() return RETRIES alone.", "    return RETRIES + 1", "    return RETRIES"),
    ("Let allowed() also refuse a count of 0.", "    return count >= 0", "    return count > 0"),
)


class Answer(msgspec.Struct):
    """One answer and its times in seconds."""

    message: Message
    usage: Usage
    first_s: float
    total_s: float

    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of it."""
        return tuple(part for part in self.message.parts if isinstance(part, ToolCall))


def main(flags: Flags) -> int:
    """Run the command; returns the exit code."""
    return asyncio.run(_main(flags))


async def _main(flags: Flags) -> int:
    data, clock = data_folder(flags), SystemClock()
    connection = await connect(flags, os.environ, data)
    _say(f"measuring {connection.model.id} at {connection.origin}; this makes some 15 short calls")
    profile = await measure(connection.client, connection.model, clock, _say)
    base_url = connection.client.endpoint.base_url
    path = Profiles(data / "code" / "profiles").save(base_url, connection.model.id, profile)
    _say(f"kept in {path}; every session uses it from now on")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{neutral(line)}\n")
    sys.stdout.flush()


async def measure(
    client: Client, model: Model, clock: Clock, tell: Callable[[str], None]
) -> Profile:
    """The profile of a model, by real calls.

    Args:
        client: The server.
        model: Which model; its window is looked for where the server does not tell it.
        clock: Time.
        tell: Takes a line for each thing measured.

    Raises:
        HeadraceError: The server refuses a plain call.
    """
    test = _SelfTest(client, model.id, clock)
    known = shipped(model.id)
    prefill, decode = await test.speeds()
    tell(f"reads {_rate(prefill)}, writes {_rate(decode)}")
    window = model.context_tokens or await test.window()
    tell(f"window: {window or 'not found out'} tokens")
    called = await test.calls()
    tell(f"calls tools by the API: {called} of {_TRIES}")
    parallel = called >= _GOOD and await test.parallel()
    tell(f"several calls at once: {'yes' if parallel else 'no'}")
    explored = await test.explores() if called >= _GOOD else 0
    tell(f"looks before it changes: {explored} of {_TRIES}")
    whole, edit = await test.whole(), await test.edits() if called >= _GOOD else 0
    tell(f"whole files right: {whole} of {len(_TASKS)}; edits right: {edit} of {len(_TASKS)}")
    continued = await test.continues()
    tell(f"goes on with an answer that is begun for it: {'yes' if continued else 'no'}")
    size = known.parameters_b
    small = called < _GOOD or (size is not None and size < SMALL_PARAMETERS_MAX)
    return msgspec.structs.replace(
        shipped("1b") if small else Profile(),
        context_tokens=window or None,
        prefill_tokens_per_s=prefill,
        decode_tokens_per_s=decode,
        calls="native" if called >= _GOOD else "text",
        parallel_calls=parallel,
        edit_format="patch" if known.edit_format == "patch" else _format(whole, edit, small=small),
        guided=explored < _GOOD,
        continues_answers=continued,
        parameters_b=size,
        measured_ns=clock.now_ns(),
    )


def _format(whole: int, edit: int, *, small: bool) -> EditFormat:
    if small:
        return "edit" if edit > whole else "whole"
    # Whole files cost an answer as long as the file: only where edits go wrong more often.
    return "whole" if whole > edit else "edit"


def _rate(tokens_per_s: float | None) -> str:
    return "too fast to measure" if tokens_per_s is None else f"{tokens_per_s:.0f} tokens/s"


class _SelfTest:
    def __init__(self, client: Client, model: str, clock: Clock) -> None:
        self._client = client
        self._model = model
        self._clock = clock
        self._salt = 0

    async def ask(
        self,
        words: str,
        *tools: Tool,
        begun: str = "",
        max_tokens: int = _ANSWER_TOKENS,
        temperature: float = 0.0,
    ) -> Answer:
        """One call; with `begun` the beginning of its answer.

        Raises:
            HeadraceError: It failed.
        """
        beginning = (Message("assistant", (Text(begun),)),) if begun else ()
        request = Request(
            model=self._model,
            messages=(user(words), *beginning),
            tools=tools,
            max_tokens=max_tokens,
            sampling=Sampling(temperature=temperature),
        )
        events: list[Event] = []
        begun_ns, first_ns = self._clock.monotonic_ns(), None
        async with aclosing(self._client.stream(request)) as stream:
            async for event in stream:
                if isinstance(event, Failed):
                    raise of_kind(event.kind, event.message)
                if isinstance(event, Delta) and first_ns is None:
                    first_ns = self._clock.monotonic_ns()
                events.append(event)
        ended_ns = self._clock.monotonic_ns()
        last = events[-1] if events else None
        return Answer(
            fold(events),
            last.usage if isinstance(last, Finished) else Usage(),
            ((first_ns or ended_ns) - begun_ns) / _NANO,
            (ended_ns - begun_ns) / _NANO,
        )

    async def speeds(self) -> tuple[float | None, float | None]:
        """Tokens read and written in a second; None where it is too fast to measure."""
        await self.ask("Say ok.", max_tokens=4)  # the model may have to be loaded first
        short = await self.ask(self._text(_SHORT_WORDS), max_tokens=4)
        long = await self.ask(
            f"{self._text(_LONG_WORDS)}\nCount from 1 to 50.", max_tokens=_WRITTEN_TOKENS
        )
        read = (long.usage.input - long.usage.cached) - (short.usage.input - short.usage.cached)
        reading_s, writing_s = long.first_s - short.first_s, long.total_s - long.first_s
        prefill = read / reading_s if read > 0 and reading_s > 0.01 else None  # noqa: PLR2004
        written = long.usage.output - 1
        decode = written / writing_s if written > 0 and writing_s > 0.01 else None  # noqa: PLR2004
        return prefill, decode

    async def continues(self) -> bool:
        """Whether it goes on with the beginning of an answer; some servers begin anew or refuse."""
        begun = "```python\ndef add"
        try:
            answer = await self.ask(
                "Write add(a, b) in Python. Answer with the code.", begun=begun, max_tokens=24
            )
        except HeadraceError:
            return False
        return answer.message.text().startswith("(")

    async def window(self) -> int:
        """Tokens up to which the beginning of a prompt is still known; 0: none was."""
        held = 0
        for words in _WINDOW_WORDS:
            text = f"The code word is HERON.\n{self._text(words)}\nWhat is the code word?"
            try:
                answer = await self.ask(text, max_tokens=24)
            except HeadraceError:
                break
            if "HERON" not in answer.message.text().upper():
                break
            held = answer.usage.input
        return held

    async def calls(self) -> int:
        """How often it calls a tool when it is told to."""
        asked = [self.ask(f"Read the file part{n}.py with the tool.", _READ) for n in range(_TRIES)]
        return sum([_names_path(await each, "part") for each in asked])

    async def parallel(self) -> bool:
        """Whether it makes two calls in one answer."""
        answer = await self.ask("Read a.py and b.py, both at once in one answer.", _READ)
        return len(answer.calls()) > 1

    async def explores(self) -> int:
        """How often its first move is to look."""
        good = 0
        for number in range(_TRIES):
            answer = await self.ask(
                f"The test of module{number} fails. Fix it.", _READ, _BASH, _EDIT, temperature=0.7
            )
            calls = answer.calls()
            good += bool(calls) and calls[0].name in {"Read", "Bash"}
        return good

    async def whole(self) -> int:
        """How many changes it gets right when it writes the file anew."""
        good = 0
        for task, old, new in _TASKS:
            answer = await self.ask(
                f"{task} Answer with the whole file in one fenced block.\n```python\n{_FILE}```"
            )
            blocks = _FENCED.findall(answer.message.text())
            good += bool(blocks) and blocks[-1].strip() == _FILE.replace(old, new).strip()
        return good

    async def edits(self) -> int:
        """How many changes it gets right by replacing a passage."""
        good = 0
        for task, old, new in _TASKS:
            answer = await self.ask(f"{task} Use Edit on a.py:\n```python\n{_FILE}```", _EDIT)
            good += any(_edited(call) == _FILE.replace(old, new) for call in answer.calls())
        return good

    def _text(self, words: int) -> str:
        """Words that no cache knows, of about one token each."""
        self._salt += 1
        chosen = ("river", "stone", "mill", "wheel", "water", "field", "road", "bridge")
        state = self._salt * 7919
        text: list[str] = []
        for _ in range(words):
            state = (state * 1103515245 + 12345) % (1 << 31)
            text.append(chosen[(state >> 16) % len(chosen)])
        return f"Note {self._clock.now_ns() % 100_000}: " + " ".join(text)


def _names_path(answer: Answer, wanted: str) -> bool:
    return any(
        call.name == _READ.name and wanted in _arguments(call).get("path", "")
        for call in answer.calls()
    )


def _edited(call: ToolCall) -> str | None:
    given = _arguments(call)
    old = given.get("old_string", "")
    return _FILE.replace(old, given.get("new_string", "")) if _FILE.count(old) == 1 else None


def _arguments(call: ToolCall) -> dict[str, str]:
    try:
        return msgspec.json.decode(call.arguments, type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
