"""What running commands has in common, with a sandbox and without."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path

from headrace.core.errors import Conflict, InvalidRequest
from headrace.safety.sandbox.background import Background
from headrace.safety.sandbox.output import Ran
from headrace.safety.sandbox.process import Child, OnOutput

_COMMAND_BYTES_MAX = 120_000  # the kernel takes no longer word

Finish = Callable[[float | None], Awaitable[Ran]]


class Commands(ABC):
    """Runs shell commands, one after another or beside each other."""

    def __init__(self) -> None:
        self._background: set[Background] = set()

    async def run(
        self,
        command: str,
        *,
        cwd: Path | None = None,
        stdin: bytes = b"",
        timeout_s: float = 120,
        on_output: OnOutput | None = None,
    ) -> Ran:
        """Run it with bash to its end. Being cancelled kills it with all that it started.

        Args:
            command: For `bash -c`.
            cwd: In one of the roots; None: the workspace.
            stdin: What it can read; then its input ends.
            timeout_s: After this it is killed.
            on_output: Takes output as it comes.

        Raises:
            InvalidRequest: The command or folder makes no sense.
            Forbidden: Without a sandbox: nobody allowed it.
            Conflict: There is no sandbox, or it could not be made.
        """
        child, finish = await self._begin(command, cwd, has_input=bool(stdin), on_output=on_output)
        feeding = asyncio.create_task(_feed(child, stdin)) if stdin else None
        try:
            return await finish(timeout_s)
        finally:
            if feeding is not None:
                feeding.cancel()

    async def start(
        self, command: str, *, cwd: Path | None = None, timeout_s: float | None = None
    ) -> Background:
        """Run it beside others, its input open. Raises as `run` does."""
        background = Background(command)
        child, finish = await self._begin(command, cwd, has_input=True, on_output=background.take)
        background.follow(child, lambda: finish(timeout_s))
        self._background.add(background)
        return background

    async def close(self) -> None:
        """Stop what runs in the background."""
        for background in self._background:
            await background.stop()
        self._background.clear()

    @abstractmethod
    async def _begin(
        self, command: str, cwd: Path | None, *, has_input: bool, on_output: OnOutput | None
    ) -> tuple[Child, Finish]:
        """Start it; what is returned with it leads it to its end."""


def check_command(command: str) -> None:
    """Whether a command can be handed to a shell.

    Raises:
        InvalidRequest: It is empty, too long, or holds what no command can.
    """
    if not command.strip():
        raise InvalidRequest("the command is empty")
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("the command holds half a character (a lone surrogate)") from None
    if "\0" in command:
        raise InvalidRequest("the command holds a NUL, which no command can")
    if size > _COMMAND_BYTES_MAX:
        raise InvalidRequest(
            f"the command has {size:,} bytes, at most {_COMMAND_BYTES_MAX:,}: write a script"
        )


async def _feed(child: Child, data: bytes) -> None:
    """Whoever reads no input is not wrong."""
    try:
        await child.give(data, last=True)
    except Conflict:
        return
