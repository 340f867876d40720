"""How large a request is, and what it can cost: from the log alone, without a tokenizer.

The server counted the tokens of the request before. What has been added since is estimated at
three bytes for a token, which is rather too many tokens for code and prose; a bound on money takes
one byte for each, which byte-level tokenizers cannot exceed, and an allowance for templates.
"""

import re
from collections.abc import Sequence

import msgspec

from headrace.agent.entries import Answered, Begun, Compacted, Entry
from headrace.agent.prompt import request_of
from headrace.core.messages import Document, Image, Part, Text, Thinking, ToolCall, ToolResult
from headrace.core.requests import Request
from headrace.ledger.prices import Rates, worst

_BYTES_PER_TOKEN = 3
_PART_TOKENS = 16
_IMAGE_TOKENS = 6_000
_SMALL_TOKENS = 1_000
_TEMPLATE_TOKENS = 1_024
_CUT_TOKENS_MIN = 2_000
_NEW_TOKENS_SPARE = 256
_WORD = re.compile(r"[^\W\d_]+")
LEAST_OUTPUT_TOKENS = 256
_OUTPUT_TOKENS = 32_000
_SPARE_TOKENS_MAX = 24_000


class Size(msgspec.Struct, frozen=True):
    """Of a request, in tokens: about all of it, about what is new, and no more than `most`."""

    about: int
    new: int
    most: int


def size_of(request: Request, branch: Sequence[Entry]) -> Size:
    """The size of the next request of a branch."""
    parts = [part for message in request.messages for part in message.parts]
    known = _counted(branch)
    new = None if known is None else _bytes(parts[known.heard_from :]) // _BYTES_PER_TOKEN + 1
    if known is None or known.tokens is None:
        tools = sum(
            len(tool.name)
            + len(tool.description.encode())
            + len(msgspec.json.encode(tool.parameters))
            for tool in request.tools
        )
        total = _bytes(parts) + tools
        about = total // _BYTES_PER_TOKEN + 1
        allowance = _PART_TOKENS * (len(parts) + len(request.tools)) + _TEMPLATE_TOKENS
        return Size(about, about if new is None else new, total + allowance + _images(parts))
    added = parts[known.sent :]
    about = known.tokens + _bytes(added) // _BYTES_PER_TOKEN + 1
    most = known.tokens + _bytes(added) + _PART_TOKENS * len(added) + _images(added)
    return Size(about, about if new is None else new, most)


def spare_tokens(context_tokens: int) -> int:
    """What of a window is left for an answer: a share of small ones, a fixed part of large ones."""
    return min(context_tokens // 4, _SPARE_TOKENS_MAX)


def full(size: Size, context_tokens: int) -> bool:
    """Whether a conversation should be compacted before it goes on."""
    return bool(context_tokens) and size.about > context_tokens - spare_tokens(context_tokens)


def output_tokens(
    request: Request, size: Size, context_tokens: int, *, required: bool
) -> int | None:
    """The most that an answer may have; None leaves it to the server, unless it is `required`."""
    if request.max_tokens is None and not required:
        return None
    wanted = request.max_tokens or _OUTPUT_TOKENS
    if not context_tokens:
        return wanted
    return max(min(wanted, context_tokens - size.about), LEAST_OUTPUT_TOKENS)


def affordable(rates: Rates, size: Size, wanted: int, left_nano: int) -> int | None:
    """How long an answer may be so that its call costs at most `left_nano`; None: too short."""
    low, high = 0, wanted
    while low < high:
        middle = (low + high + 1) // 2
        if worst(rates, size.most, middle) <= left_nano:
            low = middle
        else:
            high = middle - 1
    return low if low >= min(wanted, LEAST_OUTPUT_TOKENS) else None


class _Counted(msgspec.Struct, frozen=True):
    """The last counted request: its parts, its tokens if they are believed, where news begin."""

    sent: int
    tokens: int | None
    heard_from: int


def _counted(branch: Sequence[Entry]) -> _Counted | None:
    for place in range(len(branch) - 1, -1, -1):
        body = branch[place].body
        if isinstance(body, Begun | Compacted):
            return None
        if isinstance(body, Answered) and body.usage.input:
            before, after = request_of(branch[:place]), request_of(branch[: place + 1])
            sent = sum(len(message.parts) for message in before.messages)
            own = sum(len(m.parts) for m in after.messages if m.role == "assistant")
            own -= sum(len(m.parts) for m in before.messages if m.role == "assistant")
            about = _bytes([part for message in before.messages for part in message.parts])
            about //= _BYTES_PER_TOKEN
            believed = body.usage.input * 4 >= about or about < _SMALL_TOKENS
            return _Counted(sent, body.usage.input if believed else None, sent + own)
    return None


def window_seen(counted: int, request: Request, size: Size) -> int | None:
    """The window of a server that has read so little of a prompt that it must have cut it off.

    Servers with a shorter window than they tell drop what is older without a word. Other
    tokenizers alone do not come to this: none has less tokens than there are words, as the space
    between them parts tokens, and a quarter is left to those that do it differently. Some servers
    count only what no cache held, which is about what is new. None: all of it may have been read.
    """
    # Of all that is sent: what is known of the call before may have been cut off already.
    about = _bytes([p for m in request.messages for p in m.parts]) // _BYTES_PER_TOKEN
    if not counted or about < _CUT_TOKENS_MIN or counted * 2 >= about:
        return None
    if size.new < size.about and counted <= size.new + _NEW_TOKENS_SPARE:
        return None
    return None if counted * 4 >= _words(request) * 3 else 1 << (counted - 1).bit_length()


def _words(request: Request) -> int:
    """Words that stand in a request; thoughts are left out, as templates drop them."""
    texts: list[str] = []
    for part in (part for message in request.messages for part in message.parts):
        match part:
            case Text():
                texts.append(part.text)
            case ToolResult():
                texts += [inner.text for inner in part.parts if isinstance(inner, Text)]
            case ToolCall():
                texts.append(part.arguments)
            case _:
                pass
    return sum(len(_WORD.findall(text)) for text in texts)


def _bytes(parts: Sequence[Part]) -> int:
    total = 0
    for part in parts:
        match part:
            case Text() | Thinking():
                total += len(part.text.encode())
            case ToolCall():
                total += len(part.name) + len(part.arguments.encode())
            case ToolResult():
                total += _bytes(part.parts)
            case Document():
                total += len((part.text or "").encode()) + len(part.data or "")
            case Image():
                total += _IMAGE_TOKENS
    return total


def _images(parts: Sequence[Part]) -> int:
    return sum(_IMAGE_TOKENS for part in parts if isinstance(part, Image))
