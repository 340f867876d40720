"""Responses answers to the wire: stream events, whole replies."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.core.events import Delta, Event, Failed, Finished, Started, Stop, TokenLogprob, fold
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.models import Usage
from headrace.wire import free_text, sse
from headrace.wire.openai_errors import code_of
from headrace.wire.openai_responses_items import Item, Message, Status, Telling, item_of
from headrace.wire.openai_responses_request import Echo

_json = msgspec.json.encode

INCOMPLETE_REASONS: dict[Stop, str] = {
    "length": "max_output_tokens",
    "context_full": "max_output_tokens",
    "refusal": "content_filter",
}
"""Why an answer is incomplete; with any other stop it is completed."""

_FAILURES = {
    "budget_spent": "rate_limit_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "invalid_request": "invalid_prompt",
    "context_too_long": "invalid_prompt",
    "unsupported": "invalid_prompt",
    "too_large": "invalid_prompt",
}
"""Codes of failed responses, which are coarser than those of errors; else `server_error`."""


class StreamEncoder:
    """Writes events as Responses stream events, one open item at a time.

    Args:
        reply_id: The answer's id; the wire shows it after `resp_`.
        created_s: When the answer began, in seconds since 1970.
        model: The name the caller asked for.
        echo: What the response repeats of its request.
        now_s: Gives the time in seconds since 1970, for when the answer is completed.
    """

    def __init__(
        self, *, reply_id: str, created_s: int, model: str, echo: Echo, now_s: Callable[[], int]
    ) -> None:
        self._reply_id = reply_id
        self._echo = echo
        self._now_s = now_s
        self._constant = b'{"id":%b,"object":"response","created_at":%d,"model":%b%b,' % (
            _json(f"resp_{reply_id}"),
            created_s,
            _json(model),
            b"," + echo.fields if echo.fields else b"",
        )
        self._sequence = 0
        self._part: int | None = None
        self._item: Item | None = None
        self._done: list[dict[str, Any]] = []
        self._calls = free_text.Calls(echo.custom) if echo.custom else None
        self.response: msgspec.Raw | None = None

    def encode(self, event: Event) -> bytes:
        """The bytes that tell of `event`, in order; after the last, `response` is the whole."""
        if self._calls is None:
            return self._encode(event)
        return b"".join(map(self._encode, self._calls.take(event)))

    def _encode(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Started):
            return self._start()
        if isinstance(event, Finished):
            return self._finish(event)
        return self._fail(event)

    def keep_alive(self) -> bytes:
        """A comment, which clients pass over."""
        return sse.KEEP_ALIVE

    def _start(self) -> bytes:
        response = self._response("in_progress")
        return self._tell(
            ("response.created", {"response": response}),
            ("response.in_progress", {"response": response}),
        )

    def _delta(self, event: Delta) -> bytes:
        part, out = event.part, b""
        if self._item is None or self._part != event.index:
            out = self._close("completed")
            self._part = event.index
            self._item = item_of(
                part,
                self._reply_id,
                len(self._done),
                names=self._echo.names,
                custom=self._echo.custom,
                summarise=self._echo.summarise,
            )
            out += self._tell(self._item_event("added", "in_progress"), *self._item.open())
        if isinstance(part, Text) and isinstance(self._item, Message) and not part.citations:
            return out + self._say(self._item, part.text, event)
        return out + self._tell(*self._item.grow(event))

    def _say(self, item: Message, text: str, event: Delta) -> bytes:
        if event.logprobs:
            return self._tell(*item.grow(event))
        if not text:
            return b""
        said = item.say(text, self._sequence)
        self._sequence += 1
        return said

    def _close(self, status: Status) -> bytes:
        """End the open item, if there is one."""
        if self._item is None:
            return b""
        out = self._tell(*self._item.close(), self._item_event("done", status))
        self._done.append(self._item.wire(status))
        self._item = None
        return out

    def _item_event(self, what: str, status: Status) -> Telling:
        item = self._item.wire(status) if self._item else None
        return f"response.output_item.{what}", {"output_index": len(self._done), "item": item}

    def _finish(self, event: Finished) -> bytes:
        reason = INCOMPLETE_REASONS.get(event.stop)
        status: Status = "completed" if reason is None else "incomplete"
        out = self._close(status)
        fields: dict[str, Any] = {"usage": _usage(event.usage)}
        if reason is None:
            fields["completed_at"] = self._now_s()
        else:
            fields["incomplete_details"] = {"reason": reason}
        self.response = self._response(status, **fields)
        return out + self._tell((f"response.{status}", {"response": self.response}))

    def _fail(self, event: Failed) -> bytes:
        out = b"" if self._sequence else self._start()
        if self._item is not None:
            self._done.append(self._item.wire("incomplete"))
            self._item = None
        error = failure_of(event.kind, event.message)
        usage = None if event.usage is None else _usage(event.usage)
        self.response = self._response("failed", error=error, usage=usage)
        code = code_of(event.kind) or error["code"]
        told = {"code": code, "message": event.message, "param": None}
        return out + self._tell(("error", told), ("response.failed", {"response": self.response}))

    def _response(self, status: str, **fields: object) -> msgspec.Raw:
        """The whole response as it stands."""
        varying = {
            "status": status,
            "output": self._done,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "usage": None,
        } | fields
        return msgspec.Raw(self._constant + _json(varying)[1:])

    def _tell(self, *events: Telling) -> bytes:
        out = b""
        for kind, fields in events:
            told = {"type": kind, "sequence_number": self._sequence, **fields}
            self._sequence += 1
            out += sse.frame(_json(told), kind.encode())
        return out


def failure_of(kind: str, message: str) -> dict[str, str]:
    """The `error` of a failed response."""
    return {"code": _FAILURES.get(kind, "server_error"), "message": message}


def encode_reply(
    events: Sequence[Event], *, reply_id: str, created_s: int, model: str, echo: Echo
) -> bytes:
    """The whole answer as one `response`: the one that a stream would end with.

    Raises:
        ValueError: The events do not end with Finished; a failure is answered as an error.
    """
    match events:
        case [*_, Finished() as finished]:
            pass
        case _:
            raise ValueError("only an answer that is Finished has a reply")
    encoder = StreamEncoder(
        reply_id=reply_id, created_s=created_s, model=model, echo=echo, now_s=lambda: created_s
    )
    for delta in _joined(events):
        encoder.encode(delta)
    encoder.encode(finished)
    return bytes(encoder.response or b"")


def _joined(events: Sequence[Event]) -> list[Delta]:
    """One delta for each part."""
    logprobs: dict[int, list[TokenLogprob]] = {}
    for event in events:
        if isinstance(event, Delta):
            logprobs.setdefault(event.index, []).extend(event.logprobs)
    return [
        Delta(index, part, logprobs=tuple(logprobs[index]))
        for index, part in zip(sorted(logprobs), fold(events).parts, strict=True)
        if isinstance(part, Text | Thinking | ToolCall)
    ]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_written,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
