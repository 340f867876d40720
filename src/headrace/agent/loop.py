"""The loop: ask, act, repeat, until the model has nothing more to do.

The life of a turn:

1. What the user says is written (`Said`).
2. Limits: model calls of this turn, then the window. A conversation that fills its window is
   compacted; one that is too long even then ends the turn (`context_full`).
3. The request is made from the branch alone (`prompt.request_of`), held within the budget, and
   asked (`asking`). Failures are written (`Broke`), and retried where that may help.
4. The answer is read: calls found in its text, arguments mended (`recover`), and written
   (`Answered`) before anything is done.
5. No calls: an empty answer is nudged once, one cut at its limit is asked to go on; what waits in
   the queue is said now (step 1), or the turn is `done`.
6. Calls: the brake looks for repetition; then each is judged, asked about, run between snapshots
   and answered (`Used`, `acting`), also when the turn is interrupted in the midst of it.
7. What the user has said meanwhile is written behind the results; back to 2.
8. Why it ended is written (`Turned`). Whatever happens, every call has an answer in the log.
"""

from collections.abc import Callable

import msgspec

from headrace.agent import brake, compaction, measure, prompt_texts
from headrace.agent.acting import Actor
from headrace.agent.asking import EMPTY_SUMMARY, Asker, Over, call_ids, is_empty, understood
from headrace.agent.entries import Answered, Begun, Body, Broke, Compacted, Entry, Said, Used
from headrace.agent.failures import told
from headrace.agent.guide import Act, Finish, Guide
from headrace.agent.log import Log
from headrace.agent.measure import Size
from headrace.agent.parts import Limits
from headrace.agent.progress import End, Noticed, Progress
from headrace.agent.prompt import begun_of, request_of
from headrace.agent.recover import Ready, Recovered, recover
from headrace.agent.stopper import Stopper
from headrace.core.events import Failed
from headrace.core.messages import Message, Part, Text, user
from headrace.core.requests import Request

UNREADABLE = "unreadable"
_CUTS_MAX = 3
_SQUEEZES_MAX = 3

Ended = tuple[End, str]


class Turn(msgspec.Struct):
    """How far a turn is.

    `squeezed` counts compactions without a model call in between that went through.
    """

    asked: int = 0
    nudged: bool = False
    cuts: int = 0
    squeezed: int = 0


class Loop:
    """Runs turns on a log.

    Args:
        log: Where all is written.
        asker: Makes model calls.
        actor: Answers tool calls.
        limits: Of model calls for one turn.
        emit: Takes progress.
        append: Writes an entry and tells of it.
        next_words: What the user has said meanwhile, in order; it is taken from the queue.
        guide: Leads the turns of a model that is marked as guided.
    """

    def __init__(
        self,
        log: Log,
        *,
        asker: Asker,
        actor: Actor,
        limits: Limits,
        emit: Callable[[Progress], None],
        append: Callable[[Body], Entry],
        next_words: Callable[[], Message | None],
        guide: Guide | None = None,
    ) -> None:
        self._guide = guide
        self.asker = asker
        self.actor = actor
        self._log = log
        self._limits = limits
        self._emit = emit
        self._append = append
        self._next_words = next_words

    async def run(self, said: Message, stopper: Stopper) -> Ended:
        """Steps 1 to 7.

        Raises:
            Interrupted: The turn was ended; every call is answered.
        """
        self._steer()  # what an earlier turn was not told
        self._append(Said(said))
        turn = Turn()
        while True:
            try:
                ended = await self._round(turn, stopper)
            except Over as over:
                return over.why, over.text
            if ended is None:
                self._steer()
                continue
            if ended[0] == "done" and self._steer():
                turn = Turn()
                continue
            return ended

    def _steer(self) -> bool:
        """Write what the user has said meanwhile; whether there was anything."""
        heard = False
        while (words := self._next_words()) is not None:
            self._append(Said(words))
            heard = True
        return heard

    async def _round(self, turn: Turn, stopper: Stopper) -> Ended | None:
        """Steps 2 to 6; None: there is more to do."""
        if self._limits.turns_max is not None and turn.asked >= self._limits.turns_max:
            return "max_turns", f"stopped after {turn.asked} model calls"
        begun = begun_of(self._log.branch())
        if begun.guided and self._guide is not None:
            return await self._guided(self._guide, begun, turn, stopper)
        request, size = await self._fitting(begun, turn, stopper)
        answered = await self.asker.ask(request, begun, size, stopper)
        turn.asked += 1
        if isinstance(answered, Failed):
            return await self._failed(answered, turn, stopper)
        turn.squeezed = 0
        branch = self._log.branch()
        try:
            answered, found = understood(answered, answered.message, branch)
        except Exception as error:  # noqa: BLE001 - it was paid for, and must not be lost
            return self._not_understood(answered, error)
        rounds = brake.rounds_of(branch)
        self._append(answered)
        if found.calls:
            return await self._act(answered, found, rounds, turn, stopper)
        return self._without_calls(answered, turn)

    async def _guided(
        self, guide: Guide, begun: Begun, turn: Turn, stopper: Stopper
    ) -> Ended | None:
        """Steps 2 to 6 of a turn that a guide leads; it watches for repetition itself."""
        branch = self._log.branch()
        step = guide.step(branch)
        if isinstance(step, Finish):
            if step.why == "done":
                self._own((Text(step.text),), "end")
            return step.why, step.text
        if isinstance(step, Act):
            said = (Text(step.text), *step.calls) if step.text else step.calls
            message = Message("assistant", said)
            found = recover(message, begun.tools, cut=False, taken=call_ids(branch))
            self._own(found.message.parts, "tool_calls")
            await self.actor.act(found.calls, stopper)
            return None
        size = measure.size_of(step.request, ())
        answered = await self.asker.ask(step.request, begun, size, stopper)
        turn.asked += 1
        if isinstance(answered, Failed):
            turn.squeezed = _SQUEEZES_MAX  # a guide's request has nothing to summarise
            return await self._failed(answered, turn, stopper)
        try:
            answered, found = understood(answered, guide.read(branch, answered.message), branch)
        except Exception as error:  # noqa: BLE001 - as above
            return self._not_understood(answered, error)
        self._append(answered)
        if found.calls:
            await self.actor.act(found.calls, stopper)
        return None

    def _own(self, parts: tuple[Part, ...], stop: str) -> None:
        """A step of the program, written like an answer."""
        message = Message("assistant", parts)
        self._append(Answered(message=message, stop=stop, cost_nano=0, own=True))

    def _not_understood(self, answered: Answered, error: Exception) -> Ended:
        text = f"the answer cannot be read: {told(error)}"
        usage, cost_nano = answered.usage, answered.cost_nano
        partial = answered.message if answered.message.parts else None
        self._append(
            Broke(kind=UNREADABLE, text=text, partial=partial, usage=usage, cost_nano=cost_nano)
        )
        return "failed", text

    async def _fitting(self, begun: Begun, turn: Turn, stopper: Stopper) -> tuple[Request, Size]:
        """Step 2 and 3: a request that the window holds.

        Raises:
            Over: None does.
        """
        while True:
            branch = self._log.branch()
            request = request_of(branch)
            size = measure.size_of(request, branch)
            if not measure.full(size, begun.context_tokens):
                return request, size
            if turn.squeezed < 1 and await self.compact(stopper, tail=True) is not None:
                turn.squeezed += 1
                continue
            # It is over the share, but may fit: with little room for an answer.
            if size.about < begun.context_tokens - measure.LEAST_OUTPUT_TOKENS:
                return request, size
            raise Over(
                "context_full",
                f"the conversation has about {size.about} tokens, the window of {begun.model}"
                f" holds {begun.context_tokens}, and there is nothing left to summarise",
            )

    async def _failed(self, failed: Failed, turn: Turn, stopper: Stopper) -> Ended | None:
        if failed.kind == "context_too_long" and turn.squeezed < _SQUEEZES_MAX:
            turn.squeezed += 1
            if await self.compact(stopper, tail=False) is not None:
                return None
        if failed.kind == "context_too_long":
            return "context_full", failed.message
        if failed.kind == "budget_spent":
            return "budget", failed.message
        return "failed", failed.message

    def _without_calls(self, answered: Answered, turn: Turn) -> Ended | None:
        """Step 5."""
        if answered.stop in {"length", "context_full"}:
            turn.cuts += 1
            if turn.cuts >= _CUTS_MAX:
                return "truncated", "the answer was cut off at the limit of its length"
            self._notice(prompt_texts.CUT)
            return None
        if answered.stop == "refusal":
            return "failed", "the model refused to go on"
        if is_empty(answered):
            if turn.nudged:
                return "failed", "the model answered nothing, twice"
            turn.nudged = True
            self._notice(prompt_texts.NUDGE)
            return None
        return "done", answered.message.text()

    def _notice(self, text: str) -> None:
        self._append(Said(user(text), "notice"))

    async def _act(
        self,
        answered: Answered,
        found: Recovered,
        rounds: list[brake.Round],
        turn: Turn,
        stopper: Stopper,
    ) -> Ended | None:
        """Step 6."""
        calls = found.calls
        if answered.stop in {"length", "context_full"}:
            calls = self._cut(calls)
            turn.cuts += 1
        verdict = brake.judge(rounds, brake.signature([one.call for one in calls]))
        if verdict != "run":
            self.actor.refuse(calls, brake.ADVICE)
        else:
            await self.actor.act(calls, stopper)
        if verdict == "stop":
            return "repeated", "the model makes the same call again and again"
        rounds = brake.rounds_of(self._log.branch())
        if brake.hopeless(rounds):
            return "repeated", "the model runs into the same error again and again"
        if verdict == "run" and brake.tell_errors(rounds):
            self._notice(brake.ADVICE_ERRORS)
        if turn.cuts >= _CUTS_MAX:
            return "truncated", "the model's calls do not fit into its answers"
        return None

    def _cut(self, calls: tuple[Ready, ...]) -> tuple[Ready, ...]:
        """Of an answer cut at its limit the last call, where it could not be mended, is told so."""
        *whole, last = calls
        if not last.problem:
            return calls
        return (*whole, msgspec.structs.replace(last, problem=prompt_texts.CUT_CALL))

    async def compact(
        self, stopper: Stopper, instructions: str = "", *, tail: bool
    ) -> Compacted | None:
        """Have the conversation summarised, or with `tail` what of it is older.

        None where that is not possible.
        """
        branch = self._log.branch()
        plan = compaction.plan(branch, tail=tail)
        if plan is None:
            return None
        begun = begun_of(branch)
        self._emit(Noticed("summarising the conversation"))
        asked = self._summarisable(branch, begun, instructions)
        answered = await self.asker.ask(*asked, stopper)
        summary = "" if isinstance(answered, Failed) else answered.message.text().strip()
        if isinstance(answered, Failed) or not summary:
            if not isinstance(answered, Failed):
                text, usage, cost = "no summary", answered.usage, answered.cost_nano
                self._append(Broke(kind=EMPTY_SUMMARY, text=text, usage=usage, cost_nano=cost))
            self._emit(Noticed("the model could not summarise the conversation", "warning"))
            return None
        entry = self._append(
            Compacted(
                summary=summary,
                pinned=plan.pinned,
                keep_id=plan.keep_id,
                usage=answered.usage,
                cost_nano=answered.cost_nano,
            )
        )
        return entry.body if isinstance(entry.body, Compacted) else None

    def _summarisable(
        self, branch: tuple[Entry, ...], begun: Begun, instructions: str
    ) -> tuple[Request, Begun, Size]:
        """The request for a summary of as much as fits into the window beside it."""
        while True:
            request = compaction.request_for(branch, instructions)
            size = measure.size_of(request, branch)
            room = begun.context_tokens - measure.spare_tokens(begun.context_tokens) // 2
            shorter = _without_last_step(branch)
            if size.about <= room or not begun.context_tokens or shorter is None:
                return request, begun, size
            branch = shorter


def _without_last_step(branch: tuple[Entry, ...]) -> tuple[Entry, ...] | None:
    """The branch up to before its last words or answer; None where too little is left."""
    for place in range(len(branch) - 1, 1, -1):
        if isinstance(branch[place].body, Said | Answered):
            rest = branch[:place]
            said = any(isinstance(one.body, Answered | Used) for one in rest)
            return rest if said else None
    return None


def text_of(said: str | Message) -> Message:
    """Words of the user as a message."""
    return user(said) if isinstance(said, str) else said


def words_of(message: Message) -> str:
    """A message's text, for people."""
    return "".join(part.text for part in message.parts if isinstance(part, Text))
