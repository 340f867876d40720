"""Output items of a Responses answer as they grow, and the events that tell of it."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from headrace.core.events import Delta, TokenLogprob
from headrace.core.messages import Text, Thinking, ToolCall

Telling = tuple[str, dict[str, Any]]
"""An event: its type and its fields, without sequence number."""
Status = Literal["in_progress", "completed", "incomplete"]

_SAY = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":'
)
_LOGPROB_MIN = -9999.0  # what OpenAI writes for "never"; JSON has no infinity


class Message:
    """A message with one text."""

    def __init__(self, reply_id: str, index: int) -> None:
        self._id = f"msg_{reply_id}_{index}"
        self._item = {"item_id": self._id, "output_index": index}
        self._at = {**self._item, "content_index": 0}
        # A text is most of what is told, so its place is written once.
        self._place = msgspec.json.encode(self._at)[1:-1]
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def wire(self, status: Status) -> dict[str, Any]:
        """The item; empty as long as it is in progress."""
        return {
            "id": self._id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [] if status == "in_progress" else [self._part()],
        }

    def open(self) -> Iterator[Telling]:
        """What is told before the first delta."""
        yield "response.content_part.added", {**self._at, "part": self._part()}

    def grow(self, delta: Delta) -> Iterator[Telling]:
        """Take more of the text."""
        text, logprobs = _text_of(delta.part), _logprobs(delta.logprobs)
        self._pieces.append(text)
        self._logprobs += logprobs
        if text or logprobs:
            more = {**self._at, "delta": text, "logprobs": logprobs}
            yield "response.output_text.delta", more

    def say(self, text: str, sequence: int) -> bytes:
        """Take more of the text, and tell it: what `grow` amounts to on the wire, but fast."""
        self._pieces.append(text)
        delta = msgspec.json.encode(text)
        return b'%b%d,%b,"delta":%b,"logprobs":[]}\n\n' % (_SAY, sequence, self._place, delta)

    def close(self) -> Iterator[Telling]:
        """What is told after the last delta."""
        part = self._part()
        told = {**self._at, "text": part["text"], "logprobs": part["logprobs"]}
        yield "response.output_text.done", told
        yield "response.content_part.done", {**self._at, "part": part}

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "annotations": [],
            "logprobs": list(self._logprobs),
            "text": "".join(self._pieces),
        }


class FunctionCall:
    """A function call; `names` tells which names stand for a function in a namespace."""

    def __init__(
        self, reply_id: str, index: int, call: ToolCall, names: dict[str, tuple[str, str]]
    ) -> None:
        self._id = f"fc_{reply_id}_{index}"
        self._item = {"item_id": self._id, "output_index": index}
        self._called: dict[str, Any] = {"call_id": call.id, "name": call.name}
        if call.name in names:
            namespace, name = names[call.name]
            self._called |= {"name": name, "namespace": namespace}
        self._pieces: list[str] = []

    def wire(self, status: Status) -> dict[str, Any]:
        """The item; without arguments as long as it is in progress."""
        arguments = "" if status == "in_progress" else "".join(self._pieces)
        item = {"id": self._id, "type": "function_call", "status": status, "arguments": arguments}
        return item | self._called

    def open(self) -> Iterator[Telling]:
        """What is told before the first delta: nothing."""
        yield from ()

    def grow(self, delta: Delta) -> Iterator[Telling]:
        """Take more of the arguments."""
        arguments = _text_of(delta.part)
        self._pieces.append(arguments)
        if arguments:
            more = {**self._item, "delta": arguments}
            yield "response.function_call_arguments.delta", more

    def close(self) -> Iterator[Telling]:
        """What is told after the last delta."""
        told = {**self._item, "arguments": "".join(self._pieces)}
        yield "response.function_call_arguments.done", told


class Reasoning:
    """Reasoning: as its summary where one was asked for, else as its text.

    What local models think is not summed up; but clients show only summaries to people, and
    send only those back.
    """

    def __init__(self, reply_id: str, index: int, *, summarise: bool) -> None:
        self._id = f"rs_{reply_id}_{index}"
        item = {"item_id": self._id, "output_index": index}
        self._at = item | {"summary_index" if summarise else "content_index": 0}
        self._summarise = summarise
        self._type = "summary_text" if summarise else "reasoning_text"
        self._event = f"response.reasoning_{self._type.removeprefix('reasoning_')}"
        self._pieces: list[str] = []
        self._encrypted: str | None = None

    def wire(self, status: Status) -> dict[str, Any]:
        """The item; empty as long as it is in progress."""
        said = [self._part()] if self._pieces and status != "in_progress" else []
        item: dict[str, Any] = {
            "id": self._id,
            "type": "reasoning",
            "status": status,
            "summary": said if self._summarise else [],
            "encrypted_content": None if status == "in_progress" else self._encrypted,
        }
        return item if self._summarise else item | {"content": said}

    def open(self) -> Iterator[Telling]:
        """What is told before the first delta: nothing, as there may come no text at all."""
        yield from ()

    def grow(self, delta: Delta) -> Iterator[Telling]:
        """Take more of the text, or what only the provider can read."""
        if isinstance(delta.part, Thinking) and delta.part.redacted is not None:
            self._encrypted = delta.part.redacted
        text = _text_of(delta.part)
        if not text:
            return
        if not self._pieces and self._summarise:
            told = {**self._at, "part": {"type": self._type, "text": ""}}
            yield "response.reasoning_summary_part.added", told
        self._pieces.append(text)
        yield f"{self._event}.delta", {**self._at, "delta": text}

    def close(self) -> Iterator[Telling]:
        """What is told after the last delta."""
        if not self._pieces:
            return
        part = self._part()
        yield f"{self._event}.done", {**self._at, "text": part["text"]}
        if self._summarise:
            yield "response.reasoning_summary_part.done", {**self._at, "part": part}

    def _part(self) -> dict[str, Any]:
        return {"type": self._type, "text": "".join(self._pieces)}


Item = Message | FunctionCall | Reasoning


def item_of(
    part: Text | Thinking | ToolCall,
    reply_id: str,
    index: int,
    *,
    names: dict[str, tuple[str, str]],
    summarise: bool,
) -> Item:
    """A new item for an answer's part."""
    match part:
        case Text():
            return Message(reply_id, index)
        case ToolCall():
            return FunctionCall(reply_id, index, part, names)
        case Thinking():
            return Reasoning(reply_id, index, summarise=summarise)


def _text_of(part: Text | Thinking | ToolCall) -> str:
    return part.arguments if isinstance(part, ToolCall) else part.text


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [_logprob(one) | {"top_logprobs": [_logprob(top) for top in one.top]} for one in tokens]


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    logprob = max(one.logprob, _LOGPROB_MIN)
    return {"token": one.token, "logprob": logprob, "bytes": list(one.bytes)}
