"""OpenAI's dialects: Chat Completions, Responses, Embeddings, Moderations, Batches."""

from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from headrace.edge.openapi import Operation, Reply
from headrace.edge.routes import Rule
from headrace.serving.openapi.common import (
    IDEMPOTENCY,
    OPENAI,
    OPENAI_CALL_FAULTS,
    RESOURCE_FAULTS,
    limit,
    narrowed,
    place,
    query,
)
from headrace.wire import (
    openai_batches,
    openai_chat_request,
    openai_embeddings,
    openai_moderations,
    openai_responses_input,
    openai_responses_request,
)
from headrace.wire.openai_embeddings import INPUTS_MAX
from headrace.wire.openai_responses_tools import TOOLS

Stamp = Annotated[int, Meta(description="Seconds since 1970.")]
_RESPONSE = "/v1/responses/{response_id}"
_BATCH = "/v1/batches/{batch_id}"
_HELLO = [{"role": "user", "content": "Hello"}]


class ChatUsage(msgspec.Struct):
    """Tokens; those of the prompt include cached ones."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class ReplyMessage(msgspec.Struct):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Choice(msgspec.Struct):
    """The one answer."""

    index: int
    message: ReplyMessage
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class ChatCompletion(msgspec.Struct):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: Stamp
    model: str
    choices: list[Choice]
    usage: ChatUsage


class ChunkChoice(msgspec.Struct):
    """What is new of the one answer."""

    index: int
    delta: dict[str, Any]
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(msgspec.Struct):
    """A piece of an answer, or `error`; after the last one `data: [DONE]`.

    With `stream_options.include_usage` a chunk without choices tells the usage at the end.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: Stamp
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None


_ITEMS: tuple[type[msgspec.Struct], ...] = tuple(
    msgspec.defstruct(
        "".join(word.title() for word in kind.split("_")) + "Item",
        [],
        bases=(fields,),
        tag_field="type",
        tag=kind,
    )
    for kind, fields in openai_responses_input.ITEMS.items()
)


class ItemReference(msgspec.Struct, tag_field="type", tag="item_reference"):
    """An item of a stored response."""

    id: str


_Item = Union[(*_ITEMS, ItemReference)]
ResponseRequest = narrowed(
    "ResponseRequest",
    openai_responses_request.REQUEST,
    "What to answer; messages may leave out their `type`.",
    ("input", str | list[_Item] | None, None),
    ("previous_response_id", str | None, None),
    ("store", bool | None, True),
    ("tools", list[TOOLS] | None, None),
)


class ResponseUsage(msgspec.Struct):
    """Tokens; those of the input include cached ones."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class Response(msgspec.Struct):
    """A response; it also repeats its request."""

    id: str
    object: Literal["response"]
    created_at: Stamp
    model: str
    status: Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float | None
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float | None
    usage: ResponseUsage | None


class ResponseEvent(msgspec.Struct):
    """One event; `event:` and `type` are equal, numbers rise, further fields depend on the type.

    The last is response.completed, .incomplete or .failed with the whole response.
    """

    type: str
    sequence_number: int


class InputTokens(msgspec.Struct):
    """What a response would read."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class Deleted(msgspec.Struct):
    """What is gone."""

    id: str
    object: str
    deleted: Literal[True]


class ListOf(msgspec.Struct):
    """A page of a list."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


EmbeddingsRequest = narrowed(
    "EmbeddingsRequest",
    openai_embeddings.REQUEST,
    "Texts to make vectors of.",
    ("input", str | Annotated[list[str], Meta(min_length=1, max_length=INPUTS_MAX)]),
)


class Embedding(msgspec.Struct):
    """The vector of one text: numbers, or base64 of little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(msgspec.Struct):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


ModerationsRequest = narrowed(
    "ModerationsRequest",
    openai_moderations.REQUEST,
    "What to judge: a text, texts, or the parts of one message.",
    ("input", str | list[str | openai_moderations.PARTS]),
)


class Verdict(msgspec.Struct):
    """How one input was judged; scores go from 0 to 1."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class Moderation(msgspec.Struct):
    """A verdict for each input."""

    id: str
    model: str
    results: list[Verdict]


class Batch(msgspec.Struct):
    """How far a batch is."""

    id: str
    object: Literal["batch"]
    endpoint: str
    errors: dict[str, Any] | None
    input_file_id: str | None
    completion_window: Literal["24h"]
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: Stamp
    request_counts: dict[str, int]
    metadata: dict[str, str] | None


BatchRequest = narrowed(
    "BatchRequest",
    openai_batches.REQUEST,
    "Which calls to run.",
    ("endpoint", Literal[openai_batches.ENDPOINTS]),
    ("completion_window", Literal["24h"]),
)


class Page(msgspec.Struct):
    """A page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


_RESPONSES: dict[str, Any] = {"family": "Responses", "rule": Rule.KEY, "fault": OPENAI}
_ANSWERED = Reply("The response.", {"application/json": Response}, ResponseEvent)


def operations() -> list[Operation]:
    """Every operation of OpenAI's dialects alone."""
    return [*_chat(), *_responses(), *_stored_responses(), *_others(), *_batches()]


def _chat() -> list[Operation]:
    return [
        Operation(
            method="POST",
            path="/v1/chat/completions",
            name="createChatCompletion",
            family="Chat Completions",
            rule=Rule.KEY,
            summary="OpenAI's Chat Completions, streamed or whole.",
            parameters=(IDEMPOTENCY,),
            body=openai_chat_request.REQUEST,
            example={"model": "qwen3-0.6b", "messages": _HELLO},
            ignored=openai_chat_request.IGNORED_FIELDS,
            refused=openai_chat_request.REFUSED_FIELDS,
            replies={
                200: Reply(
                    "The answer.",
                    {"application/json": ChatCompletion},
                    ChatCompletionChunk,
                    ("[DONE]",),
                )
            },
            faults=OPENAI_CALL_FAULTS,
            fault=OPENAI,
        )
    ]


def _responses() -> list[Operation]:
    # What the stateless decoder refuses of these, the endpoint with a memory takes.
    refused = {
        name: why
        for name, why in openai_responses_request.REFUSED_FIELDS.items()
        if name != "previous_response_id"
    }
    shared: dict[str, Any] = _RESPONSES | {"faults": OPENAI_CALL_FAULTS}
    return [
        Operation(
            method="POST",
            path="/v1/responses",
            name="createResponse",
            summary="OpenAI's Responses: streamed or whole, stored, in the background.",
            parameters=(IDEMPOTENCY,),
            body=ResponseRequest,
            example={"model": "qwen3-0.6b", "input": "Hello"},
            ignored=openai_responses_request.IGNORED_FIELDS,
            refused=refused,
            replies={200: _ANSWERED},
            **shared,
        ),
        Operation(
            method="POST",
            path="/v1/responses/input_tokens",
            name="countInputTokens",
            summary="Tokens of its input, as the engine counts them.",
            parameters=(IDEMPOTENCY,),
            body=ResponseRequest,
            example={"model": "qwen3-0.6b", "input": "Hello"},
            ignored=openai_responses_request.IGNORED_FIELDS,
            refused=refused,
            replies={200: Reply("The count.", {"application/json": InputTokens})},
            **shared,
        ),
    ]


def _stored_responses() -> list[Operation]:
    one = place("response_id", "A stored response.")
    shared: dict[str, Any] = _RESPONSES | {"faults": RESOURCE_FAULTS}
    return [
        Operation(
            method="GET",
            path=_RESPONSE,
            name="getResponse",
            summary="A stored response; with `stream`, its events: `starting_after`.",
            parameters=(
                one,
                query("stream", "Its events instead.", {"type": "boolean", "default": False}),
                query("starting_after", "The last event seen.", {"type": "integer", "minimum": 0}),
            ),
            replies={200: _ANSWERED},
            **shared,
        ),
        Operation(
            method="DELETE",
            path=_RESPONSE,
            name="deleteResponse",
            summary="Forget a response.",
            parameters=(one,),
            replies={200: Reply("It is gone.", {"application/json": Deleted})},
            **shared,
        ),
        Operation(
            method="POST",
            path=f"{_RESPONSE}/cancel",
            name="cancelResponse",
            summary="End a response that runs in the background.",
            parameters=(one,),
            replies={200: Reply("The response.", {"application/json": Response})},
            **shared,
        ),
        Operation(
            method="GET",
            path=f"{_RESPONSE}/input_items",
            name="listInputItems",
            summary="What its model was given: `after`, `limit`, `order`.",
            parameters=(
                one,
                query("after", "The last item of the page before.", {"type": "string"}),
                limit(20, 100),
                query("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
            ),
            replies={200: Reply("A page of items.", {"application/json": ListOf})},
            **shared,
        ),
    ]


def _others() -> list[Operation]:
    return [
        Operation(
            method="POST",
            path="/v1/embeddings",
            name="createEmbeddings",
            family="Embeddings",
            rule=Rule.KEY,
            summary="OpenAI's Embeddings: a vector for each text.",
            parameters=(IDEMPOTENCY,),
            body=EmbeddingsRequest,
            example={"model": "embedder", "input": ["Hello", "Good-bye"]},
            ignored=openai_embeddings.IGNORED_FIELDS,
            replies={200: Reply("The vectors.", {"application/json": Embeddings})},
            faults=OPENAI_CALL_FAULTS,
            fault=OPENAI,
        ),
        Operation(
            method="POST",
            path="/v1/moderations",
            name="createModeration",
            family="Moderations",
            rule=Rule.KEY,
            summary="OpenAI's Moderations, judged by the model that a setting names.",
            parameters=(IDEMPOTENCY,),
            body=ModerationsRequest,
            example={"input": "Hello"},
            replies={200: Reply("The verdicts.", {"application/json": Moderation})},
            faults=OPENAI_CALL_FAULTS,
            fault=OPENAI,
        ),
    ]


def _batches() -> list[Operation]:
    one = place("batch_id", "A batch.")
    batch = {200: Reply("The batch.", {"application/json": Batch})}
    shared: dict[str, Any] = {
        "family": "Batches",
        "rule": Rule.KEY,
        "fault": OPENAI,
        "faults": RESOURCE_FAULTS,
    }
    return [
        Operation(
            method="POST",
            path="/v1/batches",
            name="createBatch",
            summary="OpenAI's Batches: run the calls of an uploaded file.",
            body=BatchRequest,
            example={
                "input_file_id": "file-0199f1c0-0000-7000-8000-000000000000",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
            replies=batch,
            **shared,
        ),
        Operation(
            method="GET",
            path="/v1/batches",
            name="listBatches",
            summary="The caller's batches.",
            parameters=(
                limit(20, 100),
                query("after", "The last batch of the page before.", {"type": "string"}),
            ),
            replies={200: Reply("A page of batches.", {"application/json": Page})},
            **shared,
        ),
        Operation(
            method="GET",
            path=_BATCH,
            name="getBatch",
            summary="How far a batch is.",
            parameters=(one,),
            replies=batch,
            **shared,
        ),
        Operation(
            method="POST",
            path=f"{_BATCH}/cancel",
            name="cancelBatch",
            summary="Stop a batch at once; what is done is kept.",
            parameters=(one,),
            replies=batch,
            **shared,
        ),
    ]
