"""How large a request is, and what it can cost: from the log alone, without a tokenizer.

The server counted the tokens of the request before. What has been added since is estimated at
three bytes for a token, which is rather too many tokens for code and prose; a bound on money takes
one byte for each, which byte-level tokenizers cannot exceed, and an allowance for templates.
"""

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
    if known is None:
        tools = sum(
            len(tool.name)
            + len(tool.description.encode())
            + len(msgspec.json.encode(tool.parameters))
            for tool in request.tools
        )
        total = _bytes(parts) + tools
        about = total // _BYTES_PER_TOKEN + 1
        allowance = _PART_TOKENS * (len(parts) + len(request.tools)) + _TEMPLATE_TOKENS
        return Size(about, about, total + allowance + _images(parts))
    sent, tokens, own = known
    added = parts[sent:]
    heard = parts[sent + own :]
    new = _bytes(heard) // _BYTES_PER_TOKEN + 1
    about = tokens + _bytes(added) // _BYTES_PER_TOKEN + 1
    return Size(about, new, tokens + _bytes(added) + _PART_TOKENS * len(added) + _images(added))


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


def _counted(branch: Sequence[Entry]) -> tuple[int, int, int] | None:
    """Parts and tokens of the last counted request, and parts of its answer."""
    for place in range(len(branch) - 1, -1, -1):
        body = branch[place].body
        if isinstance(body, Begun | Compacted):
            return None
        if isinstance(body, Answered) and body.usage.input:
            before = request_of(branch[:place])
            if not plausible(body.usage.input, _bytes_of(before) // _BYTES_PER_TOKEN):
                return None
            sent = sum(len(message.parts) for message in before.messages)
            after = request_of(branch[: place + 1])
            own = sum(len(m.parts) for m in after.messages if m.role == "assistant")
            own -= sum(len(m.parts) for m in before.messages if m.role == "assistant")
            return sent, body.usage.input, own
    return None


def plausible(counted: int, about: int) -> bool:
    """Whether a server can have read all of a prompt whose tokens it counted.

    Servers with a shorter window than they tell cut prompts off without a word.
    """
    return counted * 4 >= about or about < _SMALL_TOKENS


def _bytes_of(request: Request) -> int:
    return _bytes([part for message in request.messages for part in message.parts])


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
