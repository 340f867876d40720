"""Session: a log, a model, tools and rules, and what a face may ask of them."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from headrace.agent.client import Client
from headrace.agent.entries import Begun, Compacted
from headrace.agent.log import Log
from headrace.agent.progress import End, Human, Listener
from headrace.agent.tools import Tool
from headrace.core.clock import Clock
from headrace.core.decisions import Decision
from headrace.core.messages import Message
from headrace.ledger.prices import Rates
from headrace.safety.actions import Action


class Policy(Protocol):
    """The permission rules. `mode` may be set, as `Session.set_mode` does."""

    mode: str

    def decide(self, action: Action) -> Decision:
        """Whether an action may be done, as far as rules say."""
        ...

    def keep(self, rule: str) -> object:
        """Allow from now on what a rule covers; a human has said so."""
        ...


class Snapshots(Protocol):
    """Keeps what the files were."""

    async def take(self, label: str) -> str:
        """Keep the files as they are now; the id of the snapshot."""
        ...

    async def restore(self, snapshot_id: str) -> object:
        """Put the files back to a snapshot."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one session may use; None: no limit.

    Attributes:
        turns_max: Model calls for one thing that the user says.
        budget_nano: What all model calls may cost in this run of the session, in nano-dollars.
        attempts_max: Tries of one model call.
        retry_s: Wait before the second try; it doubles with each further one.
        retry_s_max: The longest wait; a server that asks for more ends the turn.
    """

    turns_max: int | None = None
    budget_nano: int | None = None
    attempts_max: int = 5
    retry_s: float = 1.0
    retry_s_max: float = 120.0


class Spent(msgspec.Struct, frozen=True):
    """What model calls cost. `unpriced` of the calls have no known price."""

    nano: int
    calls: int
    unpriced: int


class Session:
    """A conversation with a model that has tools.

    Args:
        log: Where all of it is written; what is in it already is gone on from.
        client: Where the model answers.
        tools: What the model may use, in the order of `Begun.tools`.
        policy: Decides about each use.
        human: Who is asked; None: whatever would be asked is refused.
        clock: Time.
        snapshots: Keeps the files around each use that may change some.
        limits: What it may use.
        rates: What tokens cost; without, a budget is refused.
        prefill_tokens_s: The model's speed of reading, where it was measured.
    """

    def __init__(
        self,
        log: Log,
        client: Client,
        *,
        tools: tuple[Tool, ...],
        policy: Policy,
        human: Human | None,
        clock: Clock,
        snapshots: Snapshots | None = None,
        limits: Limits | None = None,
        rates: Rates | None = None,
        prefill_tokens_s: float | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def log(self) -> Log:
        """The session's log."""
        raise NotImplementedError

    def begin(
        self, begun: Begun, *, client: Client | None = None, tools: tuple[Tool, ...] | None = None
    ) -> None:
        """Say what requests are made with from now on; needed once before the first turn."""
        raise NotImplementedError

    async def turn(self, said: str | Message) -> End:
        """Work on what the user says until the model has nothing more to do."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """End the turn at once; what runs is stopped. Nothing happens where none runs."""
        raise NotImplementedError

    def queue(self, said: str | Message) -> None:
        """Say something while it works: told to the model as soon as its tools have run."""
        raise NotImplementedError

    def queued(self) -> tuple[str, ...]:
        """What waits to be told."""
        raise NotImplementedError

    def unqueue(self) -> tuple[str, ...]:
        """Take back what waits to be told."""
        raise NotImplementedError

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear all progress, in order; returns how to stop."""
        raise NotImplementedError

    async def compact(self, instructions: str = "") -> Compacted | None:
        """Have what is older summarised; None where there is nothing to summarise."""
        raise NotImplementedError

    def compacted(self) -> Compacted | None:
        """The summary in effect."""
        raise NotImplementedError

    def edit_compaction(self, summary: str) -> Compacted:
        """Put other words in place of the summary in effect."""
        raise NotImplementedError

    def undo_compaction(self) -> bool:
        """Send the whole conversation again; False where nothing is compacted."""
        raise NotImplementedError

    async def rewind(
        self, entry_id: str, *, files: bool = True, conversation: bool = True
    ) -> Message | None:
        """Go back to before something that the user said.

        Args:
            entry_id: The `Said` entry.
            files: Put the files back to what they were then.
            conversation: Forget for the model what came since.

        Returns:
            What the user had said, to be said anew.
        """
        raise NotImplementedError

    def cost(self) -> Spent:
        """What the calls of this session cost, those of abandoned branches too."""
        raise NotImplementedError

    def set_mode(self, mode: str) -> None:
        """Change the permission mode."""
        raise NotImplementedError

    def set_name(self, name: str) -> None:
        """Name the session."""
        raise NotImplementedError

    def settings(self) -> Mapping[Literal["mode", "name"], str]:
        """What was set last."""
        raise NotImplementedError
