"""Progress: what happens in a session while it happens. Every face is a subscriber of it.

Of what stands in the log, `Logged` tells when it is written; the rest passes by.
"""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

from headrace.agent.entries import Entry
from headrace.core.decisions import Ask
from headrace.core.events import Delta
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action

End = Literal[
    "done", "interrupted", "max_turns", "budget", "repeated", "truncated", "context_full", "failed"
]
"""Why a turn ended: `repeated` is the brake on identical calls, `truncated` an answer that never
came whole, `failed` any other error of the model's side."""


class Logged(msgspec.Struct, frozen=True, tag="logged"):
    """An entry was written: words, an answer, a tool's result, the end of a turn."""

    entry: Entry


class Asking(msgspec.Struct, frozen=True, kw_only=True, tag="asking"):
    """A model call begins.

    `input_tokens` is about what is sent, `new_tokens` about what no cache holds of it,
    `prefill_s` what that takes at the model's measured speed; None where it is unknown.
    """

    input_tokens: int
    new_tokens: int
    prefill_s: float | None = None


class Partial(msgspec.Struct, frozen=True, tag="partial"):
    """More of the answer."""

    delta: Delta


class Retrying(msgspec.Struct, frozen=True, tag="retrying"):
    """A model call failed and is tried again in so many seconds; drop what had arrived."""

    why: str
    after_s: float
    attempt: int


class Running(msgspec.Struct, frozen=True, tag="running"):
    """A tool is about to run, or to be asked about."""

    call: ToolCall
    action: Action


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """New output of a running tool."""

    call_id: str
    text: str


class Noticed(msgspec.Struct, frozen=True, tag="noticed"):
    """Something that people should know, in one line."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


Progress = Logged | Asking | Partial | Retrying | Running | Printed | Noticed

Listener = Callable[[Progress], None]


class Reply(msgspec.Struct, frozen=True):
    """What a human answered to a question about a call.

    `always` keeps the rule that the question named; `words` go to the model with a refusal.
    """

    allowed: bool
    always: bool = False
    words: str = ""


class Human(Protocol):
    """Who can be asked; without one, whatever would be asked is refused."""

    def may(self, call: ToolCall, action: Action, ask: Ask) -> Awaitable[Reply]:
        """Whether a call may run. Cancelled when the turn is interrupted."""
        ...

    def choose(self, question: str, options: tuple[str, ...]) -> Awaitable[str]:
        """The model's question to its user: one of the options, or other words."""
        ...
