"""Brake: calls that lead nowhere are told so once, then the turn ends.

It reads the log alone, so a session that is resumed or replayed brakes at the same place. What
counts as the same: the same tools with the same arguments, and results that differ in nothing but
digits, as times of a test run do. So asking again after a change, or while output grows, is free.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from headrace.agent.entries import Answered, Entry, Said, Used
from headrace.core.messages import Text, ToolCall, ToolResult

SAME_MAX = 2
"""How often the same call may give the same result: the third time it does not run."""
_ERRORS_TOLD = 3
_ERRORS_MAX = 6
_DIGITS = re.compile(r"\d+")

ADVICE = (
    "Not run: you have made this call before, with the same result. Do something else: read the"
    " result again, look at another place, change something, or tell the user what stands in the"
    " way."
)
ADVICE_ERRORS = (
    "The same error for the third time. Stop and look: check what the file or the tool really"
    " needs before the next try."
)

Signature = tuple[tuple[str, str], ...]
Verdict = Literal["run", "refuse", "stop"]


class Round(msgspec.Struct, frozen=True):
    """The calls of one answer, and what came of them."""

    calls: Signature
    results: tuple[tuple[bool, str], ...]

    @property
    def refused(self) -> bool:
        """Whether the brake kept it from running."""
        return any(text == _plain(ADVICE) for _, text in self.results)


def signature(calls: Sequence[ToolCall]) -> Signature:
    """What is called, whatever its ids and spaces."""
    return tuple((call.name, _canonical(call.arguments)) for call in calls)


def rounds_of(branch: Sequence[Entry]) -> list[Round]:
    """The answers with calls since the user last spoke, without the one that waits for results."""
    rounds: list[Round] = []
    calls: tuple[ToolCall, ...] = ()
    results: list[tuple[bool, str]] = []
    for body in (entry.body for entry in branch):
        match body:
            case Said(origin="user"):
                rounds, calls = [], ()
            case Answered():
                calls = tuple(p for p in body.message.parts if isinstance(p, ToolCall))
                results = []
            case Used() if calls:
                results.append((body.result.is_error, _plain(_text(body.result))))
                if len(results) == len(calls):
                    rounds.append(Round(signature(calls), tuple(results)))
                    calls = ()
            case _:
                pass
    return rounds


def judge(rounds: Sequence[Round], calls: Signature) -> Verdict:
    """Whether calls may run after what was done before."""
    refused = [place for place, one in enumerate(rounds) if one.refused]
    if not refused:
        return "refuse" if _repeats(rounds, calls) else "run"
    last = refused[-1]
    known = {one.calls for one in rounds[max(0, last - 2 * SAME_MAX) : last + 1]}
    since = rounds[last + 1 :]
    unheard = calls in known and all(one.calls in known for one in since)
    return "stop" if unheard or _repeats(since, calls) else "run"


def _repeats(rounds: Sequence[Round], calls: Signature) -> bool:
    """Whether calls go on with a pattern of one or two rounds that has led nowhere."""
    for period in (1, 2):
        span = period * SAME_MAX
        tail = rounds[-span:]
        if len(tail) < span or tail[0].calls != calls:
            continue
        if all(tail[n] == tail[n % period] for n in range(span)):
            return True
    return False


def same_errors(rounds: Sequence[Round]) -> int:
    """How many of the last rounds failed in the same way, whatever their arguments."""
    count = 0
    for one in reversed(rounds):
        failed = all(is_error for is_error, _ in one.results)
        if not failed or _failure(one) != _failure(rounds[-1]):
            break
        count += 1
    return count


def tell_errors(rounds: Sequence[Round]) -> bool:
    """Whether it is time to tell the model that it runs into the same error."""
    return same_errors(rounds) == _ERRORS_TOLD and not rounds[-1].refused


def hopeless(rounds: Sequence[Round]) -> bool:
    """Whether the same error came so often that going on is of no use."""
    return same_errors(rounds) >= _ERRORS_MAX


def _failure(one: Round) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(name for name, _ in one.calls), tuple(text for _, text in one.results)


def _canonical(arguments: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="sorted").decode()
    except (msgspec.MsgspecError, RecursionError):
        return arguments


def _text(result: ToolResult) -> str:
    return "".join(part.text for part in result.parts if isinstance(part, Text))


def _plain(text: str) -> str:
    return _DIGITS.sub("#", text)
