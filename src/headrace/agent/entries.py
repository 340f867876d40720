"""Entries of a session's log: an append-only tree of what was said and done.

The branch from the first entry to the newest one is the session. Nothing is ever rewritten: to
rewind is to go on from an older entry. The request to the model is a function of the branch alone
(`agent/prompt.py`), and each of its predecessors is a prefix of it.
"""

from typing import Literal

import msgspec

from headrace.agent.tools import Detail
from headrace.core.decisions import Decision
from headrace.core.messages import Message, ToolResult
from headrace.core.models import Usage
from headrace.core.requests import Sampling, Tool

VERSION = 1
BEFORE = "before"


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun"):
    """The session begins, or goes on with another model or other tools: all that a request needs.

    Attributes:
        workspace: Absolute path of the folder.
        model: Its public name.
        system: The system prompt, the same in every folder.
        context: What stands before the first words of the user: folder, date, instructions.
        tools: What the model is offered, in this order.
        context_tokens: What the model's window holds.
        max_tokens: The most that one answer may have.
        text_calls: Whether tools are described in the prompt and called in text.
        parallel_calls: Whether an answer may hold several calls.
        guided: Whether a guide leads its turns (`agent/guide.py`).
        continues_answers: Whether the model goes on with an answer that is begun for it.
    """

    workspace: str
    model: str
    system: str
    context: str = ""
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    context_tokens: int = 32_768
    max_tokens: int | None = None
    text_calls: bool = False
    parallel_calls: bool = True
    guided: bool = False
    continues_answers: bool = False


class Said(msgspec.Struct, frozen=True, tag="said", omit_defaults=True):
    """Words of role user. `origin` notice: said by the assistant's program, such as a nudge."""

    message: Message
    origin: Literal["user", "notice"] = "user"


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag="answered", omit_defaults=True):
    """The model's answer, whole. `cost_nano` is what the ledger charged, None where unknown.

    `written` is what the model wrote, where calls were found in its text or had to be mended.
    `own`: it is a step of the assistant's program, for which no model was asked.
    """

    message: Message
    stop: str
    written: Message | None = None
    usage: Usage = Usage()
    generation_id: str | None = None
    cost_nano: int | None = None
    first_token_ms: int | None = None
    duration_ms: int | None = None
    own: bool = False


class Broke(msgspec.Struct, frozen=True, kw_only=True, tag="broke", omit_defaults=True):
    """A model call that failed, was cut off or interrupted; never a part of a request.

    `partial` is what had arrived, `attempt` counts the tries of this request from 1.
    """

    kind: str
    text: str
    partial: Message | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    attempt: int = 1


class Used(msgspec.Struct, frozen=True, kw_only=True, tag="used", omit_defaults=True):
    """A tool call was answered, whatever became of it.

    `before` and `after` are snapshots of the workspace around it, where it could change files.
    """

    tool: str
    result: ToolResult
    decision: Decision
    detail: Detail | None = None
    note: str = ""
    before: str | None = None
    after: str | None = None
    duration_ms: int = 0


class Compacted(msgspec.Struct, frozen=True, kw_only=True, tag="compacted"):
    """From here on requests hold `summary` and the pinned words instead of what is older.

    Entries from `keep_id` on stay as they are; None keeps none. The last one of a branch counts,
    so one with other words edits it, and one without any undoes it. `usage` is set where a model
    wrote it.
    """

    summary: str
    pinned: tuple[str, ...] = ()
    keep_id: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None


class Turned(msgspec.Struct, frozen=True, tag="turned"):
    """A turn of the user has ended; `why` is a `loop.End`."""

    why: str
    text: str = ""


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """The session goes on from this entry's parent; what came after it there is another branch.

    `snapshot` is what the files were put back to, if they were.
    """

    snapshot: str | None = None


class Set(msgspec.Struct, frozen=True, tag="set"):
    """A setting of the session that no request depends on, such as its name or mode.

    `BEFORE` is the snapshot before a call that may write, said before the call is begun: so files
    can be put back to it also where a crash has left the call without an answer.
    """

    name: str
    value: str


Body = Begun | Said | Answered | Broke | Used | Compacted | Turned | Moved | Set


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    id: str
    parent_id: str | None
    time_ns: int
    body: Body
    v: int = VERSION
