"""One answer's tool calls: judged, asked about, run between snapshots, and all of them answered.

Calls that only read and need no question run side by side; everything else runs in its turn.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from headrace.agent.entries import Used
from headrace.agent.parts import Policy, Snapshots
from headrace.agent.progress import Human, Noticed, Printed, Progress, Running
from headrace.agent.recover import Ready
from headrace.agent.stopper import Interrupted, Stopper
from headrace.agent.tools import Outcome, Tool, Use
from headrace.core.clock import Clock
from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import HeadraceError
from headrace.core.messages import Text, ToolResult
from headrace.safety.actions import Action

INTERRUPTED = "Interrupted by the user before it had ended; it may have run in part."
NOT_RUN = "Not run: the user interrupted."
NOBODY = "Not allowed, and nobody is there to ask. Do what you can without it."
REFUSED = "The user does not allow this. Do not try it in another way."
_NS_PER_MS = 1_000_000
_NOTE_CHARS = 100
INVALID = Deny("not a valid call")
STOPPED = Deny("interrupted")
NOBODY_WHY = "nobody to ask; "


class _Judged(msgspec.Struct, frozen=True):
    """A call with what it would do and what the rules say of it."""

    ready: Ready
    action: Action
    decision: Decision


class Actor:
    """Answers calls.

    Args:
        tools: By name.
        policy: The rules.
        human: Who is asked.
        snapshots: Kept around what may change files.
        clock: For durations.
        emit: Takes progress.
        append: Writes an entry and tells of it.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        policy: Policy,
        human: Human | None,
        snapshots: Snapshots | None,
        clock: Clock,
        emit: Callable[[Progress], None],
        append: Callable[[Used], object],
    ) -> None:
        self.tools = {tool.spec.name: tool for tool in tools}
        self._policy = policy
        self.human = human
        self._snapshots = snapshots
        self._clock = clock
        self._emit = emit
        self._append = append
        self._begun: set[str] = set()

    def refuse(self, calls: Sequence[Ready], text: str) -> None:
        """Answer calls that are not to run."""
        for ready in calls:
            self._write(ready, Outcome.error(text), Deny("the brake on repetition"))

    async def act(self, calls: Sequence[Ready], stopper: Stopper) -> None:
        """Answer all calls in their order.

        Raises:
            Interrupted: The turn was ended; every call has an answer still.
        """
        waiting = list(calls)
        self._begun.clear()
        try:
            while waiting:
                together = self._together(waiting)
                if together:
                    await self._side_by_side(together, waiting, stopper)
                else:
                    await self._one(waiting, stopper)
        except (Interrupted, asyncio.CancelledError):
            for ready in waiting:
                text = INTERRUPTED if ready.call.id in self._begun else NOT_RUN
                self._write(ready, Outcome.error(text), STOPPED)
            raise

    def _together(self, waiting: Sequence[Ready]) -> list[_Judged]:
        """The next calls that may run side by side; none where there are fewer than two."""
        found: list[_Judged] = []
        for ready in waiting:
            if ready.problem:
                break
            try:
                judged = self._judge(ready)
            except HeadraceError:
                break
            if judged.action.writes or not isinstance(judged.decision, Allow):
                break
            found.append(judged)
        return found if len(found) > 1 else []

    async def _side_by_side(
        self, together: Sequence[_Judged], waiting: list[Ready], stopper: Stopper
    ) -> None:
        for one in together:
            self._emit(Running(one.ready.call, one.action))

        async def all_of_them() -> list[tuple[Outcome, int]]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(one.ready)) for one in together]
            return [task.result() for task in tasks]

        outcomes = await stopper.run(all_of_them())
        for one, (outcome, duration_ms) in zip(together, outcomes, strict=True):
            self._write(one.ready, outcome, one.decision, duration_ms=duration_ms)
            waiting.remove(one.ready)

    async def _one(self, waiting: list[Ready], stopper: Stopper) -> None:
        ready = waiting[0]
        if ready.problem:
            self._write(ready, Outcome.error(ready.problem), INVALID)
            waiting.pop(0)
            return
        try:
            judged = self._judge(ready)
        except HeadraceError as error:
            self._write(ready, Outcome.error(error.message), INVALID)
            waiting.pop(0)
            return
        self._emit(Running(ready.call, judged.action))
        decision, refusal = await self._settled(judged, stopper)
        if isinstance(decision, Deny):
            self._write(ready, Outcome.error(refusal), decision)
            waiting.pop(0)
            return
        before = await self._snapshot(judged.action, f"before {ready.call.name}", stopper)
        try:
            outcome, duration_ms = await stopper.run(self._run(ready))
        except (Interrupted, asyncio.CancelledError):
            after = await self._snapshot(judged.action, "interrupted", None)
            self._write(ready, Outcome.error(INTERRUPTED), decision, before=before, after=after)
            waiting.pop(0)
            raise
        after = await self._snapshot(judged.action, f"after {ready.call.name}", None)
        self._write(ready, outcome, decision, before=before, after=after, duration_ms=duration_ms)
        waiting.pop(0)

    def _judge(self, ready: Ready) -> _Judged:
        action = self.tools[ready.call.name].action(ready.arguments)
        return _Judged(ready, action, self._policy.decide(action))

    async def _settled(self, judged: _Judged, stopper: Stopper) -> tuple[Decision, str]:
        """The last word about a call, and what the model hears if it is no."""
        decision = judged.decision
        if isinstance(decision, Deny):
            return decision, f"Not allowed: {decision.why}"
        if isinstance(decision, Allow):
            return decision, ""
        if self.human is None:
            return Deny(NOBODY_WHY + decision.why), f"{NOBODY} ({decision.why})"
        human = self.human

        async def asked(ask: Ask) -> tuple[Decision, str]:
            reply = await human.may(judged.ready.call, judged.action, ask)
            if not reply.allowed:
                words = f" The user says: {reply.words}" if reply.words else ""
                return Deny("you refused it"), REFUSED + words
            if reply.always and ask.rule is not None:
                self._policy.keep(ask.rule)
            return Allow(f"you allowed it ({ask.why})"), ""

        return await stopper.run(asked(decision))

    async def _snapshot(self, action: Action, label: str, stopper: Stopper | None) -> str | None:
        """Keep the files as they are; what cannot be kept is told, and stops nothing."""
        if self._snapshots is None or not action.writes:
            return None
        try:
            work = self._snapshots.take(label)
            return await (work if stopper is None else stopper.run(work))
        except HeadraceError as error:
            self._emit(Noticed(f"no snapshot could be made: {error.message}", "warning"))
            return None

    async def _run(self, ready: Ready) -> tuple[Outcome, int]:
        begun_ns = self._clock.monotonic_ns()
        call_id = ready.call.id
        self._begun.add(call_id)
        use = Use(call_id, ready.arguments, lambda text: self._emit(Printed(call_id, text)))
        try:
            outcome = await self.tools[ready.call.name].run(use)
        except HeadraceError as error:
            outcome = Outcome.error(error.message)
        return outcome, (self._clock.monotonic_ns() - begun_ns) // _NS_PER_MS

    def _write(
        self,
        ready: Ready,
        outcome: Outcome,
        decision: Decision,
        *,
        before: str | None = None,
        after: str | None = None,
        duration_ms: int = 0,
    ) -> None:
        parts = tuple(one for one in outcome.parts if one != Text("")) or (Text("(no output)"),)
        self._append(
            Used(
                tool=ready.call.name,
                result=ToolResult(ready.call.id, parts, outcome.is_error),
                decision=decision,
                detail=outcome.detail,
                note=outcome.note or _first_line(outcome),
                before=before,
                after=after,
                duration_ms=duration_ms,
            )
        )


def _first_line(outcome: Outcome) -> str:
    texts = [part.text for part in outcome.parts if isinstance(part, Text)]
    lines = texts[0].strip().splitlines() if texts else []
    return lines[0][:_NOTE_CHARS] if lines else ""
