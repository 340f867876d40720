"""Call: one model call on the gateway's road, and what has been seen of its answer."""

from collections.abc import AsyncGenerator, Callable, Iterable

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.events import Counted, Delta, Event, Finished, Started
from headrace.core.ids import new_id
from headrace.core.models import Usage
from headrace.core.requests import Request
from headrace.identity.keys import Caller
from headrace.ledger.charge import Bounds, Charge, Figures, Once
from headrace.ledger.records import GenerationClosed, GenerationOpened
from headrace.serving.engine import Passed
from headrace.serving.queue import Priority
from headrace.serving.router import Route
from headrace.serving.tracing import NO_TRACE, Operation, Trace

Item = Event | Passed
"""What an answer consists of: events, or the bytes of an upstream of the client's dialect."""

_NS_PER_MS = 1_000_000
_BYTES_PER_TOKEN = 4
_NO_BOUNDS = Bounds()
# No call has more of them, whatever an upstream says; sums of these still are integers of the
# database.
_TOKENS_MAX = (1 << 31) - 1


class Call:
    """One model call on the road, and what has been seen of it so far.

    `target` is who answers now; `not_carried` are the fields of the request that its dialect
    cannot express. `bounds` is what it can use at most, `charge` its money once it is admitted;
    `once` the work that it is a try of, where that is charged once. `price_nano` is what it was
    charged, None before it is settled and where no price is known. `unbilled_tokens` were made
    after its client had gone; `sent` is what an engine was given, by which it knows them.
    `on_opened` is called once it is admitted.
    """

    # Thousands of them may stand open; attributes in a dict take a kilobyte more for each.
    __slots__ = (
        "_caller",
        "_clock",
        "_estimated",
        "_first_token_ns",
        "_opened_with",
        "_produced",
        "_started_ns",
        "_thought",
        "_told",
        "_usage",
        "ability",
        "bounds",
        "charge",
        "conversation_id",
        "dialect",
        "error_kind",
        "id",
        "key_id",
        "lineage",
        "not_carried",
        "on_opened",
        "once",
        "opened_ns",
        "price_nano",
        "priority",
        "queued_as",
        "route",
        "scope",
        "sent",
        "settled",
        "stop",
        "streamed",
        "target",
        "trace",
        "unbilled_tokens",
        "waited_ns",
    )

    def __init__(self, caller: Caller, route: Route, dialect: str, clock: Clock) -> None:
        self.id = new_id(clock)
        self.route = route
        self.target = (*route.targets, *route.fallbacks)[0]
        self.not_carried: tuple[str, ...] = ()
        self.waited_ns = 0
        self.ability: Operation = "chat"
        self.priority: Priority = "interactive"
        self.streamed = False
        self.trace: Trace = NO_TRACE
        self.dialect = dialect
        self.settled = False
        self.bounds = _NO_BOUNDS
        self.charge: Charge | None = None
        self.once: Once | None = None
        self.conversation_id: str | None = None
        self.price_nano: int | None = None
        self.unbilled_tokens = 0
        self.sent: Request | None = None
        self.on_opened: Callable[[], None] | None = None
        self._usage = Usage()
        self._produced = self._thought = 0
        self._told = self._estimated = False
        self.key_id = caller.key_id
        # The chat has one key for many people, who are fair to each other as keys are.
        self.queued_as = f"{caller.key_id}:{caller.scope.account_id}"
        self.scope = caller.scope
        self.lineage = caller.lineage
        self._caller = caller
        self._opened_with = self.target.engine.info
        self._clock = clock
        self.opened_ns = clock.now_ns()
        self._started_ns = clock.monotonic_ns()
        self._first_token_ns: int | None = None
        self.stop = "cancelled"
        self.error_kind: str | None = None

    @property
    def usage(self) -> Usage:
        """What has been used so far; a cut answer is accounted to the last count received."""
        return msgspec.structs.replace(self._usage, output=self._produced, reasoning=self._thought)

    def see(self, item: Item | Counted) -> bool:
        """Take note of what is on its way out; whether it is the last."""
        if isinstance(item, Delta):
            if self._first_token_ns is None:
                self._first_token()
            self._produced, self._thought = item.output_tokens, item.reasoning_tokens
            return False
        if isinstance(item, Passed):
            return self._pass(item)
        if isinstance(item, Counted):
            self._produced, self._thought = item.output_tokens, item.reasoning_tokens
            return False
        usage = item.usage
        if usage is not None and (usage.input or usage.output):
            self._use(usage)
            self._told = not isinstance(item, Started)
        if isinstance(item, Started):
            return False
        if isinstance(item, Finished):
            self.stop = item.stop
        else:
            self.stop, self.error_kind = "failed", item.kind
        return True

    def tried(self, usage: Usage) -> None:
        """A target tells what it has used, though it may yet fail and another be asked."""
        if self.charge is not None:
            self.charge.used(_possible(usage))

    def received(self, held: Iterable[Item | Counted]) -> None:
        """What an engine had made when the client left, which it was about to get."""
        for item in held:
            self.see(item)

    def _pass(self, passed: Passed) -> bool:
        if self._first_token_ns is None:
            self._first_token()
        if passed.usage is not None:
            self._use(passed.usage)
            self._told = passed.told
        if not self._told and passed.output_tokens > self._produced:
            self._produced = passed.output_tokens
        if passed.stop is None:
            return False
        self.stop = passed.stop
        if not self._told and not self._produced:
            self._produced = len(passed.data) // _BYTES_PER_TOKEN
        return True

    def _first_token(self) -> None:
        self._first_token_ns = self._clock.monotonic_ns()
        if self.charge is not None:
            self.charge.first_token()

    def _use(self, usage: Usage) -> None:
        self._usage = usage = _possible(usage)
        self._produced, self._thought = usage.output, usage.reasoning

    @property
    def first_token_ms(self) -> int | None:
        """From its beginning to its first token, if there was one yet."""
        first_ns = self._first_token_ns
        return None if first_ns is None else _ms(first_ns - self._started_ns)

    def embedded(self, tokens: int) -> None:
        """So many tokens have become vectors so far."""
        self._usage = _possible(Usage(tokens))

    def refused(self, error: HeadraceError) -> None:
        """The engine would not take the call."""
        self.stop, self.error_kind = "failed", error.kind

    @property
    def charged(self) -> bool:
        """Whether what it has used is charged: not if it failed before its first token."""
        return self.error_kind is None or self._first_token_ns is not None

    def reckon(self) -> Usage:
        """What it has used, now that it has ended.

        Where an upstream never told, that is our own count: of the input by its length.
        """
        used = self._produced or self._first_token_ns is not None or self._has_vectors
        if used and not self._told and self.target.upstream is not None:
            self._estimated = True
            if not self._usage.input:
                self._usage = msgspec.structs.replace(self._usage, input=self.bounds.input_tokens)
        return self.usage

    @property
    def _has_vectors(self) -> bool:
        return self.ability == "embeddings" and self.stop == "end"

    def opened(self, charge: Charge) -> GenerationOpened:
        """The record that the call begins."""
        if self.on_opened is not None:
            self.on_opened()
        caller, price, once = self._caller, charge.price, self.once
        return GenerationOpened(
            id=self.id,
            organisation_id=caller.scope.organisation_id,
            account_id=caller.scope.account_id,
            key_id=caller.key_id,
            purpose=caller.purpose,
            model_id=self.route.model.id,
            release_digest=self._opened_with.digest,
            engine=self._opened_with.name,
            dialect=self.dialect,
            started_ns=self.opened_ns,
            team_id=self.lineage.team_id,
            conversation_id=self.conversation_id,
            idempotency_id=None if once is None else once.id,
            tier="batch" if self.bounds.tier == "batch" else None,
            price_id=None if price is None else price.id,
            held_nano=charge.held_nano,
        )

    def closed(self, usage: Usage, figures: Figures) -> GenerationClosed:
        """The record of what the call used, what that comes to, and how it ended."""
        now_ns = self._clock.monotonic_ns()
        info = self.target.engine.info
        other = info is not self._opened_with and info != self._opened_with
        return GenerationClosed(
            id=self.id,
            usage=usage,
            cost_nano=figures.cost_nano,
            first_token_ms=self.first_token_ms,
            duration_ms=_ms(now_ns - self._started_ns),
            stop=self.stop,
            error_kind=self.error_kind,
            release_digest=info.digest if other else None,
            engine=info.name if other else None,
            price_nano=figures.price_nano,
            loss_nano=figures.loss_nano,
            saved_nano=figures.saved_nano,
            entries=figures.entries,
            estimated=self._estimated or figures.estimated,
            images=self.bounds.images,
            machine_ns=figures.machine_ns,
            prefill_machine_ns=figures.prefill_machine_ns,
            unbilled_tokens=self.unbilled_tokens,
        )


def _possible(usage: Usage) -> Usage:
    """What was used, as far as that can be."""
    counts = msgspec.structs.astuple(usage)
    if min(counts) >= 0 and max(counts) <= _TOKENS_MAX:
        return usage
    return Usage(*(min(max(count, 0), _TOKENS_MAX) for count in counts))


def _ms(duration_ns: int) -> int:
    return round(duration_ns / _NS_PER_MS)


class Generation(msgspec.Struct, frozen=True):
    """One answer: it ends as an Engine's does; what it raises is of the core's tree."""

    call: Call
    items: AsyncGenerator[Item]

    @property
    def id(self) -> str:
        """The id of its receipt."""
        return self.call.id
