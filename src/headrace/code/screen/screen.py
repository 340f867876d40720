"""Screen: the face of a session in a terminal."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from headrace.agent.progress import Logged, Progress, Reply
from headrace.agent.terminal import neutral
from headrace.agent.tools import Output
from headrace.code.screen import blocks, outside, slash
from headrace.code.screen.actions import MODES, Build, Desk
from headrace.code.screen.front import Front
from headrace.code.screen.keyboard import Keyboard, hint_of, lines_of
from headrace.code.screen.keys import ESCAPE_WAIT_S, Key
from headrace.code.screen.live import Live, is_cut_off
from headrace.code.screen.menu import Answer, Menu
from headrace.code.screen.questions import Questions
from headrace.code.screen.text import BOLD, CYAN, DIM, Line, exact_line, expand, wrap
from headrace.core.clock import Clock, SystemClock
from headrace.core.decisions import Ask
from headrace.core.errors import HeadraceError
from headrace.core.messages import ToolCall
from headrace.core.money import NanoDollars, format_usd
from headrace.safety.actions import Action

_FRAME_S = 1 / 30
_TICK_S = 0.25
_CLOSE_S_MAX = 5.0
_NANO = 1_000_000_000
_PERCENT = 100
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """An inline screen: a few live rows at the bottom, what is finished scrolls up.

    It is the session's `Human`. `asyncio.run(Screen(front).run(build))` talks until the person
    leaves. `front` may have been opened before, to paint before the rest was loaded.
    """

    def __init__(self, front: Front | None = None, clock: Clock | None = None) -> None:
        self.front = front or Front()
        self.clock = clock or SystemClock()
        self._view = self.front.view
        self._live = Live(self._view, lambda: self.front.terminal.size()[0], self.now_s)
        self._keyboard = Keyboard(self)
        self._desk: Desk | None = None
        self._questions = Questions(self.front, self._put)
        self._shelling = False
        self._above: list[Line] = []
        self._drawing: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._escape: asyncio.TimerHandle | None = None
        self._drawn_s = 0.0
        self._files: tuple[str, ...] | None = None
        self._waiting: list[str] = []
        self._turn: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], object] = int

    # Life

    async def run(self, build: Build, first_words: str | None = None) -> int:
        """Talk until the person leaves.

        Args:
            build: Puts the desk together, while the person may already type.
            first_words: Said as soon as it stands.

        Returns:
            The exit status.

        Raises:
            HeadraceError: The desk could not be put together; the terminal is as it was.
        """
        self._left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if first_words:
            self._waiting.append(first_words)
        if not self.front.terminal.is_open:
            self.front.open(str(Path.cwd()))
        self._listen()
        asyncio.get_running_loop().set_exception_handler(self._fault)
        try:
            self._spawn(self._build(build))
            kept, self.front.kept = self.front.kept, []
            for key in kept:
                self._press(key)
            return await self._left
        finally:
            await self._end()

    def leave(self, status: int = 0) -> None:
        """End, with this exit status."""
        if not self._left.done():
            self._left.set_result(status)

    async def _build(self, build: Build) -> None:
        self._view.hint = "loading; type ahead"
        self._draw_soon()
        await self.swap(await build(self, self.tell), replay=True)
        self._next()

    async def swap(self, desk: Desk, *, replay: bool) -> None:
        """Go on at another desk, showing what was said there."""
        old, self._desk = self._desk, desk
        self._unsubscribe()
        if old is not None and old is not desk:
            await old.close()
        self._live.workspace = desk.workspace
        self._files = None
        self.front.history.load(desk.history)
        if replay:
            for entry in desk.session.log.branch():
                self._put(self._live.hear(Logged(entry)))
            self._put(self._live.end())
            if is_cut_off(desk.session.log.branch()):
                self.tell("the last turn was cut off; what it did up to then is kept", "warning")
        self._unsubscribe = desk.session.subscribe(self._hear)
        self._view.hint = hint_of(busy=False)
        self.refresh()

    async def _end(self) -> None:
        """Stop what runs, put the terminal back, give back what the session holds."""
        self._unsubscribe()
        if self._desk is not None:
            self._desk.session.interrupt()
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSE_S_MAX)
        self._unlisten()
        for timer in (self._drawing, self._ticking, self._escape):
            if timer is not None:
                timer.cancel()
        if self._above:
            self.front.paint(self._above)
        self.front.close()
        if self._desk is not None:
            await self._desk.close()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self.front.terminal.source, self._read)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        for number in _ENDINGS:
            loop.add_signal_handler(number, self.leave, 128 + number)

    def _unlisten(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.front.terminal.source)
        for number in (signal.SIGWINCH, signal.SIGCONT, *_ENDINGS):
            loop.remove_signal_handler(number)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._draw_soon()
        elif isinstance(error, HeadraceError) and self._desk is not None:
            self.tell(f"{error.message}{f'; {error.hint}' if error.hint else ''}", "error")
        elif not self._left.done():
            # A fault of ours, or no desk at all: told once the terminal is as it was.
            self._left.set_exception(error)

    def _fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault in a callback: a line above, not a trace across the rows."""
        del loop
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        self.tell(f"a fault of this screen, please report it: {what}", "error")

    # Drawing

    @property
    def _columns(self) -> int:
        return self.front.terminal.size()[0]

    def _put(self, lines: list[Line]) -> None:
        self._above += lines
        self._draw_soon()

    def _draw_soon(self) -> None:
        """Draw with the next frame; nothing is planned while nothing changes."""
        if self._drawing is None:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._drawn_s + _FRAME_S - loop.time())
            self._drawing = loop.call_later(wait, self._draw)

    def _draw(self) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        if not self.front.terminal.is_open:
            return
        self._drawn_s = asyncio.get_running_loop().time()
        above, self._above = self._above, []
        self.front.paint(above)
        self._questions.drawn()

    def _tick(self) -> None:
        self._ticking = None
        if self._live.working:
            self._live.tick()
            self._draw()
            self._ticking = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _resized(self) -> None:
        if self.front.terminal.is_open:
            self._live.resized()
            self.front.painter.resized()
            self._draw()

    def _continued(self) -> None:
        """Continued after a stop that was not ours: the shell has written below."""
        if self.front.terminal.is_open:
            self.front.terminal.enter()
            self.front.painter.forget()
            self._draw()

    def tell(self, text: str, level: str = "info") -> None:
        """One line that people should know."""
        self._put(blocks.notice(text, level, self._columns))

    def waits(self, text: str, seconds: float) -> None:
        """What is waited for before there is a session, and for how long by now."""
        told: Line = [(CYAN, "✢ "), (BOLD, neutral(text)), (DIM, f" ({seconds:.0f}s)")]
        self._view.spinner = told if text else []
        self._draw_soon()

    def show(self, text: str) -> None:
        """Plain text of several lines."""
        room = self._columns - 1
        for line in lines_of(expand(neutral(text))):
            self._put(wrap(line, room, indent=[("", "      ")]))

    def echo(self, words: str) -> None:
        """The command that answers now, above its answer."""
        self._put([[], [(DIM, f"❯ {neutral(words)}")]])  # noqa: RUF001 - the sign of a prompt

    def refresh(self) -> None:
        """Ask for the status line anew."""
        if self._desk is None:
            return
        status = self._desk.status()
        cost, left = status.cost_nano, status.context_left
        self._view.model, self._view.mode = exact_line(status.model), status.mode
        self._view.facts = (
            *([f"{left * _PERCENT:.0f}% context left"] if left is not None else []),
            *([format_usd(NanoDollars(cost))] if cost is not None else []),
        )
        self._draw_soon()

    # Keys

    def _read(self) -> None:
        data = self.front.terminal.read()
        if not data:
            # The terminal has gone.
            self.leave(1)
            return
        if self._escape is not None:
            self._escape.cancel()
            self._escape = None
        for key in self.front.decoder.feed(data):
            self._press(key)
        if self.front.decoder.waits:
            loop = asyncio.get_running_loop()
            self._escape = loop.call_later(ESCAPE_WAIT_S, self._escaped)
        self._draw()

    def _escaped(self) -> None:
        self._escape = None
        for key in self.front.decoder.flush():
            self._press(key)
        self._draw()

    def _press(self, key: Key) -> None:
        if not self._questions.press(key):
            self._keyboard.press(key)

    def now_s(self) -> float:
        """A monotonic time in seconds."""
        return self.clock.monotonic_ns() / _NANO

    def files(self) -> Sequence[str]:
        """What `@` offers; looked for once for each turn."""
        if self._files is None and self._desk is not None:
            self._files = self._desk.files()
        return self._files or ()

    def hold_message(self, seconds: float) -> None:
        """Take the message in the status line away after a while."""
        asyncio.get_running_loop().call_later(seconds, self._drop_message)

    def _drop_message(self) -> None:
        if self._view.message and not self._left.done():
            self._view.message = []
            self._draw_soon()

    def unfold(self) -> None:
        """Show what was folded last; again: what was folded before it."""
        if self._live.folded:
            self._put([[], *self._live.folded.pop(), []])
        else:
            self.tell("nothing is folded")

    def cycle_mode(self) -> None:
        """Go on in the next permission mode."""
        if self._desk is None:
            return
        modes = (*MODES, "bypassPermissions") if self._desk.may_bypass else MODES
        at = modes.index(self._view.mode) if self._view.mode in modes else -1
        self._desk.session.set_mode(modes[(at + 1) % len(modes)])
        self.refresh()

    def stop(self) -> None:
        """To the shell; back here when continued."""
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGCONT)
        self.front.painter.erase()
        self.front.terminal.stop()
        self.front.painter.forget()
        loop.add_signal_handler(signal.SIGCONT, self._continued)

    # Turns

    @property
    def desk(self) -> Desk:
        """The session and what is around it; commands run only when it stands."""
        if self._desk is None:
            raise HeadraceError("the session is still loading")
        return self._desk

    @property
    def working(self) -> bool:
        """Whether the model's turn or a command runs."""
        return self._turn is not None and not self._turn.done()

    def submit(self, words: str) -> None:
        """Do what the person typed: a command, a shell command, or words for the model."""
        if self._desk is None:
            self._waiting.append(words)
            self._view.queued.append(words)
        elif words.startswith("/") and "\n" not in words.strip():
            self._spawn(slash.run(self, words))
        elif words.startswith("!") and words[1:].strip():
            self._begin(self._shell(words[1:].strip()))
        else:
            self.speak(words)

    def speak(self, words: str) -> None:
        """Say something to the model, or queue it while it works."""
        if self.working:
            self._view.queued.append(words)
            self.desk.session.queue(words)
            self._draw_soon()
        else:
            self._begin(self._say(words))

    def fill(self, words: str) -> None:
        """Put words into the input box, before those that stand there."""
        held = self.front.editor.text
        self.front.editor.replace(f"{words}\n{held}" if held else words)
        self._draw_soon()

    def interrupt(self) -> None:
        """End what runs at once; what was queued goes back into the input box."""
        session = self.desk.session
        queued = session.unqueue()
        self._view.queued.clear()
        session.interrupt()
        if self._turn is not None and self._shelling:
            self._turn.cancel()
        if queued:
            self.fill("\n".join(queued))

    def rewind(self) -> None:
        """Ask where to go back to."""
        if self._desk is not None:
            self._spawn(slash.run(self, "/rewind"))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        if self.working:
            work.close()
            self.tell("that has to wait until the turn ends; esc interrupts it", "warning")
            return
        self._files = None
        self._view.hint = hint_of(busy=True)
        self._live.begin()
        self._turn = self._spawn(work)
        self._tick()

    def _next(self) -> None:
        """Say what was typed before there was anybody to hear it."""
        if self._waiting and not self.working:
            words = self._waiting.pop(0)
            if words in self._view.queued:
                self._view.queued.remove(words)
            self.submit(words)

    def _over(self) -> None:
        self._put(self._live.end())
        self._view.hint = hint_of(busy=False)
        self._turn = None
        self.refresh()
        self._next()

    async def _say(self, words: str) -> None:
        try:
            await self.desk.session.turn(words)
        finally:
            self._over()

    async def _shell(self, command: str) -> None:
        self._shelling = True
        self._put([[], [(BOLD, "! "), ("", neutral(command))]])
        try:
            ran = await self.desk.shell(command, self._live.printed)
            shown = blocks.ran(Output(ran.text, ran.status, ran.path), self._columns)
            self._put(shown.lines)
            if shown.folded:
                self._live.fold(shown.folded)
        except asyncio.CancelledError:
            self.tell("interrupted", "warning")
            raise
        finally:
            self._shelling = False
            self._over()

    def _hear(self, progress: Progress) -> None:
        lines = self._live.hear(progress)
        if self._shelling:
            # What is told to the model of the command is shown already.
            lines = []
        if isinstance(progress, Logged):
            self.refresh()
        if lines:
            self._put(lines)
        else:
            self._draw_soon()

    # Questions

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """Ask whether a call may run; leaving the question ends the turn."""
        reply = await self._questions.may(call, action, ask)
        if reply is None:
            self.interrupt()
            return Reply(allowed=False)
        return reply

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        """Ask the model's question; leaving it ends the turn."""
        answer = await self._questions.choose(question, options)
        if answer is None and self._desk is not None:
            self.interrupt()
        return answer or ""

    async def pick(self, menu: Menu) -> Answer:
        """Have the person choose."""
        return await self._questions.pick(menu)

    def search(self) -> None:
        """Look in what was typed before."""
        self._spawn(self._questions.search())

    async def edited(self, text: str) -> str | None:
        """The text as the person's editor leaves it; None: unchanged."""
        self._unlisten()
        try:
            return await outside.edited(self.front, text)
        finally:
            self._listen()
            self._draw()
