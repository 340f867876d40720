"""What goes out in a dialect comes back the same, for everything the dialect can carry."""

import base64
import itertools
import json
import string
from types import ModuleType
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core import errors
from headrace.core.events import (
    Delta,
    Event,
    Failed,
    Finished,
    Started,
    TokenLogprob,
    fold,
)
from headrace.core.messages import (
    Document,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headrace.core.models import Abilities, Model, Usage
from headrace.core.requests import OutputFormat, Request, Sampling, Tool, ToolChoice
from headrace.wire import anthropic, openai_chat

Mode = Literal["auto", "none", "required", "named"]

texts = st.text(max_size=12)
some_text = st.text(min_size=1, max_size=12)
names = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=12)
data = st.binary(min_size=1, max_size=8).map(lambda raw: base64.b64encode(raw).decode())
unit = st.floats(0, 1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(texts, json_values, max_size=3)
object_texts = objects.map(json.dumps) | objects.map(lambda value: json.dumps(value, indent=1))
broken_texts = st.sampled_from(['{"a":', "[1]", "x ", '{"a":NaN}', "{}}", "\x00", "[" * 99])

text_parts = st.builds(Text, texts)
images = st.builds(Image, st.just("image/png"), data) | st.builds(
    Image, url=names.map("https://host/{}".format)
)
tools = st.lists(
    st.builds(Tool, names, objects, texts, st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)


def parts(of: st.SearchStrategy[Part]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(of, max_size=3).map(tuple)


@st.composite
def choices(draw: st.DrawFn, offered: tuple[Tool, ...]) -> tuple[ToolChoice, bool]:
    if not offered:
        return ToolChoice(), True
    modes: list[Mode] = ["auto", "none", "required", "named"]
    mode = draw(st.sampled_from(modes))
    name = draw(st.sampled_from(offered)).name if mode == "named" else None
    return ToolChoice(mode, name), draw(st.booleans()) if mode != "none" else True


@st.composite
def openai_requests(draw: st.DrawFn) -> Request:
    offered = draw(tools)
    choice, parallel = draw(choices(offered))
    documents = st.builds(
        Document, st.just("application/pdf"), data=data, title=some_text
    ) | st.builds(Document, st.just("text/plain"), text=some_text, title=some_text)
    results = st.builds(ToolResult, texts, parts(text_parts | images))
    calls = st.builds(ToolCall, texts, texts, texts)
    assistant = st.tuples(
        st.lists(st.builds(Thinking, some_text), max_size=1),
        st.lists(text_parts, max_size=2),
        st.lists(calls, max_size=2),
    ).map(lambda lists: tuple(part for some in lists for part in some))
    messages = draw(
        st.lists(
            st.builds(Message, st.sampled_from(["system", "developer"]), parts(text_parts))
            | st.builds(Message, st.just("user"), parts(text_parts | images | documents))
            | st.builds(Message, st.just("assistant"), assistant),
            min_size=1,
            max_size=4,
        )
    )
    if draw(st.booleans()):
        found = draw(st.lists(results, min_size=1, max_size=2))
        messages.insert(draw(st.integers(0, len(messages))), Message("user", tuple(found)))
    penalty = st.none() | st.floats(-2, 2)
    return Request(
        model=draw(some_text),
        messages=tuple(messages),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=draw(st.none() | st.integers(1, 2**40)),
        stop=draw(st.lists(some_text, max_size=3).map(tuple)),
        sampling=Sampling(
            draw(st.none() | st.floats(0, 2)),
            draw(st.none() | unit),
            draw(st.none() | st.integers(0, 99)),
            draw(st.none() | unit),
            draw(penalty),
            draw(penalty),
            draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
            draw(st.none() | st.dictionaries(texts, st.floats(-100, 100), max_size=2)),
        ),
        output_format=draw(
            st.none()
            | st.just(OutputFormat())
            | st.builds(OutputFormat, objects, texts, st.booleans())
        ),
        logprobs=draw(st.none() | st.integers(0, 20)),
        thinking=draw(st.none() | st.booleans()),
        end_user=draw(st.none() | texts),
    )


@st.composite
def anthropic_requests(draw: st.DrawFn) -> Request:
    offered = draw(tools)
    choice, parallel = draw(choices(offered))
    title = st.none() | texts
    documents = (
        st.builds(Document, st.just("application/pdf"), data=data, title=title)
        | st.builds(Document, st.just("text/plain"), text=texts, title=title)
        | st.builds(Document, url=texts, title=title)
    )
    attachments = text_parts | images | documents
    results = st.builds(ToolResult, texts, parts(attachments), st.booleans())
    thinking = st.builds(Thinking, texts, st.none() | some_text) | st.builds(
        Thinking, redacted=texts
    )
    calls = st.builds(ToolCall, texts, texts, object_texts | broken_texts)
    system = st.builds(
        Message, st.just("system"), st.lists(text_parts, min_size=1, max_size=2).map(tuple)
    )
    turns = st.builds(Message, st.just("user"), parts(attachments | results)) | st.builds(
        Message, st.just("assistant"), parts(text_parts | thinking | calls | documents)
    )
    return Request(
        model=draw(some_text),
        messages=(
            *draw(st.lists(system, max_size=1)),
            draw(turns),
            *draw(st.lists(turns | system, max_size=3)),
        ),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=draw(st.integers(1, 2**40)),
        stop=draw(st.lists(some_text, max_size=3).map(tuple)),
        sampling=Sampling(
            draw(st.none() | st.floats(0, 2)),
            draw(st.none() | unit),
            draw(st.none() | st.integers(0, 99)),
        ),
        output_format=draw(st.none() | st.builds(OutputFormat, objects)),
        thinking=draw(st.none() | st.booleans()),
        end_user=draw(st.none() | texts),
    )


@settings(max_examples=60, deadline=None)
@given(request=openai_requests(), stream=st.booleans())
def test_chat_completions_requests(request: Request, *, stream: bool):
    decoded = openai_chat.decode_request(openai_chat.encode_request(request, stream=stream))
    assert decoded == openai_chat.Decoded(request, stream, stream)


@settings(max_examples=60, deadline=None)
@given(request=anthropic_requests(), stream=st.booleans())
def test_messages_requests(request: Request, *, stream: bool):
    decoded = anthropic.decode_request(anthropic.encode_request(request, stream=stream))
    assert decoded == anthropic.Decoded(request, stream)


counts = st.integers(0, 10**9)
usages = st.tuples(counts, counts, counts, counts).map(
    lambda of: Usage(of[0] + of[1], of[1], of[2] + of[3], of[3])
)
logprobs = st.builds(
    TokenLogprob,
    texts,
    st.floats(-100, 0),
    st.lists(st.integers(0, 255), max_size=3).map(tuple),
    st.lists(st.builds(TokenLogprob, texts, st.floats(-100, 0)), max_size=2).map(tuple),
)


def openai_answers() -> st.SearchStrategy[tuple[Part, ...]]:
    thinking = st.lists(st.builds(Thinking, some_text), max_size=1)
    text = st.lists(st.builds(Text, some_text), max_size=1)
    calls = st.lists(
        st.builds(ToolCall, some_text, texts, texts), max_size=3, unique_by=lambda call: call.id
    )
    return st.tuples(thinking, text, calls).map(
        lambda lists: tuple(part for some in lists for part in some)
    )


def anthropic_answers() -> st.SearchStrategy[tuple[Part, ...]]:
    arguments = object_texts | broken_texts
    return parts(
        text_parts
        | st.builds(Thinking, texts, st.none() | some_text)
        | st.builds(Thinking, redacted=texts)
        | st.builds(ToolCall, texts, texts, arguments)
    )


@st.composite
def deltas_of(draw: st.DrawFn, index: int, part: Part, *, counted: bool) -> list[Event]:
    """`part`, cut into deltas."""

    def pieces(text: str) -> list[str]:
        at = draw(st.integers(0, len(text)))
        return [text[:at], text[at:]]

    match part:
        case Text():
            tokens = st.lists(logprobs, max_size=2).map(tuple) if counted else st.just(())
            return [Delta(index, Text(one), logprobs=draw(tokens)) for one in pieces(part.text)]
        case Thinking(redacted=None):
            signed = Delta(index, Thinking(signature=part.signature))
            return [*(Delta(index, Thinking(one)) for one in pieces(part.text)), signed]
        case ToolCall():
            first, *rest = pieces(part.arguments)
            opening = Delta(index, ToolCall(part.id, part.name, first))
            return [opening, *(Delta(index, ToolCall("", "", more)) for more in rest)]
        case Thinking():
            return [Delta(index, part)]
        case _:
            raise AssertionError("no such part in an answer")


@st.composite
def answers(draw: st.DrawFn, dialect: ModuleType, *, whole: bool = False) -> list[Event]:
    kind = openai_answers() if dialect is openai_chat else anthropic_answers()
    counted = dialect is openai_chat
    events: list[Event] = [Started("model", draw(usages))]
    for index, part in enumerate(draw(kind)):
        events += draw(deltas_of(index, part, counted=counted))
    stops = ["end", "length", "tool_calls", "refusal"]
    stops += [] if counted else ["stop_sequence", "context_full"]
    sequence = st.none() if counted else st.none() | texts
    finished = st.builds(Finished, st.sampled_from(stops), usages, sequence)
    kinds = ["invalid_request", "context_too_long", "engine_failed", "overloaded", "internal"]
    failed = st.builds(Failed, st.sampled_from(kinds), some_text)
    return [*events, draw(finished if whole else finished | failed)]


def tokens_of(events: list[Event]) -> list[TokenLogprob]:
    return [one for event in events if isinstance(event, Delta) for one in event.logprobs]


def said(events: list[Event], *, cut: bool) -> list[Part]:
    """The answer's parts; a part that a failure cut before its first word is no part."""
    return [part for part in fold(events).parts if not (cut and part in {Text(""), Thinking()})]


def check_stream(dialect: ModuleType, events: list[Event], cuts: list[int]) -> None:
    options = {"include_usage": True} if dialect is openai_chat else {}
    encoder = dialect.StreamEncoder(reply_id="1", created_s=2, model="model", **options)
    stream = b"".join(encoder.encode(event) + encoder.keep_alive() for event in events)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    decoder = dialect.StreamDecoder()
    decoded: list[Event] = []
    for start, end in itertools.pairwise(edges):
        decoded += decoder.feed(stream[start:end])
    decoded += decoder.end()
    cut = isinstance(events[-1], Failed)
    assert said(decoded, cut=cut) == said(events, cut=cut)
    assert decoded[-1] == events[-1]
    assert tokens_of(decoded) == tokens_of(events)
    assert isinstance(decoded[0], Started)
    indices = [event.index for event in decoded if isinstance(event, Delta)]
    assert indices == sorted(indices)


cuts_in_a_stream = st.lists(st.integers(0, 10_000), max_size=30)


@settings(max_examples=60, deadline=None)
@given(answers(openai_chat), cuts_in_a_stream)
def test_chat_completions_streams(events: list[Event], cuts: list[int]):
    check_stream(openai_chat, events, cuts)


@settings(max_examples=60, deadline=None)
@given(answers(anthropic), cuts_in_a_stream)
def test_messages_streams(events: list[Event], cuts: list[int]):
    check_stream(anthropic, events, cuts)


@settings(max_examples=60, deadline=None)
@given(answers(openai_chat, whole=True))
def test_chat_completions_replies(events: list[Event]):
    reply = openai_chat.encode_reply(events, reply_id="1", created_s=2, model="model")
    decoded = openai_chat.decode_reply(reply)
    assert fold(decoded) == fold(events)
    assert decoded[-1] == events[-1]
    assert tokens_of(decoded) == tokens_of(events)


@settings(max_examples=60, deadline=None)
@given(answers(anthropic, whole=True))
def test_messages_replies(events: list[Event]):
    reply = anthropic.encode_reply(events, reply_id="1", created_s=2, model="model")
    decoded = anthropic.decode_reply(reply)
    assert fold(decoded) == fold(events)
    assert decoded[-1] == events[-1]


@pytest.mark.parametrize("dialect", [openai_chat, anthropic])
@pytest.mark.parametrize("ending", [[], [Failed("engine_failed", "it died")]])
def test_a_failed_answer_has_no_reply(dialect: ModuleType, ending: list[Event]):
    with pytest.raises(ValueError, match="Finished"):
        dialect.encode_reply(ending, reply_id="1", created_s=2, model="model")


@given(st.lists(st.builds(Abilities, *[st.booleans()] * 5), max_size=3))
def test_models(abilities: list[Abilities]):
    models = tuple(
        Model(f"m{number}", f"M {number}", 2048, able, created_ns=number * 10**9)
        for number, able in enumerate(abilities)
    )
    assert anthropic.decode_models(anthropic.encode_models(models)) == models


KINDS = {
    one.kind
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.HeadraceError)
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_error_comes_back(kind: str):
    told = {"catalog", "config", "store"} & {kind}  # one of many inner faults to OpenAI's clients
    status = 400 if kind == "invalid_request" else 599
    body = openai_chat.encode_error(kind, "why", param="p", request_id="r")
    assert openai_chat.decode_error(status, body) == Failed("internal" if told else kind, "why")
    body = anthropic.encode_error(kind, "why", param="p", request_id="r")
    assert anthropic.decode_error(status, body) == Failed(kind, "why")
