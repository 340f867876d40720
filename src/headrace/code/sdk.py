"""The Python SDK: `from headrace.code import Session`.

    async with Session("project", permission_mode="acceptEdits") as session:
        async for event in session.ask("Fix the failing test."):
            print(event)
        done = await session.run("Now write a changelog line.")
        print(done.text, done.cost_nano)

Events are those of `headrace.agent.progress`, the ones that the screen draws.
"""

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from headrace.agent.progress import End, Progress, Reply
from headrace.agent.session import Session as Kernel
from headrace.code.build import Ground, lay, open_session
from headrace.code.flags import Flags
from headrace.code.tally import Denial, Tally
from headrace.core.clock import SystemClock
from headrace.core.decisions import Ask
from headrace.core.errors import Conflict
from headrace.core.messages import Message, ToolCall
from headrace.core.models import Usage
from headrace.core.money import NanoDollars, parse_usd
from headrace.safety.actions import Action

Asked = Callable[[ToolCall, Action, Ask], "bool | Reply | Awaitable[bool | Reply]"]
"""Says whether a call may run: True or False, or a `Reply` with words for the model."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one turn.

    Attributes:
        text: The last answer.
        end: Why the turn ended; `done` is the only good one.
        usage: Tokens of all its model calls.
        cost_nano: What they cost in nano-dollars, as far as it is known.
        denials: Calls that were refused, each with the rule that would allow it.
        errors: What went wrong, in words.
    """

    text: str
    end: End
    usage: Usage
    cost_nano: int
    denials: tuple[Denial, ...] = ()
    errors: tuple[str, ...] = ()


class _Human:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        answer = self._asked(call, action, ask)
        said = await answer if inspect.isawaitable(answer) else answer
        return said if isinstance(said, Reply) else Reply(allowed=said)

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        del question, options  # nobody sits here who could choose
        return ""


class Session:
    """A session of the coding assistant in a folder; used as `async with`.

    Args:
        cwd: The folder to work in.
        model: Which model; None takes the first that is served.
        permission_mode: default, acceptEdits, plan, dontAsk or bypassPermissions.
        allow: Permission rules that need no asking, such as `Bash(git diff:*)`.
        deny: Rules of what may never happen.
        may: Asked about what the rules leave open; without it, that is refused.
        resume: The id of a kept session to go on with, or `"latest"`.
        add_dirs: Further folders that may be worked in.
        append_system_prompt: Stands behind the system prompt.
        max_turns: Model calls for one turn.
        max_budget_usd: What the session may spend, as a decimal string.
        endpoint: A server of models; None takes the environment's or our own.
        dialect: What it speaks: anthropic, openai_chat or openai_responses.
        trust: The hash of the folder's state that its own settings count in.
        data: Where everything is kept.
        notice: Takes lines for people; by default they go to stderr.
    """

    def __init__(
        self,
        cwd: Path | str = ".",
        *,
        model: str | None = None,
        permission_mode: str | None = None,
        allow: Sequence[str] = (),
        deny: Sequence[str] = (),
        may: Asked | None = None,
        resume: str | None = None,
        add_dirs: Sequence[Path | str] = (),
        append_system_prompt: str | None = None,
        max_turns: int | None = None,
        max_budget_usd: str | None = None,
        endpoint: str | None = None,
        dialect: str | None = None,
        trust: str | None = None,
        data: Path | str | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._cwd = Path(cwd)
        self._human = _Human(may) if may is not None else None
        self._notice = notice or _to_stderr
        budget: NanoDollars | None = parse_usd(max_budget_usd) if max_budget_usd else None
        self._flags = Flags(
            print=True,
            model=model,
            permission_mode=permission_mode,
            allowed_tools=tuple(allow),
            disallowed_tools=tuple(deny),
            continue_=resume == "latest",
            resume=None if resume == "latest" else resume,
            add_dir=tuple(str(Path(folder).absolute()) for folder in add_dirs),
            append_system_prompt=append_system_prompt,
            max_turns=max_turns,
            max_budget_nano=budget,
            endpoint=endpoint,
            dialect=dialect,
            trust=trust,
            data=None if data is None else str(data),
        )
        self._ground: Ground | None = None
        self._kernel: Kernel | None = None
        self.last: Done | None = None
        """What came of the newest turn."""

    async def __aenter__(self) -> Self:
        self._ground = await lay(
            self._flags, self._cwd, human=self._human, clock=SystemClock(), tell=self._notice
        )
        try:
            self._kernel = await open_session(self._ground)
        except BaseException:
            await self._ground.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._kernel is not None:
            self._kernel.interrupt()
            self._kernel.log.close()
        if self._ground is not None:
            await self._ground.close()

    @property
    def kernel(self) -> Kernel:
        """The session beneath: log, compaction, rewinding, modes.

        Raises:
            Conflict: It is not open.
        """
        if self._kernel is None:
            raise Conflict("the session is not open", hint="async with Session(…) as session:")
        return self._kernel

    @property
    def id(self) -> str:
        """What `resume` takes."""
        return self.kernel.log.id

    async def ask(self, said: str | Message) -> AsyncGenerator[Progress]:
        """One turn, its progress as it comes; `last` is what came of it.

        Leaving the loop early interrupts the turn.
        """
        kernel = self.kernel
        heard: asyncio.Queue[Progress | None] = asyncio.Queue()
        unsubscribe = kernel.subscribe(heard.put_nowait)
        running = asyncio.ensure_future(self.run(said))
        running.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (progress := await heard.get()) is not None:
                yield progress
            await running
        finally:
            unsubscribe()
            if not running.done():
                kernel.interrupt()
                await asyncio.wait({running})

    async def run(self, said: str | Message) -> Done:
        """One turn to its end."""
        kernel, tally = self.kernel, Tally(self.kernel.policy.decide)
        before = kernel.cost().nano
        unsubscribe = kernel.subscribe(tally.hear)
        try:
            end = await kernel.turn(said)
        finally:
            unsubscribe()
        self.last = Done(
            text=tally.text,
            end=end,
            usage=tally.usage,
            cost_nano=kernel.cost().nano - before,
            denials=tuple(tally.denials),
            errors=tuple(tally.errors),
        )
        return self.last

    def interrupt(self) -> None:
        """End the running turn at once."""
        self.kernel.interrupt()

    def queue(self, said: str | Message) -> None:
        """Say something while it works."""
        self.kernel.queue(said)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"headrace code: {line}\n")
