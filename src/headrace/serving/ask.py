"""Ask: one call as an endpoint hands it to the gateway, read only as far as somebody needs it."""

import hashlib
import re
from collections.abc import Callable, Mapping

import msgspec

from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.requests import Request
from headrace.ledger.charge import Once
from headrace.serving.engine import OUTPUT_LIMITS, Passage
from headrace.wire import openai_responses
from headrace.wire.strict_json import check_depth

# A conversation is known by its first turn and what stands above it; more would change.
_AFFINITY_BYTES = 4_096
_SESSION_HEADERS = ("x-claude-code-session-id", "session-id", "thread-id")
_CONVERSATION_HEADERS = ("headrace-conversation-id", *_SESSION_HEADERS)
_CONVERSATION = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# What a template may add to what a client wrote: a preamble, the roles, how tools are called.
_TEMPLATE_TOKENS = 1_024
_IMAGE_TOKENS_MAX = 8_192
_BYTES_PER_TOKEN = 4
_ANSWERS_MAX = 128
# Within strings, quotation marks are escaped, so no text can look like a part.
_TYPE = b'"type"'
_PART = re.compile(
    rb'"type"\s*:\s*"(?:((?:input_)?image(?:_url)?)|file|input_file|document|input_audio)"'
)
# A to Z, a to z and _ as escapes, behind no backslash that is itself one.
_HIDDEN = re.compile(
    rb"(?<!\\)(?:\\\\)*\\u00(?:4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])", re.IGNORECASE
)


class Asked(msgspec.Struct, frozen=True):
    """A decoded request, how the client wants its answer, and what that repeats of it.

    `ignored` names the fields that were sent and change nothing.
    """

    request: Request
    stream: bool = False
    include_usage: bool = False
    ignored: tuple[str, ...] = ()
    echo: openai_responses.Echo = openai_responses.Echo()


class Size(msgspec.Struct, frozen=True):
    """How much a body can come to in tokens, without a tokenizer.

    No token is shorter than a byte, so the bytes bound the tokens of its text. `input_tokens_max`
    is None where nothing but the model's context bounds them, as with a file; `input_tokens` is
    about how many they are. `images` are those it holds or names.
    """

    input_tokens_max: int | None = None
    input_tokens: int = 0
    images: int = 0


UNKNOWN = Size()


class Ask:
    """One call in the dialect of its client.

    Args:
        dialect: The client's dialect.
        model: The public name of the model.
        read: Decodes the whole request; called at most once.
        passage: The call as it came, where an upstream of the same dialect may take it so.
        size: How much it may come to.
        conversation_id: Which conversation it belongs to, as its client says.

    Attributes:
        once: The work that it is a try of, where that is charged once.
    """

    def __init__(
        self,
        dialect: str,
        model: str,
        read: Callable[[], Asked],
        passage: Passage | None = None,
        *,
        size: Size = UNKNOWN,
        conversation_id: str | None = None,
    ) -> None:
        self.dialect = dialect
        self.model = model
        self.passage = passage
        self.size = size
        self.conversation_id = conversation_id
        self.once: Once | None = None
        self._read = read
        self._asked: Asked | None = None

    @classmethod
    def of(cls, asked: Asked, dialect: str) -> "Ask":
        """A call that has been decoded already."""
        return cls(dialect, asked.request.model, lambda: asked)

    def replaced(self, request: Request) -> "Ask":
        """The same call with another request."""
        return Ask.of(msgspec.structs.replace(self.asked, request=request), self.dialect)

    @property
    def output_tokens_max(self) -> int | None:
        """How many tokens its client lets each answer have; None: it does not say."""
        if self.passage is not None:
            return self.passage.output_tokens_max
        return self.asked.request.max_tokens

    @property
    def answers(self) -> int:
        """How many answers it asks for."""
        return 1 if self.passage is None else self.passage.answers

    def limited(self, output_tokens: int) -> "Ask":
        """The same call with so many tokens for each answer, of which its client said nothing."""

        def read() -> Asked:
            asked = self.asked
            request = msgspec.structs.replace(asked.request, max_tokens=output_tokens)
            return msgspec.structs.replace(asked, request=request)

        passage = self.passage
        if passage is not None:
            passage = msgspec.structs.replace(passage, output_tokens_affordable=output_tokens)
        return Ask(self.dialect, self.model, read, passage)

    @property
    def stream(self) -> bool:
        """Whether the client wants the answer as it comes."""
        return self.asked.stream if self.passage is None else self.passage.stream

    @property
    def asked(self) -> Asked:
        """The decoded request.

        Raises:
            InvalidRequest: It is not one.
        """
        if self._asked is None:
            self._asked = self._read()
        return self._asked

    @property
    def readable(self) -> Asked:
        """The decoded request; one of the model alone where only the upstream can read it."""
        try:
            return self.asked
        except HeadraceError:
            return Asked(Request(model=self.model, messages=()))

    def affinity(self) -> bytes:
        """The same for all calls of one conversation, so that they meet the same engine."""
        if self.passage is None:
            first = self.asked.request.messages[:2]
            return _digest(msgspec.json.encode(first)[:_AFFINITY_BYTES])
        for name in _SESSION_HEADERS:
            if session := self.passage.headers.get(name):
                return _digest(session.encode())
        return _digest(_opening(self.passage.body))


class _Peeked(msgspec.Struct):
    model: str
    stream: bool | None = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n_predict: int | None = None
    n: int | None = None
    best_of: int | None = None


class _Opening(msgspec.Struct):
    """What stands at the beginning of a conversation, in any dialect."""

    prompt_cache_key: str | None = None
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    messages: tuple[msgspec.Raw, ...] = ()
    input: msgspec.Raw = msgspec.Raw()


_PEEK = msgspec.json.Decoder(_Peeked)
_TURNS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_OPENING = msgspec.json.Decoder(_Opening)


def peek(
    body: bytes, headers: Mapping[str, str], query: str, *, dialect: str, depth_max: int
) -> tuple[str, Passage] | None:
    """The model of a body and the call as it came; None when only full decoding can judge it.

    Raises:
        TooLarge: It is nested too deep.
        InvalidRequest: It is not UTF-8, or asks for too many answers.
    """
    check_depth(body, depth_max)
    try:
        body.decode()
        peeked = _PEEK.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except (msgspec.MsgspecError, RecursionError):
        return None
    return peeked.model, Passage(
        body,
        headers,
        query,
        bool(peeked.stream),
        _limit(peeked, dialect),
        _answers(peeked) if dialect == "openai_chat" else 1,
    )


def _limit(peeked: _Peeked, dialect: str) -> int | None:
    """How long an answer may be, by the fields of its dialect alone."""
    given: list[int] = [
        limit for name in OUTPUT_LIMITS[dialect] if (limit := getattr(peeked, name))
    ]
    # Which of them an upstream goes by is its own affair, and to some -1 is no limit.
    return max(given) if given and min(given) > 0 else None


def _answers(peeked: _Peeked) -> int:
    wanted = max(1, peeked.n or 1, peeked.best_of or 1)
    if wanted > _ANSWERS_MAX:
        raise InvalidRequest(f"n and best_of are at most {_ANSWERS_MAX}", param="n")
    return wanted


def size_of(body: bytes) -> Size:
    """How much a body may come to."""
    # Without typed parts it is text alone, which one quick look tells.
    found: list[bytes] = _PART.findall(body) if _TYPE in body else []
    images = sum(map(bool, found))
    bound: int | None = len(body) + _TEMPLATE_TOKENS + images * _IMAGE_TOKENS_MAX
    if images < len(found) or hides_letters(
        body
    ):  # documents and sounds come to more tokens than they have bytes
        bound = None
    return Size(bound, len(body) // _BYTES_PER_TOKEN, images)


def hides_letters(body: bytes) -> bool:
    """Whether letters are spelled as escapes, which nobody needs, so that no look finds a word."""
    return b"\\u00" in body and _HIDDEN.search(body) is not None


def conversation_of(headers: Mapping[str, str]) -> str | None:
    """The id by which a client names its conversation, if it does."""
    for name in _CONVERSATION_HEADERS:
        named = headers.get(name)
        if named is not None and _CONVERSATION.fullmatch(named):
            return named
    return None


def _opening(body: bytes) -> bytes:
    try:
        found = _OPENING.decode(body)
    except msgspec.MsgspecError:
        return body[:_AFFINITY_BYTES]
    if found.prompt_cache_key:
        return found.prompt_cache_key.encode()
    # The first may be a system message that many conversations share.
    parts = (found.system, found.instructions, *found.messages[:2], *_turns(found.input)[:2])
    return b"".join(bytes(part)[:_AFFINITY_BYTES] for part in parts)


def _turns(given: msgspec.Raw) -> tuple[msgspec.Raw, ...]:
    """The items of a Responses input, which may also be one string."""
    return _TURNS.decode(given) if bytes(given[:1]) == b"[" else (given,)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
