"""Session: a log, a model, tools and rules, and what a face may ask of them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

from headrace.agent import compaction
from headrace.agent.acting import Actor
from headrace.agent.asking import Asker, Model, Over
from headrace.agent.entries import (
    BEFORE,
    Answered,
    Begun,
    Body,
    Broke,
    Compacted,
    Entry,
    Said,
    Set,
    Turned,
)
from headrace.agent.failures import told
from headrace.agent.guide import Guide
from headrace.agent.log import Log
from headrace.agent.loop import Loop, text_of, words_of
from headrace.agent.parts import Limits, Policy, Snapshots, Spent
from headrace.agent.progress import End, Human, Listener, Logged, Noticed, Progress
from headrace.agent.prompt import begun_of, compaction_of
from headrace.agent.stopper import Interrupted, Stopper
from headrace.agent.tools import Tool
from headrace.core.clock import Clock
from headrace.core.errors import (
    BudgetSpent,
    ConfigError,
    Conflict,
    InvalidRequest,
    NotFound,
    StoreError,
)
from headrace.core.messages import Message
from headrace.ledger.prices import Rates


class Session:
    """A conversation with a model that has tools.

    Args:
        log: Where all of it is written; what is in it already is gone on from.
        client: Where the model answers.
        tools: What the model may use, in the order of `Begun.tools`.
        policy: Decides about each use.
        human: Who is asked; None: whatever would be asked is refused.
        clock: Time.
        snapshots: Keeps the files around each use that may change some.
        limits: What it may use.
        rates: What tokens cost; without, a budget is refused.
        prefill_tokens_s: The model's speed of reading, where it was measured.
        sleep: How to wait before a retry.
        guide: Leads the turns of a model that cannot explore.

    Raises:
        ConfigError: There is a budget, but nobody knows what tokens cost.
    """

    def __init__(
        self,
        log: Log,
        client: Model,
        *,
        tools: tuple[Tool, ...],
        policy: Policy,
        human: Human | None,
        clock: Clock,
        snapshots: Snapshots | None = None,
        limits: Limits | None = None,
        rates: Rates | None = None,
        prefill_tokens_s: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        guide: Guide | None = None,
    ) -> None:
        self._limits = limits = limits or Limits()
        self._affords(rates)
        self.log = log
        self.policy = policy
        self._listeners: list[Listener] = []
        self._waiting: deque[Message] = deque()
        self._stopper: Stopper | None = None
        self._snapshots = snapshots
        self._human = human
        self._clock = clock
        asker = Asker(
            log,
            client,
            clock=clock,
            limits=limits,
            rates=rates,
            emit=self._emit,
            append=self._append,
            sleep=sleep,
            prefill_tokens_s=prefill_tokens_s,
        )
        self._loop = Loop(
            log,
            asker=asker,
            actor=self._actor(tools),
            limits=limits,
            emit=self._emit,
            append=self._append,
            next_words=lambda: self._waiting.popleft() if self._waiting else None,
            guide=guide,
        )

    def begin(
        self,
        begun: Begun,
        *,
        client: Model | None = None,
        tools: tuple[Tool, ...] | None = None,
        rates: tuple[Rates | None, float | None] | None = None,
    ) -> None:
        """Say what requests are made with from now on; needed once before the first turn.

        `rates` are the model's prices, and how fast it reads. Where it raises, all is as it was.

        Raises:
            Conflict: A turn is running.
            ConfigError: There is a budget, but nobody knows what tokens cost.
            InvalidRequest: The tools are others than those that the model is told of.
            StoreError: The log cannot be written.
        """
        self._free()
        if rates is not None:
            self._affords(rates[0])
        actor = self._loop.actor if tools is None else self._actor(tools)
        if tuple(actor.tools) != tuple(tool.name for tool in begun.tools):
            raise InvalidRequest("the tools of a session must be those that its model is told of")
        entry = self.log.append(begun)
        self._loop.actor = actor
        if client is not None:
            self._loop.asker.model = client
        if rates is not None:
            self._loop.asker.rates, self._loop.asker.prefill_tokens_s = rates
        self._logged(entry)

    def _affords(self, rates: Rates | None) -> None:
        if self._limits.budget_nano is not None and rates is None:
            raise ConfigError(
                "a budget needs the price of the model, and nobody tells it",
                hint="set a price, or leave the budget out",
            )

    async def turn(self, said: str | Message) -> End:
        """Work on what the user says until the model has nothing more to do.

        Raises:
            Conflict: A turn is running; `queue` is for that.
            StoreError: The log cannot be written.
            Exception: What nobody expected; its turn ended as `failed`.
        """
        stopper = self._begin_work()
        try:
            why, text = await self._loop.run(text_of(said), stopper)
        except Interrupted:
            why, text = "interrupted", ""
        except BaseException as error:
            by_hand = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
            with suppress(StoreError):  # it may be the log that failed
                self._end("interrupted" if by_hand else "failed", "" if by_hand else told(error))
            raise
        finally:
            self._stopper = None
        self._end(why, text)
        return why

    def _end(self, why: End, text: str) -> None:
        """Write how the turn ended; what was said meanwhile and not told is not lost."""
        self._append(Turned(why, text))
        if self._waiting:
            words = " / ".join(self.queued())
            self._emit(Noticed(f"not told yet, the next turn begins with it: {words}", "warning"))

    @property
    def running(self) -> bool:
        """Whether a turn is running."""
        return self._stopper is not None

    @property
    def human(self) -> Human | None:
        """Who is asked; may be set between turns."""
        return self._human

    @human.setter
    def human(self, human: Human | None) -> None:
        self._human = self._loop.actor.human = human

    def interrupt(self) -> None:
        """End the turn at once; what runs is stopped. Nothing happens where none runs."""
        if self._stopper is not None:
            self._stopper.stop()

    def queue(self, said: str | Message) -> None:
        """Say something while it works: told to the model as soon as its tools have run."""
        self._waiting.append(text_of(said))

    def queued(self) -> tuple[str, ...]:
        """What waits to be told."""
        return tuple(words_of(one) for one in self._waiting)

    def unqueue(self) -> tuple[str, ...]:
        """Take back what waits to be told."""
        words = self.queued()
        self._waiting.clear()
        return words

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear all progress, in order; returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def compact(self, instructions: str = "") -> Compacted | None:
        """Have what is older summarised; None where it was interrupted, or no summary came of it.

        Raises:
            Conflict: A turn is running, or nothing was answered that could be summarised.
            BudgetSpent: The budget does not reach for the model call.
        """
        stopper = self._begin_work()
        try:
            if compaction.plan(self.log.branch(), tail=False) is None:
                raise Conflict("there is nothing to summarise yet")
            return await self._loop.compact(stopper, instructions, tail=False)
        except Over as over:
            raise BudgetSpent(over.text) from None
        except Interrupted:
            self._emit(Noticed("interrupted: nothing is summarised", "warning"))
            return None
        finally:
            self._stopper = None

    def compacted(self) -> Compacted | None:
        """The summary in effect."""
        return compaction_of(self.log.branch())

    def edit_compaction(self, summary: str) -> Compacted:
        """Put other words in place of the summary in effect.

        Raises:
            Conflict: A turn is running.
            NotFound: Nothing is compacted.
            InvalidRequest: The words are empty.
        """
        self._free()
        if not summary.strip():
            raise InvalidRequest("a summary needs words; `undo` puts the conversation back")
        edited = compaction.edited(self.log.branch(), summary)
        if edited is None:
            raise NotFound("nothing is summarised in this session")
        self._append(edited)
        return edited

    def undo_compaction(self) -> bool:
        """Send the whole conversation again; False where nothing is compacted.

        Raises:
            Conflict: A turn is running.
        """
        self._free()
        undone = compaction.undone(self.log.branch())
        if undone is not None:
            self._append(undone)
        return undone is not None

    async def rewind(
        self, entry_id: str, *, files: bool = True, conversation: bool = True
    ) -> Message:
        """Go back to before something that the user said.

        Args:
            entry_id: The `Said` entry.
            files: Put the files back to what they were then.
            conversation: Forget for the model what came since.

        Returns:
            What the user had said, to be said anew.

        Raises:
            Conflict: A turn is running.
            NotFound: It is no entry of the session in which the user speaks.
        """
        self._begin_work()
        try:
            return await self._rewound(entry_id, files=files, conversation=conversation)
        finally:
            self._stopper = None

    async def _rewound(self, entry_id: str, *, files: bool, conversation: bool) -> Message:
        branch = self.log.branch()
        place = next((n for n, one in enumerate(branch) if one.id == entry_id), None)
        said = None if place is None else branch[place].body
        if place is None or not isinstance(said, Said):
            raise NotFound(f"the user says nothing in an entry {entry_id} of this session")
        snapshot = next((_before(one) for one in branch[place:] if _before(one)), None)
        restored = None
        if files and snapshot is not None and self._snapshots is not None:
            await self._snapshots.restore(snapshot)
            restored = snapshot
        if conversation and place:
            self._logged(self.log.move(branch[place - 1].id, restored))
        elif files:
            self._append(Set("restored", restored or ""))
        return said.message

    def cost(self) -> Spent:
        """What the calls of this session cost, those of abandoned branches too."""
        costs = [
            entry.body.cost_nano
            for entry in self.log.all()
            if (isinstance(entry.body, Answered) and not entry.body.own)
            or isinstance(entry.body, Broke)
            or (isinstance(entry.body, Compacted) and entry.body.usage is not None)
        ]
        known = [cost for cost in costs if cost is not None]
        return Spent(sum(known), len(costs), len(costs) - len(known))

    def set_mode(self, mode: str) -> None:
        """Change the permission mode; it holds from the next call on."""
        self.policy.mode = mode
        self._append(Set("mode", mode))

    def set_name(self, name: str) -> None:
        """Name the session."""
        self._append(Set("name", name))

    def setting(self, name: Literal["mode", "name"]) -> str | None:
        """What was set last."""
        for entry in reversed(self.log.branch()):
            if isinstance(entry.body, Set) and entry.body.name == name:
                return entry.body.value
        return None

    @property
    def begun(self) -> Begun:
        """What requests are made with.

        Raises:
            InvalidRequest: `begin` was never called.
        """
        return begun_of(self.log.branch())

    def _actor(self, tools: tuple[Tool, ...]) -> Actor:
        return Actor(
            tools,
            policy=self.policy,
            human=self._human,
            snapshots=self._snapshots,
            clock=self._clock,
            emit=self._emit,
            append=self._append,
        )

    def _begin_work(self) -> Stopper:
        self._free()
        begun_of(self.log.branch())
        self._stopper = Stopper()
        return self._stopper

    def _free(self) -> None:
        if self._stopper is not None:
            raise Conflict("the session is at work; interrupt it first")

    def _append(self, body: Body) -> Entry:
        return self._logged(self.log.append(body))

    def _logged(self, entry: Entry) -> Entry:
        self._emit(Logged(entry))
        return entry

    def _emit(self, progress: Progress) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(progress)
            except Exception as error:  # noqa: BLE001 - a face that breaks may not break the work
                told(error)

    def notice(self, text: str) -> None:
        """Tell every face something."""
        self._emit(Noticed(text))


def _before(entry: Entry) -> str | None:
    body = entry.body
    return body.value if isinstance(body, Set) and body.name == BEFORE else None
