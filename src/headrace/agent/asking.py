"""One model call: retried where that may help, within the budget, and written into the log.

A stream that ends without Finished is no answer. What failed is an entry like any other; it is no
part of later requests, but its cost counts.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from headrace.agent import measure
from headrace.agent.endpoint import Endpoint
from headrace.agent.entries import Answered, Begun, Broke, Entry
from headrace.agent.log import Log
from headrace.agent.measure import Size
from headrace.agent.parts import Limits
from headrace.agent.progress import Asking, End, Noticed, Partial, Progress, Retrying
from headrace.agent.prompt import begun_of, cached
from headrace.agent.recover import Recovered, recover
from headrace.agent.stopper import Interrupted, Stopper
from headrace.core.clock import Clock
from headrace.core.events import Delta, Event, Failed, Finished, Started, fold
from headrace.core.messages import Message, ToolCall
from headrace.core.requests import Request
from headrace.ledger.prices import Rates, amount, worst

RETRIED = frozenset(
    {"overloaded", "rate_limited", "engine_failed", "engine_unavailable", "timed_out"}
)
EMPTY_SUMMARY = "empty_summary"
_NS_PER_MS = 1_000_000
# The server may have worked on it; all other failures without a beginning are refusals.
_PERHAPS_CHARGED = frozenset({"interrupted", "engine_failed", "timed_out"})


class Model(Protocol):
    """What a turn needs of a client."""

    endpoint: Endpoint

    def stream(
        self, request: Request, *, conversation_id: str | None = None
    ) -> AsyncGenerator[Event]:
        """One model call."""
        ...

    def cost_nano(self, generation_id: str | None) -> Coroutine[Any, Any, int | None]:
        """What the ledger charged for it."""
        ...


class Over(Exception):
    """The turn ends here: why, and in words for people."""

    def __init__(self, why: End, text: str) -> None:
        super().__init__(text)
        self.why: End = why
        self.text = text


class _Heard(msgspec.Struct):
    """What has come of one call."""

    events: list[Event]
    started: Started | None = None
    first_token_ms: int | None = None
    end: Finished | Failed | None = None

    def message(self) -> Message:
        return fold(self.events)


class Asker:
    """Makes the model calls of a session.

    Args:
        log: Where calls and failures are written.
        model: Who answers.
        clock: Time.
        limits: Of tries and money.
        rates: What tokens cost.
        emit: Takes progress.
        append: Writes an entry and tells of it.
        sleep: Waits for so many seconds.
        prefill_tokens_s: How fast the model reads.
    """

    def __init__(
        self,
        log: Log,
        model: Model,
        *,
        clock: Clock,
        limits: Limits,
        rates: Rates | None,
        emit: Callable[[Progress], None],
        append: Callable[[Answered | Broke], object],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        prefill_tokens_s: float | None = None,
    ) -> None:
        self.model = model
        self.spent_nano = 0
        self._log = log
        self._clock = clock
        self._limits = limits
        self.rates = rates
        self._emit = emit
        self._append = append
        self._sleep = sleep
        self.prefill_tokens_s = prefill_tokens_s

    async def ask(
        self, request: Request, begun: Begun, size: Size, stopper: Stopper
    ) -> Answered | Failed:
        """The answer, whole and counted but not yet written, or the failure, written.

        Raises:
            Over: The budget does not reach.
            Interrupted: It was ended; what had come is written.
        """
        for attempt in range(1, self._limits.attempts_max + 1):
            bounded = self._bounded(request, begun, size)
            self._tell(size)
            heard = _Heard([])
            begun_ns = self._clock.monotonic_ns()
            try:
                await stopper.run(self._hear(bounded, heard, begun_ns))
            except (Interrupted, asyncio.CancelledError):
                self._broke(Failed("interrupted", "interrupted"), heard, size, attempt)
                raise
            if isinstance(heard.end, Finished):
                heard.end = _cut_off(heard.end, bounded, size)
            if isinstance(heard.end, Finished):
                return self._answered(heard, heard.end, begun_ns, size)
            failed = heard.end or Failed("engine_failed", "the answer ended before it was whole")
            await self._lost(failed, heard, size, attempt, stopper)
            wait_s = self._wait_s(failed, attempt)
            if wait_s is None:
                return failed
            self._emit(Retrying(failed.message, wait_s, attempt + 1))
            await stopper.run(self._rest(wait_s))
        raise AssertionError("the last attempt returns")

    async def _rest(self, wait_s: float) -> None:
        await self._sleep(wait_s)

    def _bounded(self, request: Request, begun: Begun, size: Size) -> Request:
        """The request with its answer kept within window and budget."""
        endpoint = self.model.endpoint
        budget_nano = self._limits.budget_nano
        marked = endpoint.dialect == "anthropic"
        required = budget_nano is not None or (marked and not endpoint.ours)
        output = measure.output_tokens(request, size, begun.context_tokens, required=required)
        if budget_nano is not None and self.rates is not None:
            left_nano = budget_nano - self.spent_nano
            output = measure.affordable(self.rates, size, output or 0, left_nano)
            if output is None:
                raise Over("budget", "the budget does not reach for another model call")
        request = cached(request) if marked else request
        return msgspec.structs.replace(request, max_tokens=output)

    def _tell(self, size: Size) -> None:
        speed = self.prefill_tokens_s
        self._emit(
            Asking(
                input_tokens=size.about,
                new_tokens=size.new,
                prefill_s=size.new / speed if speed else None,
            )
        )

    async def _hear(self, request: Request, heard: _Heard, begun_ns: int) -> None:
        async with aclosing(self.model.stream(request, conversation_id=self._log.id)) as events:
            async for event in events:
                match event:
                    case Started():
                        heard.started = event
                    case Delta():
                        if heard.first_token_ms is None:
                            heard.first_token_ms = self._ms_since(begun_ns)
                        heard.events.append(event)
                        self._emit(Partial(event))
                    case Finished() | Failed():
                        heard.end = event

    def _answered(self, heard: _Heard, end: Finished, begun_ns: int, size: Size) -> Answered:
        answered = Answered(
            message=heard.message(),
            stop=end.stop,
            usage=end.usage,
            generation_id=heard.started and heard.started.generation_id,
            cost_nano=None if self.rates is None else amount(self.rates, end.usage),
            first_token_ms=heard.first_token_ms,
            duration_ms=self._ms_since(begun_ns),
        )
        if self.rates is not None:
            told = answered.cost_nano if end.usage.input else self._worst(heard, size)
            self.spent_nano += told or 0
        return answered

    async def _lost(
        self, failed: Failed, heard: _Heard, size: Size, attempt: int, stopper: Stopper
    ) -> None:
        """Write down what failed; what our own ledger says of it is not waited for in the end."""
        cost_nano = None
        try:
            if heard.started is not None and failed.usage is None:
                generation_id = heard.started.generation_id
                cost_nano = await stopper.run(self.model.cost_nano(generation_id))
        except Interrupted:
            pass  # the wait for the next try ends with it
        finally:
            self._broke(failed, heard, size, attempt, cost_nano)

    def _broke(
        self,
        failed: Failed,
        heard: _Heard,
        size: Size,
        attempt: int,
        cost_nano: int | None = None,
    ) -> None:
        """Write down what failed, with what it cost where that is known."""
        usage = failed.usage
        if self.rates is not None and usage is not None:
            cost_nano = amount(self.rates, usage)
        elif heard.started is None and failed.kind not in _PERHAPS_CHARGED:
            cost_nano = 0
        if self.rates is not None:
            # What nobody knows counts as the worst that it can be, so that a budget holds.
            self.spent_nano += self._worst(heard, size) if cost_nano is None else cost_nano
        message = heard.message()
        self._append(
            Broke(
                kind=failed.kind,
                text=failed.message,
                partial=message if message.parts else None,
                usage=usage,
                cost_nano=cost_nano,
                attempt=attempt,
            )
        )

    def _worst(self, heard: _Heard, size: Size) -> int:
        """The most that a call can have cost whose usage nobody told."""
        if self.rates is None:
            return 0
        said = sum(len(msgspec.json.encode(one)) for one in heard.events)
        told = max((e.output_tokens for e in heard.events if isinstance(e, Delta)), default=0)
        return worst(self.rates, size.most, max(said, told))

    def _wait_s(self, failed: Failed, attempt: int) -> float | None:
        """How long to wait before the next try; None: there is none."""
        if failed.kind not in RETRIED or attempt >= self._limits.attempts_max:
            return None
        wait_s = failed.retry_after_s
        if wait_s is None:
            wait_s = self._limits.retry_s * 2 ** (attempt - 1)
        if wait_s > self._limits.retry_s_max and failed.retry_after_s is not None:
            self._emit(Noticed(f"the server asks to wait for {wait_s:.0f} s", "error"))
            return None
        return min(wait_s, self._limits.retry_s_max)

    def _ms_since(self, begun_ns: int) -> int:
        return (self._clock.monotonic_ns() - begun_ns) // _NS_PER_MS


def _cut_off(end: Finished, request: Request, size: Size) -> Finished | Failed:
    """The end of an answer; a failure where the server has not read all that was asked."""
    window = measure.window_seen(end.usage.input, request, size)
    if window is None:
        return end
    text = (
        f"the server read {end.usage.input:,} tokens of a far longer prompt: it cuts"
        f" prompts off without a word, as if its window held {window:,} tokens. Give the server a"
        " longer one, such as OLLAMA_CONTEXT_LENGTH=32768 for Ollama or -c 32768 for llama-server,"
        " and say it again; the answer does not count"
    )
    return Failed("prompt_cut", text, usage=end.usage)


def understood(
    answered: Answered, message: Message, branch: Sequence[Entry]
) -> tuple[Answered, Recovered]:
    """An answer, read as `message`, with its calls, each with an id that no other of it has."""
    cut = answered.stop in {"length", "context_full"}
    found = recover(message, begun_of(branch).tools, cut=cut, taken=call_ids(branch))
    written = answered.message if found.message != answered.message else None
    return msgspec.structs.replace(answered, message=found.message, written=written), found


def call_ids(branch: Sequence[Entry]) -> list[str]:
    """The ids of all calls of a branch."""
    answers = [one.body.message for one in branch if isinstance(one.body, Answered)]
    return [p.id for message in answers for p in message.parts if isinstance(p, ToolCall)]


def is_empty(answered: Answered) -> bool:
    """Whether an answer says and calls nothing."""
    message = answered.message
    return not message.text().strip() and not any(
        isinstance(part, ToolCall) for part in message.parts
    )
