"""Lines of JSON both ways, in the shapes of Claude Code, so that programs that drive it drive us.

Out: system/init, assistant, user, stream_event, result and control messages, one object a line.
In: user messages, control requests and answers to ours.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from headrace.agent.entries import Answered, Used
from headrace.agent.tools import Diff, Output
from headrace.core.events import Delta
from headrace.core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult
from headrace.core.models import Usage

_LINE_BYTES_MAX = 64 * 1024 * 1024
_READ_BYTES = 65_536

STOPS = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "context_full": "model_context_window_exceeded",
}


class Writer:
    """Writes whole lines to a descriptor; what nobody reads any more is dropped."""

    def __init__(self, descriptor: int, session_id: str) -> None:
        self.session_id = session_id
        self._descriptor = descriptor
        self._gone = False

    def message(self, kind: str, **fields: object) -> None:
        """One message of the session."""
        self.write(
            {"type": kind, **fields, "session_id": self.session_id, "uuid": str(uuid.uuid4())}
        )

    def write(self, value: object) -> None:
        """One line."""
        if self._gone:
            return
        data = memoryview(msgspec.json.encode(value) + b"\n")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            self._gone = True


class Lines:
    """Cuts pieces of an input into lines; the work grows with its bytes, however they come.

    Args:
        bytes_max: What is longer is passed over up to its end, and given as None.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = bytearray()
        self._passing = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that end in `data`."""
        *ends, last = data.split(b"\n")
        for end in ends:
            yield from self._hold(end)
            yield from self.rest()
        yield from self._hold(last)

    def rest(self) -> Iterator[bytes]:
        """The line as far as it has come; it ends here."""
        if not self._passing:
            yield bytes(self._held)
        self._held, self._passing = bytearray(), False

    def _hold(self, piece: bytes) -> Iterator[None]:
        if self._passing:
            return
        self._held += piece
        if len(self._held) > self._bytes_max:
            self._held, self._passing = bytearray(), True
            yield None


class Reader:
    """Reads lines in a thread of its own; files, pipes and terminals are read alike.

    Args:
        descriptor: What is read.
        take: Called in that thread with each object, and with None at the end.
        refuse: Called in that thread with what is wrong about a line.
    """

    def __init__(
        self,
        descriptor: int,
        take: Callable[[dict[str, Any] | None], None],
        refuse: Callable[[str], None],
    ) -> None:
        self._descriptor = descriptor
        self._take = take
        self._refuse = refuse
        # A daemon: nothing can wake a thread that waits for a terminal.
        threading.Thread(target=self._run, daemon=True, name="stdin").start()

    def _run(self) -> None:
        lines = Lines(_LINE_BYTES_MAX)
        while True:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except OSError:
                data = b""
            for line in lines.feed(data) if data else lines.rest():
                self._line(line)
            if not data:
                self._take(None)
                return

    def _line(self, line: bytes | None) -> None:
        if line is None:
            most = _LINE_BYTES_MAX // 1024**2
            self._refuse(f"a line is longer than {most} MiB and is passed over; send it in parts")
            return
        if not line.strip():
            return
        try:
            self._take(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.MsgspecError, RecursionError) as error:
            self._refuse(f"a line is no JSON object: {error}")


def said(message: dict[str, Any]) -> Message | None:
    """What a user message says; None where it says nothing that a model could read."""
    content = message.get("content")
    if isinstance(content, str):
        return Message("user", (Text(content),)) if content.strip() else None
    parts: list[Text | Image] = []
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                parts.append(Text(text))
            case {
                "type": "image",
                "source": {"type": "base64", "media_type": str(m), "data": str(d)},
            }:
                parts.append(Image(media_type=m, data=d))
            case _:
                return None
    return Message("user", tuple(parts)) if parts else None


def usage(used: Usage) -> dict[str, Any]:
    """Tokens, as the Messages API counts them: input without what the cache gave."""
    return {
        "input_tokens": max(0, used.input - used.cached - used.cache_written),
        "cache_creation_input_tokens": used.cache_written,
        "cache_read_input_tokens": used.cached,
        "output_tokens": used.output,
    }


def assistant(entry_id: str, answered: Answered, model: str) -> dict[str, Any]:
    """The message of an answer."""
    return {
        "id": f"msg_{answered.generation_id or entry_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [block for part in answered.message.parts if (block := _block(part))],
        "stop_reason": STOPS.get(answered.stop, answered.stop),
        "stop_sequence": None,
        "usage": usage(answered.usage),
    }


def tool_result(used: Used) -> dict[str, Any]:
    """The message that carries a tool's result."""
    block = {
        "type": "tool_result",
        "tool_use_id": used.result.call_id,
        "content": _content(used.result),
        "is_error": used.result.is_error,
    }
    return {"role": "user", "content": [block]}


def detail(used: Used) -> Any:  # noqa: ANN401 - JSON
    """What a result tells people, beside what it tells the model."""
    match used.detail:
        case Diff(path=path, before=before, after=after):
            return {"filePath": path, "originalFile": before, "content": after}
        case Output(text=text, status=status, path=path):
            return {"stdout": text, "exitCode": status, "outputPath": path}
        case _:
            return used.note or None


def _content(result: ToolResult) -> Any:  # noqa: ANN401 - JSON
    if all(isinstance(part, Text) for part in result.parts):
        return "".join(part.text for part in result.parts if isinstance(part, Text))
    return [block for part in result.parts if (block := _block(part))]


def _block(part: object) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Thinking(text=text, signature=signature):
            return {"type": "thinking", "thinking": text, "signature": signature or ""}
        case ToolCall(id=call_id, name=name, arguments=arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": input_of(arguments)}
        case Image(media_type=media_type, data=data):
            source = {"type": "base64", "media_type": media_type, "data": data}
            return {"type": "image", "source": source}
        case _:
            return None


def input_of(arguments: str) -> dict[str, Any]:
    """A call's arguments as an object; what is no object is kept under one name."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {"arguments": arguments}


class Pieces:
    """Turns the pieces of an answer into the events of a streamed message.

    Args:
        write: Takes each event.
        model: Who answers.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], model: str) -> None:
        self._write = write
        self._model = model
        self._index: int | None = None
        self._begun = False

    def more(self, delta: Delta) -> None:
        """A piece has come."""
        if not self._begun:
            self._begun = True
            message = {"type": "message", "role": "assistant", "model": self._model}
            message |= {"id": "", "content": [], "stop_reason": None, "stop_sequence": None}
            message |= {"usage": usage(Usage())}
            self._write({"type": "message_start", "message": message})
        if delta.index != self._index:
            self._close()
            self._index = delta.index
            self._write(
                {
                    "type": "content_block_start",
                    "index": delta.index,
                    "content_block": _opened(delta.part),
                }
            )
        if (changed := _changed(delta.part)) is not None:
            self._write({"type": "content_block_delta", "index": delta.index, "delta": changed})

    def end(self, answered: Answered | None) -> None:
        """The answer is whole; None: it broke off and what had come counts for nothing."""
        if self._begun:
            self._close()
            stop = None if answered is None else STOPS.get(answered.stop, answered.stop)
            used = usage(Usage() if answered is None else answered.usage)
            ending = {"stop_reason": stop, "stop_sequence": None}
            self._write({"type": "message_delta", "delta": ending, "usage": used})
            self._write({"type": "message_stop"})
        self._begun, self._index = False, None

    def _close(self) -> None:
        if self._index is not None:
            self._write({"type": "content_block_stop", "index": self._index})


def _opened(part: Text | Thinking | ToolCall) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}


def _changed(part: Text | Thinking | ToolCall) -> dict[str, Any] | None:
    match part:
        case Text(text=text) if text:
            return {"type": "text_delta", "text": text}
        case Thinking(text=text) if text:
            return {"type": "thinking_delta", "thinking": text}
        case ToolCall(arguments=arguments) if arguments:
            return {"type": "input_json_delta", "partial_json": arguments}
        case _:
            return None
