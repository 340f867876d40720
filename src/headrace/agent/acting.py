"""One answer's tool calls: judged, asked about, run between snapshots, and all of them answered.

Calls that only read and need no question run side by side; everything else runs in its turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from headrace.agent.entries import BEFORE, Set, Used
from headrace.agent.failures import told
from headrace.agent.parts import Policy, Snapshots
from headrace.agent.progress import Human, Noticed, Printed, Progress, Running
from headrace.agent.recover import Ready
from headrace.agent.stopper import Interrupted, Stopper
from headrace.agent.tools import Outcome, Tool, Use
from headrace.core.clock import Clock
from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import StoreError
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
_BROKEN_OFF = Outcome.error(INTERRUPTED), 0


class _Judged(msgspec.Struct, frozen=True):
    """A call with what it would do, what the rules say of it, and what the model hears if no."""

    ready: Ready
    action: Action
    decision: Decision
    refusal: str = ""


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
        append: Callable[[Used | Set], object],
    ) -> None:
        self.tools = {tool.spec.name: tool for tool in tools}
        self._policy = policy
        self.human = human
        self._snapshots = snapshots
        self._clock = clock
        self._emit = emit
        self._append = append
        self._waiting: dict[str, Ready] = {}
        self._begun: set[str] = set()
        self._ended: dict[str, tuple[Outcome, int]] = {}

    def refuse(self, calls: Sequence[Ready], text: str) -> None:
        """Answer calls that are not to run."""
        for ready in calls:
            self._write(ready, Outcome.error(text), Deny("the brake on repetition"))

    async def act(self, calls: Sequence[Ready], stopper: Stopper) -> None:
        """Answer all calls in their order.

        Raises:
            Interrupted: The turn was ended; every call has an answer still.
            StoreError: The log cannot be written.
        """
        self._waiting = {ready.call.id: ready for ready in calls}
        self._begun.clear()
        self._ended.clear()
        try:
            while self._waiting:
                together = self._next()
                if len(together) > 1:
                    await self._side_by_side(together, stopper)
                else:
                    await self._one(together[0], stopper)
        except BaseException:
            with suppress(StoreError):  # it may be the log that failed
                for ready in tuple(self._waiting.values()):
                    text = INTERRUPTED if ready.call.id in self._begun else NOT_RUN
                    self._write(ready, Outcome.error(text), STOPPED)
            raise

    def _next(self) -> list[_Judged]:
        """The next call, or several that may run side by side."""
        found: list[_Judged] = []
        for ready in self._waiting.values():
            judged = self._judge(ready)
            if judged.action.writes or not isinstance(judged.decision, Allow):
                return found or [judged]
            found.append(judged)
        return found

    async def _side_by_side(self, together: Sequence[_Judged], stopper: Stopper) -> None:
        for one in together:
            self._emit(Running(one.ready.call, one.action))

        async def all_of_them() -> None:
            await asyncio.gather(*(self._run(one.ready) for one in together))

        try:
            await stopper.run(all_of_them())
        finally:
            for one in together:
                outcome, duration_ms = self._ended.get(one.ready.call.id, _BROKEN_OFF)
                self._write(one.ready, outcome, one.decision, duration_ms=duration_ms)

    async def _one(self, judged: _Judged, stopper: Stopper) -> None:
        ready, action = judged.ready, judged.action
        if judged.decision is not INVALID:
            self._emit(Running(ready.call, action))
        decision, refusal = await self._settled(judged, stopper)
        if isinstance(decision, Deny):
            self._write(ready, Outcome.error(refusal), decision)
            return
        before = await self._snapshot(action, f"before {ready.call.name}", stopper)
        if before is not None:
            self._append(Set(BEFORE, before))
        after = None
        try:
            await stopper.run(self._run(ready))
        finally:
            ended = ready.call.id in self._ended
            try:
                label = f"after {ready.call.name}" if ended else "interrupted"
                after = await self._snapshot(action, label, None)
            finally:
                outcome, duration_ms = self._ended.get(ready.call.id, _BROKEN_OFF)
                self._write(
                    ready, outcome, decision, before=before, after=after, duration_ms=duration_ms
                )

    def _judge(self, ready: Ready) -> _Judged:
        problem = ready.problem
        if not problem:
            try:
                action = self.tools[ready.call.name].action(ready.arguments)
                decision = self._policy.decide(action)
            except Exception as error:  # noqa: BLE001 - one call may not cost the others
                problem = told(error)
            else:
                refusal = f"Not allowed: {decision.why}" if isinstance(decision, Deny) else ""
                return _Judged(ready, action, decision, refusal)
        return _Judged(ready, Action(tool=ready.call.name), INVALID, problem)

    async def _settled(self, judged: _Judged, stopper: Stopper) -> tuple[Decision, str]:
        """The last word about a call, and what the model hears if it is no."""
        decision = judged.decision
        if not isinstance(decision, Ask):
            return decision, judged.refusal
        if self.human is None:
            return Deny(NOBODY_WHY + decision.why), f"{NOBODY} ({decision.why})"
        human = self.human

        async def asked(ask: Ask) -> tuple[Decision, str]:
            try:
                reply = await human.may(judged.ready.call, judged.action, ask)
            except Exception as error:  # noqa: BLE001 - a face that breaks has allowed nothing
                why = f"nobody could be asked ({told(error)})"
                return Deny(why), f"Not allowed: {why}"
            if not reply.allowed:
                words = f" The user says: {reply.words}" if reply.words else ""
                return Deny("you refused it"), REFUSED + words
            if reply.always and ask.rule is not None:
                self._keep(ask.rule)
            return Allow(f"you allowed it ({ask.why})"), ""

        return await stopper.run(asked(decision))

    def _keep(self, rule: str) -> None:
        """Keep a rule; where that cannot be, what was allowed holds this once."""
        try:
            self._policy.keep(rule)
        except Exception as error:  # noqa: BLE001 - it was allowed, whatever comes of the rule
            self._emit(Noticed(f"the rule {rule} could not be kept: {told(error)}", "warning"))

    async def _snapshot(self, action: Action, label: str, stopper: Stopper | None) -> str | None:
        """Keep the files as they are; what cannot be kept is told, and stops nothing."""
        if self._snapshots is None or not action.writes:
            return None
        try:
            work = self._snapshots.take(label)
            return await (work if stopper is None else stopper.run(work))
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - as it says above
            self._emit(Noticed(f"no snapshot could be made: {told(error)}", "warning"))
            return None

    async def _run(self, ready: Ready) -> None:
        begun_ns = self._clock.monotonic_ns()
        call_id = ready.call.id
        self._begun.add(call_id)
        use = Use(call_id, ready.arguments, lambda text: self._emit(Printed(call_id, text)))
        try:
            outcome = await self.tools[ready.call.name].run(use)
        except Exception as error:  # noqa: BLE001 - the model may do without, others go on
            outcome = Outcome.error(told(error))
        self._ended[call_id] = outcome, (self._clock.monotonic_ns() - begun_ns) // _NS_PER_MS

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
        used = Used(
            tool=ready.call.name,
            result=ToolResult(ready.call.id, parts, outcome.is_error),
            decision=decision,
            detail=outcome.detail,
            note=outcome.note or _first_line(outcome),
            before=before,
            after=after,
            duration_ms=duration_ms,
        )
        try:
            self._append(used)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - such as bytes in a file's name that are no text
            text = told(error)
            result = ToolResult(ready.call.id, (Text(text),), is_error=True)
            used = msgspec.structs.replace(used, result=result, detail=None, note=text)
            self._append(used)
        self._waiting.pop(ready.call.id, None)


def _first_line(outcome: Outcome) -> str:
    texts = [part.text for part in outcome.parts if isinstance(part, Text)]
    lines = texts[0].strip().splitlines() if texts else []
    return lines[0][:_NOTE_CHARS] if lines else ""
