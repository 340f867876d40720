"""Guide: leads a turn of a model that cannot explore by itself.

The program looks, the model writes, the tests choose. What the guide does next depends on the
branch of the log alone, so a guided session is resumed, rewound and replayed like any other. It
has no tools of its own: its steps are calls of the session's tools, judged by the same rules.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headrace.agent.entries import Entry
from headrace.agent.progress import End
from headrace.core.messages import Message, ToolCall
from headrace.core.requests import Request


class Act(msgspec.Struct, frozen=True):
    """Make these calls, without asking the model; `text` says why, for people."""

    calls: tuple[ToolCall, ...]
    text: str = ""


class Consult(msgspec.Struct, frozen=True):
    """Ask the model."""

    request: Request


class Finish(msgspec.Struct, frozen=True):
    """The turn ends: why, and what the user is told."""

    text: str
    why: End = "done"


Step = Act | Consult | Finish


class Guide(Protocol):
    """Decides from a branch."""

    def step(self, branch: Sequence[Entry]) -> Step:
        """What to do next."""
        ...

    def read(self, branch: Sequence[Entry], answer: Message) -> Message:
        """The model's answer to the last `Consult` with the calls that it amounts to."""
        ...
