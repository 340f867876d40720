"""Tally: what happened in a run of a session, for its result."""

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.agent.acting import NOBODY_WHY
from headrace.agent.entries import Answered, Entry, Turned, Used
from headrace.agent.progress import End, Logged, Noticed, Progress, Running
from headrace.code import stream_json
from headrace.core.decisions import Ask, Decision, Deny
from headrace.core.messages import ToolCall
from headrace.core.models import Usage
from headrace.safety.actions import Action

SUBTYPES: dict[str, str] = {
    "done": "success",
    "max_turns": "error_max_turns",
    "budget": "error_max_budget_usd",
}
"""What Claude Code calls an ending; all others are `error_during_execution`."""

_NANO = 1_000_000_000


class Denial(msgspec.Struct, frozen=True):
    """A call that was refused: why, and which rule would allow it."""

    call: ToolCall
    why: str
    rule: str | None = None

    def wire(self) -> dict[str, Any]:
        """As a result tells it."""
        told = {
            "tool_name": self.call.name,
            "tool_use_id": self.call.id,
            "tool_input": stream_json.input_of(self.call.arguments),
            "reason": self.why,
        }
        return told | ({"rule": self.rule} if self.rule else {})


class Cost(msgspec.Struct, frozen=True):
    """What a turn cost: nano-dollars, None where some call's cost is unknown; who tells prices."""

    nano: int | None
    source: str | None = None


class Tally:
    """Hears all progress of one turn.

    Args:
        decide: The permission policy, for the rule that would allow what nobody was asked about.
    """

    def __init__(self, decide: Callable[[Action], Decision] | None = None) -> None:
        self._decide = decide
        self._actions: dict[str, Action] = {}
        self.usage = Usage()
        self.turns = 0
        self.api_ms = 0
        self.text = ""
        self.stop: str | None = None
        self.denials: list[Denial] = []
        self.errors: list[str] = []
        self._calls: dict[str, ToolCall] = {}

    def hear(self, progress: Progress) -> None:
        """Add up one progress."""
        match progress:
            case Logged(entry=entry):
                self._logged(entry)
            case Running(call=call, action=action):
                self._calls[call.id] = call
                self._actions[call.id] = action
            case Noticed(text=text, level="error"):
                self.errors.append(text)
            case _:
                pass

    def refused(self, call: ToolCall, why: str, rule: str | None) -> None:
        """A human, or a program in its place, said no."""
        if all(denial.call.id != call.id for denial in self.denials):
            self.denials.append(Denial(call, why, rule))

    def _logged(self, entry: Entry) -> None:
        match entry.body:
            case Answered() as answered:
                self.turns += not answered.own
                self.api_ms += answered.duration_ms or 0
                self.usage = _sum(self.usage, answered.usage)
                self.stop = answered.stop
                self.text = answered.message.text()
                calls = [one for one in answered.message.parts if isinstance(one, ToolCall)]
                self._calls |= {call.id: call for call in calls}
            case Used(result=result, decision=decision) as used:
                call = self._calls.get(result.call_id) or ToolCall(result.call_id, used.tool, "{}")
                if isinstance(decision, Deny):
                    self.refused(call, decision.why, self._rule(call.id, decision))
            case Turned(why=why, text=text) if why != "done" and text not in ("", *self.errors):
                self.errors.append(text)
            case _:
                pass

    def _rule(self, call_id: str, decision: Deny) -> str | None:
        """The rule that would allow a call that somebody could have been asked about."""
        action = self._actions.get(call_id)
        if self._decide is None or action is None or not decision.why.startswith(NOBODY_WHY):
            return None
        asked = self._decide(action)
        return asked.rule if isinstance(asked, Ask) else None

    def result(self, end: End, *, duration_ms: int, cost: Cost, model: str) -> dict[str, Any]:
        """The result's fields but for the session's id."""
        subtype = SUBTYPES.get(end, "error_during_execution")
        cost_usd = None if cost.nano is None else cost.nano / _NANO
        counted = stream_json.usage(self.usage)
        fields: dict[str, Any] = {
            "subtype": subtype,
            "is_error": end != "done",
            "duration_ms": duration_ms,
            "duration_api_ms": self.api_ms,
            "num_turns": self.turns,
            "result": self.text,
            "stop_reason": stream_json.STOPS.get(self.stop or "", self.stop),
            "end": end,
            "total_cost_usd": cost_usd,
            "cost_source": cost.source,
            "usage": counted,
            "modelUsage": {
                model: {
                    "inputTokens": counted["input_tokens"],
                    "outputTokens": counted["output_tokens"],
                    "cacheReadInputTokens": counted["cache_read_input_tokens"],
                    "cacheCreationInputTokens": counted["cache_creation_input_tokens"],
                    "costUSD": cost_usd,
                }
            },
            "permission_denials": [denial.wire() for denial in self.denials],
        }
        if end != "done":
            fields["errors"] = self.errors or [WHY.get(end, end)]
        return fields


WHY: dict[str, str] = {
    "interrupted": "it was interrupted",
    "max_turns": "the limit of --max-turns is reached",
    "budget": "the next call could cost more than is left of --max-budget-usd",
    "repeated": "the model made the same call again and again",
    "truncated": "the model's answer never came whole",
    "context_full": "the conversation does not fit the model's window",
    "failed": "the model failed",
}
"""Each ending but `done`, in words."""


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(*(a + b for a, b in zip(_figures(one), _figures(other), strict=True)))


def _figures(usage: Usage) -> tuple[int, ...]:
    return tuple(msgspec.structs.astuple(usage))
