"""Reply: one running generation in memory, owned by no connection.

Its events are numbered without gaps. Deltas that come in a burst become one event. Events stay
here until they are stored; a reader that is further behind reads them from the store.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import TooLarge
from headrace.core.events import Delta, Failed, Finished, Started, join
from headrace.core.messages import Part, Text
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store.messages import Fault, Receipt, Status, TreeMessage
from headrace.store.replies import (
    UNFLUSHED_EVENTS_MAX,
    EventBatch,
    FinalReply,
    PartsBuilder,
    ReplyEvent,
)

_BURST_S = 0.02
_NS_PER_MS = 1_000_000
Cut = Literal["stopped", "interrupted", "deleted"]


class Reply:
    """A reply that runs.

    Args:
        message: As it stood in the store when it began to run.
        scope: Whose it is.
        clock: Measures durations.
        bytes_max: Bytes of events that it may produce in this run.
        on_event: Called when there is something to store.
    """

    def __init__(
        self,
        message: TreeMessage,
        scope: Scope,
        clock: Clock,
        *,
        bytes_max: int,
        on_event: Callable[[], None],
    ) -> None:
        self.message = message
        self.scope = scope
        self.base_seq = message.seq
        self.seq = message.seq
        self.final: TreeMessage | None = None
        self.ended = False
        self.cut: Cut | None = None
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._bytes_left = bytes_max
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._builder = PartsBuilder(message.parts)
        self._shift: int | None = None
        self._held: tuple[int, Part] | None = None
        self._release_timer: asyncio.TimerHandle | None = None
        self._published_s = 0.0
        # Encoded events after number `_window_seq`; those after `_stored_seq` are stored nowhere.
        self._window: list[bytes] = []
        self._window_seq = message.seq
        self._stored_seq = message.seq
        self._started_ns = clock.monotonic_ns()
        self._first_ns: int | None = None
        self._usage = Usage()
        self._generation_id: str | None = None
        self._generation_stored = False
        self._end: Finished | Failed | None = None

    def see(self, event: Started | Delta | Finished | Failed) -> None:
        """Take in the next event of the model call.

        Raises:
            TooLarge: The reply outgrew a limit.
        """
        if isinstance(event, Delta):
            self._add(event)
        elif isinstance(event, Started):
            self._generation_id = event.generation_id
            self._usage = event.usage
        else:
            self._end = event

    def changed(self) -> asyncio.Event:
        """Is set when there is more to read than now, or the end."""
        return self._changed

    def snapshot(self) -> tuple[tuple[Part, ...], int]:
        """All parts, and the number of the last event they cover."""
        self._release()
        return self._builder.parts(), self.seq

    def events_after(self, seq: int) -> list[bytes] | None:
        """Encoded events after number `seq`; None when they must be read from the store."""
        if seq < self._window_seq:
            return None
        return self._window[seq - self._window_seq :]

    def take_batch(self) -> EventBatch | None:
        """What is not stored yet."""
        self._release()
        payloads = self._window[self._stored_seq - self._window_seq :]
        if not payloads:
            return None
        payload = b"[" + b",".join(payloads) + b"]"
        generation_id = None if self._generation_stored else self._generation_id
        return EventBatch(self.scope, self.message.id, self.seq, payload.decode(), generation_id)

    def stored(self, batch: EventBatch) -> None:
        """The batch is safe. Its events stay in memory until the next one is, for the readers."""
        del self._window[: self._stored_seq - self._window_seq]
        self._window_seq, self._stored_seq = self._stored_seq, batch.seq
        self._generation_stored |= batch.generation_id is not None

    def final_reply(self, broken: BaseException | None) -> FinalReply:
        """What to store now that nothing more will come."""
        status, stop, error = self._outcome(broken)
        parts, seq = self.snapshot()
        duration_ns = self._clock.monotonic_ns() - self._started_ns
        usage = self._usage
        receipt = Receipt(
            stop=stop,
            input_tokens=usage.input,
            cached_tokens=usage.cached,
            output_tokens=usage.output,
            first_token_ms=None if self._first_ns is None else self._first_ns // _NS_PER_MS,
            duration_ms=duration_ns // _NS_PER_MS,
        )
        return FinalReply(status, parts, seq, self._generation_id, receipt, error)

    def end(self, final: TreeMessage | None) -> None:
        """Tell the readers that the message is final, or gone."""
        self.final, self.ended = final, True
        self._wake()

    def _outcome(self, broken: BaseException | None) -> tuple[Status, str, Fault | None]:
        if isinstance(self._end, Finished):
            self._usage = self._end.usage
            return "done", self._end.stop, None
        if isinstance(self._end, Failed):
            self._usage = self._end.usage or self._usage
            return "error", "failed", Fault(self._end.kind, self._end.message)
        if broken is None and self.cut is not None:
            return "stopped" if self.cut == "stopped" else "interrupted", "cancelled", None
        if isinstance(broken, TooLarge):
            return "error", "cancelled", Fault(broken.kind, broken.message, broken.hint)
        return "error", "failed", Fault("internal", "Headrace made a mistake; its log says more")

    def _add(self, delta: Delta) -> None:
        if self._first_ns is None:
            self._first_ns = self._clock.monotonic_ns() - self._started_ns
        if self._bytes_left < 0:
            raise TooLarge("the reply grew longer than a message may be")
        if self.seq - self._stored_seq >= UNFLUSHED_EVENTS_MAX:
            raise TooLarge("the reply came faster than it could be stored")
        if self._shift is None:
            self._shift = self._first_index(delta)
        index = self._shift + delta.index
        if self._held is not None and self._held[0] == index:
            self._held = index, join(self._held[1], delta.part)
        else:
            self._release()
            self._held = index, delta.part
        wait_s = self._published_s + _BURST_S - self._loop.time()
        if wait_s <= 0:
            self._release()
        elif self._release_timer is None:
            self._release_timer = self._loop.call_later(wait_s, self._release)
        self._on_event()

    def _first_index(self, delta: Delta) -> int:
        """Where part 0 of this run goes: text continues text, all else begins a part."""
        parts = self.message.parts
        if parts and isinstance(parts[-1], Text) and isinstance(delta.part, Text):
            return len(parts) - 1
        return len(parts)

    def _release(self) -> None:
        """Publish what was held back for its burst."""
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        if self._held is None:
            return
        (index, part), self._held = self._held, None
        self._builder.add(index, part)
        self.seq += 1
        self._published_s = self._loop.time()
        payload = msgspec.json.encode(ReplyEvent(self.seq, index, part))
        self._bytes_left -= len(payload)
        self._window.append(payload)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
