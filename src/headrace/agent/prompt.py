"""The request that a branch of the log amounts to: a pure function, so its prefix is stable.

System prompt and tools are the same bytes in every folder; what differs between folders stands
before the first words of the user. Every request of a session begins with the one before it, until
the model is changed or the conversation is compacted. Calls that broke are no part of any request,
and a call that was never answered is answered here in words of our own.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from headrace.agent import prompt_texts
from headrace.agent.entries import Answered, Begun, Compacted, Entry, Said, Used
from headrace.core.errors import InvalidRequest
from headrace.core.messages import Message, Part, Role, Text, Thinking, ToolCall, ToolResult
from headrace.core.requests import Request, Tool
from headrace.wire import content

UNANSWERED = "This call was interrupted; it may have run in part or not at all."
_CACHE_TTL_S = 300
_CALL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_Flat = tuple[Role, Part]


def begun_of(branch: Sequence[Entry]) -> Begun:
    """What requests are made with at the end of a branch.

    Raises:
        InvalidRequest: The branch does not say it.
    """
    for entry in reversed(branch):
        if isinstance(entry.body, Begun):
            return entry.body
    raise InvalidRequest("the session does not say which model it is with")


def compaction_of(branch: Sequence[Entry]) -> Compacted | None:
    """The summary in effect at the end of a branch."""
    for entry in reversed(branch):
        if isinstance(entry.body, Compacted):
            return entry.body if entry.body.summary or entry.body.pinned else None
    return None


def request_of(branch: Sequence[Entry]) -> Request:
    """The next request of a session.

    Raises:
        InvalidRequest: The branch does not say which model is asked.
    """
    begun = begun_of(branch)
    system = begun.system
    if begun.text_calls and begun.tools:
        system = "\n\n".join(part for part in (system, text_tools(begun.tools)) if part)
    messages: list[Message] = []
    for role, part in _parts(branch, begun):
        if messages and messages[-1].role == role:
            messages[-1] = Message(role, (*messages[-1].parts, part))
        else:
            messages.append(Message(role, (part,)))
    head = (Message("system", (Text(system),)),) if system else ()
    return Request(
        model=begun.model,
        messages=(*head, *messages),
        tools=() if begun.text_calls else begun.tools,
        parallel_tool_calls=begun.parallel_calls,
        max_tokens=begun.max_tokens,
        sampling=begun.sampling,
    )


def cached(request: Request) -> Request:
    """A request with breakpoints for caches that keep only what is marked.

    One stands behind the system prompt, which all sessions share, one at the end, from where the
    next request goes on. The dialect allows four.
    """
    messages = request.messages
    if messages and messages[0].role == "system":
        system = Text(messages[0].text(), cache_ttl_s=_CACHE_TTL_S)
        messages = (Message("system", (system,)), *messages[1:])
    return msgspec.structs.replace(request, messages=messages, cache_ttl_s=_CACHE_TTL_S)


def text_tools(tools: Iterable[Tool]) -> str:
    """The tools as a model reads them that has no calls of its own."""
    lines = [prompt_texts.TEXT_CALLS]
    for tool in tools:
        schema = msgspec.json.encode(tool.parameters).decode()
        lines.append(f"- {tool.name}: {tool.description} Arguments: {schema}")
    return "\n".join(lines)


def text_call(call: ToolCall) -> str:
    """A call as `text_tools` asks for it."""
    arguments = content.arguments_object(call.arguments)
    wire = msgspec.json.encode({"name": call.name, "arguments": arguments}).decode()
    return f"<tool_call>\n{wire}\n</tool_call>"


def _parts(branch: Sequence[Entry], begun: Begun) -> Iterator[tuple[Role, Part]]:
    """The conversation behind the system prompt, part by part with its role."""
    summary = compaction_of(branch)
    lead = [begun.context] if begun.context else []
    if summary is not None:
        lead += [prompt_texts.summarised(summary.summary, summary.pinned)]
        branch = _from(branch, summary.keep_id)
    for part in _said_and_answered(branch, begun):
        role, said = part
        if lead:
            text = "\n\n".join(lead)
            lead = []
            if role == "user" and isinstance(said, Text) and summary is None:
                yield "user", Text(f"{text}\n\n{said.text}")
                continue
            yield "user", Text(text)
        yield role, said
    if lead:
        yield "user", Text("\n\n".join(lead))


def _from(branch: Sequence[Entry], keep_id: str | None) -> Sequence[Entry]:
    """What a summary leaves as it is; without `keep_id` all that came after the summary."""
    for number, entry in enumerate(branch):
        if entry.id == keep_id:
            return branch[number:]
    last = max(n for n, entry in enumerate(branch) if isinstance(entry.body, Compacted))
    return branch[last:]


def _said_and_answered(branch: Sequence[Entry], begun: Begun) -> Iterator[tuple[Role, Part]]:
    waiting: dict[str, ToolResult | None] = {}
    names: dict[str, str] = {}
    for body in (entry.body for entry in branch):
        match body:
            case Used(result=result) if result.call_id in waiting:
                waiting[result.call_id] = result
            case Answered():
                yield from _results(waiting, names, begun)
                yield from _answer(body, begun)
                calls = [part for part in body.message.parts if isinstance(part, ToolCall)]
                waiting = dict.fromkeys(call.id for call in calls)
                names = {call.id: call.name for call in calls}
            case Said(message=message):
                yield from _results(waiting, names, begun)
                waiting = {}
                yield from _by("user", message.parts)
            case _:
                pass
    yield from _results(waiting, names, begun)


def _results(
    waiting: dict[str, ToolResult | None], names: dict[str, str], begun: Begun
) -> Iterator[tuple[Role, Part]]:
    for call_id, given in waiting.items():
        result = given or ToolResult(call_id, (Text(UNANSWERED),), is_error=True)
        if not begun.text_calls:
            yield "user", result
            continue
        words = "failed" if result.is_error else "result"
        texts = [part for part in result.parts if isinstance(part, Text)]
        yield "user", Text(f"{names[call_id]} {words}:\n" + "".join(one.text for one in texts))
        yield from _by("user", (part for part in result.parts if not isinstance(part, Text)))


def _answer(answered: Answered, begun: Begun) -> Iterator[tuple[Role, Part]]:
    """What the model said; to a model without calls of its own as it wrote it."""
    if begun.text_calls:
        written = answered.written
        pieces = (
            [written.text()]
            if written is not None
            else [
                part.text if isinstance(part, Text) else text_call(part)
                for part in answered.message.parts
                if isinstance(part, Text | ToolCall)
            ]
        )
        yield "assistant", Text("\n".join(pieces) or prompt_texts.NOTHING)
        return
    parts = [part for part in map(_sendable, answered.message.parts) if part is not None]
    # An answer of thoughts alone, or of nothing, would be an empty message, which none may be.
    if not any(isinstance(part, Text | ToolCall) for part in parts):
        parts.append(Text(prompt_texts.NOTHING))
    yield from _by("assistant", parts)


def _sendable(part: Part) -> Part | None:
    if isinstance(part, Text) and not part.text:
        return None
    if isinstance(part, ToolCall):
        return ToolCall(
            part.id, part.name, bytes(content.arguments_object(part.arguments)).decode()
        )
    return part


def _by(role: Role, parts: Iterable[Part]) -> Iterator[tuple[Role, Part]]:
    for part in parts:
        yield role, part


def invariants(request: Request) -> list[str]:
    """What is wrong with a request; each must hold for every request of every session."""
    wrong: list[str] = []
    roles = [message.role for message in request.messages]
    body = roles[1:] if roles[:1] == ["system"] else roles
    if not body or body[0] != "user":
        wrong.append("a conversation begins with the user's side")
    elif body[-1] != "user" and not _begins_answer(request.messages[-1]):
        wrong.append("a conversation ends with the user's side, or with the beginning of an answer")
    if any(one == other for one, other in pairwise(body)):
        wrong.append("the sides do not take turns")
    if any(role not in {"user", "assistant"} for role in body):
        wrong.append("a system prompt in the midst of the conversation")
    if any(_is_empty(message) for message in request.messages):
        wrong.append("an empty message")
    return wrong + _calls_wrong(request.messages)


def _begins_answer(message: Message) -> bool:
    """Whether the model is to go on with it: text alone, without the space that no API takes."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    return len(texts) == len(message.parts) == 1 and texts[0] == texts[0].rstrip()


def _is_empty(message: Message) -> bool:
    if not any(not isinstance(part, Thinking) for part in message.parts):
        return True
    return any(isinstance(part, Text) and not part.text for part in message.parts)


def _calls_wrong(messages: Sequence[Message]) -> list[str]:
    wrong: list[str] = []
    open_calls: list[str] = []
    ids = [part.id for message in messages for part in message.parts if isinstance(part, ToolCall)]
    if len(set(ids)) < len(ids) or "" in ids:
        wrong.append(f"call ids {ids} are not unique")
    for message in messages:
        answered = [part.call_id for part in message.parts if isinstance(part, ToolResult)]
        if open_calls != answered:
            wrong.append(f"calls {open_calls} are answered by {answered}")
        if answered and not isinstance(message.parts[0], ToolResult):
            wrong.append("words stand between calls and their results")
        open_calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        names = [part.name for part in message.parts if isinstance(part, ToolCall)]
        if not all(map(_CALL_NAME.fullmatch, names)):
            wrong.append(f"no API takes the names {names}")
        if any(not _is_object(part) for part in message.parts if isinstance(part, ToolCall)):
            wrong.append("arguments are not a JSON object")
    if open_calls:
        wrong.append(f"calls {open_calls} have no results")
    return wrong


def _is_object(call: ToolCall) -> bool:
    return bytes(content.arguments_object(call.arguments)) == call.arguments.encode()


def extends(before: Request, after: Request) -> bool:
    """Whether `after` says what `before` says, and then more."""
    if (before.model, before.tools) != (after.model, after.tools):
        return False
    ours, theirs = _flat(before), _flat(after)
    return theirs[: len(ours)] == ours


def _flat(request: Request) -> list[_Flat]:
    return [(message.role, part) for message in request.messages for part in message.parts]
