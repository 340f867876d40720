"""What a session is put together from, besides its log, its client and its tools."""

from typing import Protocol

import msgspec

from headrace.core.decisions import Decision
from headrace.safety.actions import Action


class Policy(Protocol):
    """The permission rules."""

    @property
    def mode(self) -> str:
        """The permission mode; `Session.set_mode` sets it."""
        ...

    @mode.setter
    def mode(self, word: str) -> None: ...

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

    nano: int = 0
    calls: int = 0
    unpriced: int = 0
