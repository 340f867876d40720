"""Plain: the screen of a terminal that cannot place a cursor. Lines in, lines out."""

import asyncio
import os
import signal

from headrace.agent.progress import Logged, Progress, Reply
from headrace.agent.terminal import neutral
from headrace.agent.tools import Output
from headrace.code.screen import asking, blocks, outside, slash
from headrace.code.screen.actions import Build, Desk
from headrace.code.screen.layout import View
from headrace.code.screen.live import Live
from headrace.code.screen.menu import Answer, Menu
from headrace.code.screen.text import Line, plain
from headrace.core.clock import Clock, SystemClock
from headrace.core.decisions import Ask
from headrace.core.errors import HeadraceError
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action

_COLUMNS = 80
_NANO = 1_000_000_000
_READ_BYTES = 65_536
_WAITED_EVERY_S = 10.0


class Plain:
    """The same session and commands without live rows. It is the session's `Human`."""

    def __init__(self, source: int = 0, sink: int = 1, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._source = source
        self._sink = sink
        self._live = Live(View(), lambda: _COLUMNS, lambda: self.clock.monotonic_ns() / _NANO)
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._held = b""
        self._ended = False
        self._desk: Desk | None = None
        self._work: asyncio.Task[None] | None = None
        self._status: int | None = None
        self._spoken: list[str] = []
        self._waited_s = 0.0

    async def run(self, build: Build, first_words: str | None = None) -> int:
        """Talk until the person leaves; returns the exit status.

        Raises:
            HeadraceError: The desk could not be put together.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._source, self._read)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        try:
            await self.swap(await build(self, self.tell), replay=True)
            if first_words:
                self._spoken.append(first_words)
            while self._status is None:
                words = self._spoken.pop(0) if self._spoken else await self._ask("> ")
                if words is None:
                    break
                if words.strip():
                    self._work = asyncio.create_task(self._do(words.strip()))
                    await asyncio.wait([self._work])
                    self._work = None
            return self._status or 0
        finally:
            loop.remove_reader(self._source)
            loop.remove_signal_handler(signal.SIGINT)
            if self._desk is not None:
                await self._desk.close()

    async def _do(self, words: str) -> None:
        try:
            if words.startswith("/"):
                await slash.run(self, words)
            elif words.startswith("!"):
                await self._shell(words[1:].strip())
            else:
                self._live.begin()
                await self.desk.session.turn(words)
                self._put(self._live.end())
        except HeadraceError as error:
            self.tell(error.message, "error")

    async def _shell(self, command: str) -> None:
        ran = await self.desk.shell(command, lambda _: None)
        self._put(blocks.ran(Output(ran.text, ran.status, ran.path), _COLUMNS).lines)

    # Input and output

    def _read(self) -> None:
        try:
            data = os.read(self._source, _READ_BYTES)
        except OSError:  # the terminal has gone
            data = b""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            self._lines.put_nowait(line.decode("utf-8", "replace").rstrip("\r"))
        if not data:
            asyncio.get_running_loop().remove_reader(self._source)
            self._ended = True
            self._lines.put_nowait(None)

    async def _ask(self, prompt: str) -> str | None:
        """The next line; None once there are no more, however often it is asked for."""
        self._write(prompt)
        return None if self._ended and self._lines.empty() else await self._lines.get()

    def _keep_early(self) -> None:
        """What was typed before a question was seen is no answer to it; it is said later."""
        while not self._lines.empty():
            line = self._lines.get_nowait()
            if line is not None and line.strip():
                self._spoken.append(line)
                self.tell(f"kept for later: {line}")

    def _interrupted(self) -> None:
        if self._work is None:
            self.leave(130)
            self._lines.put_nowait(None)
        elif self._desk is not None:
            self._desk.session.interrupt()

    def _put(self, lines: list[Line]) -> None:
        self._write("".join(plain(line) + "\n" for line in lines))

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._sink, data) :]

    def _hear(self, progress: Progress) -> None:
        self._put(self._live.hear(progress))

    # The host of commands

    @property
    def desk(self) -> Desk:
        """The session and what is around it."""
        if self._desk is None:
            raise HeadraceError("the session is still loading")
        return self._desk

    @property
    def working(self) -> bool:
        """Lines are read one after the other: no command finds a turn running."""
        return False

    def tell(self, text: str, level: str = "info") -> None:
        """One line that people should know."""
        self._put(blocks.notice(text, level, _COLUMNS))

    def waits(self, text: str, seconds: float) -> None:
        """What is waited for; told now and then."""
        if text and seconds >= self._waited_s + _WAITED_EVERY_S:
            self._waited_s = seconds
            self.tell(f"{text} ({seconds:.0f} s)")

    def echo(self, words: str) -> None:
        """The command stands where it was typed."""

    def show(self, text: str) -> None:
        """Plain text of several lines."""
        self._write(neutral(text).rstrip("\n") + "\n")

    def speak(self, words: str) -> None:
        """Say something to the model, once the command is done."""
        self._spoken.append(words)

    def fill(self, words: str) -> None:
        """Show words that can be said again."""
        self._write(f"you had said: {neutral(words)}\n")

    async def swap(self, desk: Desk, *, replay: bool) -> None:
        """Go on at another desk, showing what was said there."""
        old, self._desk = self._desk, desk
        if old is not None:
            await old.close()
        self._live.workspace = desk.workspace
        if replay:
            for entry in desk.session.log.branch():
                self._put(self._live.hear(Logged(entry)))
        desk.session.subscribe(self._hear)

    async def edited(self, text: str) -> str | None:
        """The text as the person's editor leaves it; None: unchanged."""
        return await outside.edited_by_editor(text)

    def refresh(self) -> None:
        """There is no status line."""

    def leave(self, status: int = 0) -> None:
        """End."""
        self._status = status

    async def pick(self, menu: Menu) -> Answer:
        """Have the person choose by number; an empty line leaves it."""
        self._put([*menu.head, menu.question])
        for number, choice in enumerate(menu.choices, 1):
            self._write(f"  {number}. {choice.label}  {choice.hint}".rstrip() + "\n")
        line = (await self._ask("number: ") or "").strip()
        number, _, words = line.partition(" ")
        at = int(number) - 1 if number.isdecimal() else -1
        if not 0 <= at < len(menu.choices) or (words and not menu.choices[at].free):
            return Answer(None)
        if menu.choices[at].free and not words:
            words = await self._ask("in your words: ") or ""
        return Answer(at, words if menu.choices[at].free else "")

    # The session's human

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """Ask whether a call may run; only its number, typed now and alone, is a yes."""
        self._keep_early()
        head = [asking.title(action), *asking.body(call, action, _COLUMNS)]
        reply = asking.reply(ask, await self.pick(asking.menu(ask, head, _COLUMNS)))
        return reply or Reply(allowed=False)

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        """Ask the model's question; a number or other words."""
        self._keep_early()
        self._write(f"? {neutral(question)}\n")
        for number, option in enumerate(options, 1):
            self._write(f"  {number}. {neutral(option)}\n")
        line = (await self._ask("answer: ") or "").strip()
        return options[int(line) - 1] if line in map(str, range(1, len(options) + 1)) else line
