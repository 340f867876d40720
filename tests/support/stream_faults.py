"""Streams of three dialects with every fault that a network, a proxy or a server can put into them.

A seed makes one: an answer of thoughts, words and calls, as the dialect spells it, then events
lost, doubled, moved, broken or foreign, cut at a byte, in pieces of any size. A real server sends
it to the client; what the client makes of it must hold whatever the faults were (`check`).
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from headrace.agent.client import Client
from headrace.agent.endpoint import Dialect, Endpoint
from headrace.agent.recover import recover
from headrace.core.events import Event, Failed, Finished, Started, fold
from headrace.core.messages import Message, Text, Thinking, ToolCall, user
from headrace.core.requests import Request, Tool

DIALECTS: tuple[Dialect, ...] = ("anthropic", "openai_chat", "openai_responses")
WRITE = Tool(
    "Write",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["path"],
    },
)
_HUGE_CHARS = 200_000
_READ_S = 20.0
Frame = dict[str, Any] | bytes
"""The data of an event; bytes are not JSON."""


class Faulty(NamedTuple):
    """A stream as it is sent.

    `framing`: how HTTP tells the end of the body; `claimed` bytes are announced by `length`.
    `cut`: the stream ends before its time. `ends`: it says by itself that the answer is whole.
    """

    dialect: Dialect
    pieces: tuple[bytes, ...]
    framing: str
    claimed: int
    faults: tuple[str, ...]
    ends: bool
    words: str
    calls: tuple[str, ...]


class Found(NamedTuple):
    """What the client made of it."""

    end: str
    calls: int
    ready: int
    faults: tuple[str, ...]


def faulty(dialect: Dialect, seed: int) -> Faulty:
    """The stream of a seed."""
    drawn = random.Random(f"{dialect} {seed}")
    words, calls, frames = _answer(dialect, drawn)
    faults = [_spoil(frames, drawn) for _ in range(drawn.choice((0, 0, 1, 1, 2, 4)))]
    feed = drawn.choice((b"\n", b"\n", b"\r\n", b"\r"))
    encoded = [_encoded(frame, feed, drawn) for frame in frames]
    body = b"".join(encoded)
    cut = len(body)
    if drawn.random() < 0.5:
        faults.append("cut")
        cut = drawn.randrange(len(body) + 1)
    sent = body[:cut]
    framing = drawn.choice(("length", "chunked", "close"))
    claimed = len(body) if drawn.random() < 0.5 else len(sent)
    sizes = drawn.choice(((1, 40), (1, 400), (1_000, 70_000)))
    if len(sent) > 20_000:
        sizes = (1_000, 70_000)
    pieces: list[bytes] = []
    at = 0
    while at < len(sent):
        size = drawn.randint(*sizes)
        pieces.append(sent[at : at + size])
        at += size
    ends = _ends(dialect, sent, feed)
    return Faulty(
        dialect, tuple(pieces), framing, claimed, tuple(faults), ends, words, tuple(calls)
    )


def _answer(dialect: Dialect, drawn: random.Random) -> tuple[str, list[str], list[Frame]]:
    words = drawn.choice(("", "Let me see. ", "Ünï {x} < y [z] ", "w" * _HUGE_CHARS))
    calls: list[str] = []
    for number in range(drawn.choice((0, 1, 1, 2, 3))):
        path = f"c{number}-" + drawn.choice(("a.py", 'ä"\\\n', "x" * 300, "}{][", "😀"))
        if drawn.random() < 0.02:
            path += "x" * _HUGE_CHARS
        arguments = {"path": path} | ({"n": number} if drawn.random() < 0.5 else {})
        calls.append(json.dumps(arguments, ensure_ascii=drawn.random() < 0.5))
    make = {"anthropic": _anthropic, "openai_chat": _chat, "openai_responses": _responses}
    return words, calls, make[dialect](words, calls, drawn)


def _split(text: str, drawn: random.Random) -> list[str]:
    count = drawn.randint(1, 6)
    cuts = sorted(drawn.randrange(len(text) + 1) for _ in range(count - 1))
    ends = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(ends)]


def _anthropic(words: str, calls: list[str], drawn: random.Random) -> list[Frame]:
    usage = {"input_tokens": 9, "output_tokens": 1}
    frames: list[Frame] = [
        {"type": "message_start", "message": {"model": "m", "content": [], "usage": usage}}
    ]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if drawn.random() < 0.3:
        thought = [{"type": "thinking_delta", "thinking": "Hm."}]
        signed = {"type": "signature_delta", "signature": "s"}
        blocks.append(({"type": "thinking", "thinking": ""}, [*thought, signed]))
    if words:
        deltas = [{"type": "text_delta", "text": one} for one in _split(words, drawn)]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for number, arguments in enumerate(calls):
        start: dict[str, Any] = {
            "type": "tool_use",
            "id": f"c{number}",
            "name": "Write",
            "input": {},
        }
        if drawn.random() < 0.1:
            blocks.append((start | {"input": json.loads(arguments)}, []))
            continue
        deltas = [
            {"type": "input_json_delta", "partial_json": one} for one in _split(arguments, drawn)
        ]
        blocks.append((start, deltas))
    for index, (start, deltas) in enumerate(blocks):
        frames.append({"type": "content_block_start", "index": index, "content_block": start})
        told: dict[str, Any] = {"type": "content_block_delta", "index": index}
        frames += [told | {"delta": delta} for delta in deltas]
        frames.append({"type": "content_block_stop", "index": index})
    stop = "tool_use" if calls else "end_turn"
    frames.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})
    frames.append({"type": "message_stop"})
    return frames


def _chat(words: str, calls: list[str], drawn: random.Random) -> list[Frame]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if drawn.random() < 0.3:
        deltas.append({"reasoning_content": "Hm."})
    deltas += [{"content": one} for one in (_split(words, drawn) if words else [])]
    for number, arguments in enumerate(calls):
        first, *rest = _split(arguments, drawn)
        function = {"name": "Write", "arguments": first}
        opening = {"index": number, "id": f"c{number}", "type": "function", "function": function}
        deltas.append({"tool_calls": [opening]})
        more = [{"index": number, "function": {"arguments": one}} for one in rest]
        deltas += [{"tool_calls": [one]} for one in more]
    frames: list[Frame] = [
        {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    ended = "tool_calls" if calls else "stop"
    frames.append({"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": ended}]})
    usage = {"prompt_tokens": 9, "completion_tokens": 9}
    return [*frames, {"model": "m", "choices": [], "usage": usage}, b"[DONE]"]


def _responses(words: str, calls: list[str], drawn: random.Random) -> list[Frame]:
    frames: list[Frame] = [
        {"type": "response.created", "response": {"model": "m", "status": "in_progress"}}
    ]
    output: list[dict[str, Any]] = []
    if words:
        whole: dict[str, Any] = {
            "type": "message",
            "content": [{"type": "output_text", "text": words}],
        }
        frames.append(_item("added", 0, {"type": "message", "content": []}))
        said = {"type": "response.output_text.delta", "output_index": 0}
        frames += [said | {"delta": one} for one in _split(words, drawn)]
        frames.append(_item("done", 0, whole))
        output.append(whole)
    for number, arguments in enumerate(calls):
        place = len(output)
        item = {"type": "function_call", "call_id": f"c{number}", "name": "Write"}
        frames.append(_item("added", place, item | {"arguments": ""}))
        told = {"type": "response.function_call_arguments.delta", "output_index": place}
        if drawn.random() < 0.9:  # some send none
            frames += [told | {"delta": one} for one in _split(arguments, drawn)]
        frames.append(_item("done", place, item | {"arguments": arguments}))
        output.append(item | {"arguments": arguments})
    usage = {"input_tokens": 9, "output_tokens": 9}
    ended = {"model": "m", "status": "completed", "output": output, "usage": usage}
    return [*frames, {"type": "response.completed", "response": ended}]


def _item(what: str, place: int, item: dict[str, Any]) -> Frame:
    return {"type": f"response.output_item.{what}", "output_index": place, "item": item}


RETYPED: tuple[Any, ...] = (None, [], {}, 7, "x", [[{}]], -1, 1e300)
FOREIGN: tuple[Frame, ...] = (
    {"type": "ping"},
    {"type": "vendor.note", "delta": 7, "index": "x", "choices": [], "item": None},
    {"object": "chat.completion.chunk", "choices": []},
    {"type": "response.output_text.done", "output_index": 0, "text": "again"},
    b"",
)


def _spoil(frames: list[Frame], drawn: random.Random) -> str:
    """Put a fault into the events; its name."""
    fault = drawn.choice(("lost", "doubled", "moved", "swapped", "broken", "foreign", "retyped"))
    at = drawn.randrange(len(frames))
    other = drawn.randrange(len(frames))
    match fault:
        case "lost" if len(frames) > 1:
            del frames[at]
        case "doubled":
            frames.insert(other if drawn.random() < 0.3 else at, frames[at])
        case "moved":
            frames.insert(other, frames.pop(at))
        case "swapped":
            frames[at], frames[other] = frames[other], frames[at]
        case "broken":
            raw = _data(frames[at], drawn)
            place = drawn.randrange(len(raw) + 1)
            raw = drawn.choice((raw[:place], raw[:place] + b"\x00\xff" + raw[place:], raw[place:]))
            frames[at] = raw.replace(b"\n", b" ").replace(b"\r", b" ")
        case "retyped" if isinstance(frame := frames[at], dict):
            key = drawn.choice(sorted(frame))
            frames[at] = frame | {key: drawn.choice(RETYPED)}
        case _:
            frames.insert(at, drawn.choice(FOREIGN))
    return fault


def _data(frame: Frame, drawn: random.Random) -> bytes:
    if isinstance(frame, bytes):
        return frame
    return json.dumps(frame, ensure_ascii=drawn.random() < 0.5).encode()


def _encoded(frame: Frame, feed: bytes, drawn: random.Random) -> bytes:
    lead = drawn.choice((b"", b"", b"event: x" + feed, b": comment" + feed, b"retry: 5" + feed))
    return lead + b"data: " + _data(frame, drawn) + feed + feed


def _ends(dialect: Dialect, sent: bytes, feed: bytes) -> bool:
    """Whether an event has arrived that says that the answer is whole."""
    for block in sent.split(feed + feed):
        for line in block.split(feed):
            if line.startswith(b"data:") and _is_end(dialect, line[5:].strip()):
                return True
    return False


def _is_end(dialect: Dialect, data: bytes) -> bool:
    try:
        said = json.loads(data)
    except ValueError:
        return False
    if not isinstance(said, dict):
        return False
    text = json.dumps(said)
    if dialect == "openai_chat":
        return '"finish_reason": "' in text
    if dialect == "anthropic":
        return '"stop_reason": "' in text
    return "response.completed" in text


@asynccontextmanager
async def playing() -> AsyncGenerator[tuple[str, asyncio.Queue[Faulty]]]:
    """A server that sends the streams that are put into its queue, one for each request."""
    waiting: asyncio.Queue[Faulty] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        stream = waiting.get_nowait()
        length = {"length": f"content-length: {stream.claimed}\r\n"}
        length["chunked"] = "transfer-encoding: chunked\r\n"
        head = f"HTTP/1.1 200 OK\r\n{length.get(stream.framing, '')}connection: close\r\n\r\n"
        writer.write(head.encode())
        try:
            for piece in stream.pieces:
                chunked = stream.framing == "chunked"
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if len(piece) < 10_000:
                    await writer.drain()
            if stream.framing == "chunked" and "cut" not in stream.faults:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            pass  # who listened has heard enough
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", waiting


async def check_one(url: str, waiting: asyncio.Queue[Faulty], stream: Faulty) -> Found:
    """Send a stream to a client and see what comes of it."""
    waiting.put_nowait(stream)
    client = Client(Endpoint(base_url=url, dialect=stream.dialect), read_timeout_s=_READ_S)
    request = Request(model="m", messages=(user("Hi."),), tools=(WRITE,))
    async with asyncio.timeout(_READ_S):
        events = [event async for event in client.stream(request)]
    return check(stream, events)


def check(stream: Faulty, events: list[Event]) -> Found:
    """What must hold of any stream."""
    assert events, stream
    *before, last = events
    assert isinstance(last, Finished | Failed), last
    assert not any(isinstance(event, Finished | Failed) for event in before)
    assert all(not isinstance(event, Started) for event in before[1:]) or stream.faults
    if isinstance(last, Finished):
        assert stream.ends, f"a cut stream passes for a whole one: {stream.faults}"
    else:
        assert last.kind
        assert stream.faults, last  # what is sound is read
    message = fold(events)
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    for call in calls:
        _carried(stream, call)
    if not stream.faults:
        _sound(stream, message, calls)
    found = recover(message, (WRITE,), cut=False)
    told = "".join(call.arguments for call in calls).replace("\\\\", "\\")
    for one in found.calls:
        if not one.problem:
            path = one.arguments["path"]
            spelt = (json.dumps(path), json.dumps(path, ensure_ascii=False))
            assert any(text[1:-1].replace("\\\\", "\\") in told for text in spelt), one
    ready = sum(not one.problem for one in found.calls)
    return Found(type(last).__name__, len(calls), ready, stream.faults)


def _carried(stream: Faulty, call: ToolCall) -> None:
    """A call has nothing of another one, and nothing that was not sent."""
    others = {f"c{number}-" for number in range(len(stream.calls))} - {f"{call.id}-"}
    whole = call.id.removeprefix("c").isdecimal()
    if whole:
        assert not any(other in call.arguments for other in others), (stream.faults, call)
    if not stream.faults or set(stream.faults) <= {"cut", "foreign"}:
        number = int(call.id.removeprefix("c"))
        sent = stream.calls[number]
        same = sent.startswith(call.arguments) or json.loads(sent) == json.loads(call.arguments)
        assert same, (stream.faults, call)


def _sound(stream: Faulty, message: Message, calls: list[ToolCall]) -> None:
    assert [json.loads(call.arguments) for call in calls] == [
        json.loads(sent) for sent in stream.calls
    ]
    said = "".join(part.text for part in message.parts if isinstance(part, Text))
    assert said == stream.words
    assert all(isinstance(part, Text | Thinking | ToolCall) for part in message.parts)


async def check_many(dialect: Dialect, seeds: range) -> list[Found]:
    """All streams of these seeds."""
    async with playing() as (url, waiting):
        return [await check_one(url, waiting, faulty(dialect, seed)) for seed in seeds]
