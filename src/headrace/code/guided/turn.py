"""The turn so far, as the log tells it: what was asked, and each step with what came of it."""

from collections.abc import Sequence

import msgspec

from headrace.agent.entries import Answered, Entry, Said, Turned, Used
from headrace.agent.tools import Output
from headrace.core.messages import Message, Text, ToolCall, ToolResult


class Result(msgspec.Struct, frozen=True):
    """What a call came to: its text, and a command's exit status."""

    call: ToolCall
    text: str
    is_error: bool
    status: int | None = None


class Round(msgspec.Struct, frozen=True):
    """A step and its results. `written` is what the model wrote, None for the program's own."""

    results: tuple[Result, ...]
    time_ns: int
    written: Message | None = None

    def of(self, tool: str) -> Result | None:
        """The result of the first call of a tool."""
        return next((one for one in self.results if one.call.name == tool), None)


class Turn(msgspec.Struct, frozen=True):
    """What the user wants, when they said it, and what was said in turns before."""

    task: str
    begun_ns: int
    rounds: tuple[Round, ...]
    earlier: tuple[str, ...] = ()


def turn_of(branch: Sequence[Entry]) -> Turn:
    """The turn at the end of a branch."""
    start = max((n + 1 for n, one in enumerate(branch) if isinstance(one.body, Turned)), default=0)
    entries = branch[start:]
    said = [one for one in entries if isinstance(one.body, Said)]
    words = "\n\n".join(one.body.message.text() for one in said if isinstance(one.body, Said))
    earlier = tuple(_exchanges(branch[:start]))
    return Turn(words, said[0].time_ns if said else 0, tuple(_rounds(entries)), earlier)


def _rounds(entries: Sequence[Entry]) -> list[Round]:
    rounds: list[Round] = []
    for place, entry in enumerate(entries):
        if not isinstance(entry.body, Answered):
            continue
        answered = entry.body
        calls = [part for part in answered.message.parts if isinstance(part, ToolCall)]
        used: dict[str, Used] = {}
        for later in entries[place + 1 :]:
            if isinstance(later.body, Answered):
                break
            if isinstance(later.body, Used):
                used[later.body.result.call_id] = later.body
        results = tuple(_result(call, used.get(call.id)) for call in calls)
        written = None if answered.own else answered.written or answered.message
        rounds.append(Round(results, entry.time_ns, written))
    return rounds


def _result(call: ToolCall, used: Used | None) -> Result:
    if used is None:
        return Result(call, "", is_error=True)
    status = used.detail.status if isinstance(used.detail, Output) else None
    return Result(call, _text(used.result), used.result.is_error, status)


def _text(result: ToolResult) -> str:
    return "".join(part.text for part in result.parts if isinstance(part, Text))


def _exchanges(entries: Sequence[Entry]) -> list[str]:
    """What was said before, without the code of it."""
    lines: list[str] = []
    for entry in entries:
        match entry.body:
            case Said(message=message, origin="user"):
                lines.append(f"User: {message.text()}")
            case Answered(message=message) if not any(
                isinstance(part, ToolCall) for part in message.parts
            ):
                lines.append(f"Assistant: {message.text()}")
            case _:
                pass
    return lines
