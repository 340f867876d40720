"""What the screen acts on: a session, and a desk of callables around it.

`code/build.py` puts both together. The screen imports neither of the modules behind them.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.agent.entries import Compacted, Entry
from headrace.agent.progress import End, Human, Listener
from headrace.core.messages import Message

MODES = ("default", "acceptEdits", "plan")
"""The modes that shift+tab cycles through; `bypassPermissions` joins if it was started with."""


class Record(Protocol):
    """What the screen needs of `agent.log.Log`."""

    def branch(self) -> tuple[Entry, ...]:
        """The session so far."""
        ...


class Talk(Protocol):
    """What the screen needs of `agent.session.Session`, in its words."""

    @property
    def log(self) -> Record: ...  # noqa: D102 - as there

    async def turn(self, said: str) -> End: ...  # noqa: D102
    def interrupt(self) -> None: ...  # noqa: D102
    def queue(self, said: str) -> None: ...  # noqa: D102
    def unqueue(self) -> tuple[str, ...]: ...  # noqa: D102
    def subscribe(self, listener: Listener) -> Callable[[], None]: ...  # noqa: D102
    async def compact(self, instructions: str = "") -> Compacted | None: ...  # noqa: D102
    def compacted(self) -> Compacted | None: ...  # noqa: D102
    def edit_compaction(self, summary: str) -> Compacted: ...  # noqa: D102
    def undo_compaction(self) -> bool: ...  # noqa: D102
    async def rewind(  # noqa: D102
        self, entry_id: str, *, files: bool = True, conversation: bool = True
    ) -> Message | None: ...
    def set_mode(self, mode: str) -> None: ...  # noqa: D102


class Kept(msgspec.Struct, frozen=True):
    """A session to resume; `title` is its first words, `time_ns` when it was last used."""

    id: str
    title: str
    time_ns: int


class Ran(msgspec.Struct, frozen=True):
    """How a command of the user's ended: what it printed, shortened, and its exit status."""

    text: str
    status: int | None
    path: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the status line tells. `context_left` is a share from 0 to 1, None where unknown."""

    model: str
    mode: str
    cost_nano: int | None = None
    context_left: float | None = None


class Desk(msgspec.Struct, kw_only=True):
    """A session and all that commands do about it. What raises HeadraceError is shown as a line.

    Attributes:
        session: The one that the person talks to.
        status: The status line as it stands now; asked after each logged entry. Cheap.
        workspace: Absolute path of the folder, for `@` and the head line.
        bill: The text of `/cost`.
        permissions: The text of `/permissions`: rules, their scopes, the mode.
        why: The text of `/why`: the last so many decisions, one line each.
        models: The names that `/model` offers.
        use_model: Go on with another model.
        kept: The sessions that `/resume` offers, newest first.
        resume: Go on with a kept session; returns the desk to go on with.
        clear: Begin anew in the same folder; returns the desk to go on with.
        undo_rewind: Undo the newest rewind, files and conversation as it had put them back; returns
            what it did.
        rewind_git: Put branches, index and stashes to where the newest rewind put the files;
            returns what it did.
        export: Write the conversation to a file (None: one is named for it); returns its path.
        shell: Run a command of the user's in the sandbox, telling its output while it comes.
            Cancelled when interrupted. Its result is also told to the model with the next turn.
        init_words: What `/init` says to the model.
        files: Paths below the workspace for `@`, relative, at most some 20,000.
        history: The file that keeps what was typed.
        close: Give back what the session holds.
        may_bypass: Whether shift+tab also reaches `bypassPermissions`.
    """

    session: Talk
    status: Callable[[], Status]
    workspace: str
    bill: Callable[[], str]
    permissions: Callable[[], str]
    why: Callable[[int], str]
    models: Callable[[], Awaitable[tuple[str, ...]]]
    use_model: Callable[[str], Awaitable[None]]
    kept: Callable[[], tuple[Kept, ...]]
    resume: Callable[[str], Awaitable["Desk"]]
    clear: Callable[[], Awaitable["Desk"]]
    export: Callable[[str | None], str]
    shell: Callable[[str, Callable[[str], None]], Awaitable[Ran]]
    init_words: str
    files: Callable[[], tuple[str, ...]]
    history: Path
    close: Callable[[], Awaitable[None]]
    may_bypass: bool = False
    undo_rewind: Callable[[], Awaitable[str]] | None = None
    rewind_git: Callable[[], Awaitable[str]] | None = None


Build = Callable[[Human, Callable[[str], None]], Awaitable[Desk]]
"""Puts a desk together while the person already types: takes who can be asked and what tells a
line of progress ("starting the engine …")."""
