"""What goes out in a dialect comes back the same, for everything the dialect can carry."""

import itertools
from types import ModuleType
from typing import Any

import msgspec
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
    user,
)
from headrace.core.models import Abilities, Model
from headrace.core.requests import OutputFormat, Request, Sampling
from headrace.wire import anthropic, free_text, openai_chat, openai_responses
from support.strategies import (
    all_tools,
    broken_texts,
    choices,
    cited,
    data,
    deltas_of,
    images,
    names,
    object_texts,
    objects,
    openai_fields,
    parts,
    refused,
    some_text,
    text_parts,
    texts,
    thought_of,
    tools,
    unit,
    urls,
    usages,
)

MARKS: dict[str, Any] = {"cache_ttl_s": st.sampled_from([None, 300, 3600])}


@st.composite
def openai_requests(draw: st.DrawFn) -> Request:
    offered = draw(all_tools)
    choice, parallel = draw(choices(offered))
    documents = (
        st.builds(Document, st.just("application/pdf"), data=data, title=some_text)
        | st.builds(Document, st.just("text/plain"), text=some_text, title=some_text)
        | st.builds(Document, file_id=texts, title=st.none() | texts)
    )
    results = st.builds(ToolResult, texts, parts(text_parts | images))
    calls = st.builds(ToolCall, texts, texts, texts)
    assistant = st.tuples(
        st.lists(st.builds(Thinking, some_text), max_size=1),
        st.lists(st.builds(Text, texts, st.just(()), st.booleans()), max_size=2),
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
    thinking, effort = draw(thought_of)
    return Request(
        model=draw(some_text),
        messages=tuple(messages),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=parallel,
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
        thinking=thinking,
        effort=effort,
        **draw(openai_fields()),
    )


@st.composite
def responses_requests(draw: st.DrawFn) -> Request:
    offered = draw(all_tools)
    choice, parallel = draw(choices(offered))
    documents = (
        st.builds(Document, st.just("application/pdf"), data=data, title=some_text)
        | st.builds(Document, url=urls, title=st.none() | texts)
        | st.builds(Document, file_id=texts)
    )
    pictures = st.builds(Image, url=urls, detail=st.sampled_from([None, "low"])) | st.builds(
        Image, file_id=texts
    )
    said = text_parts | pictures | documents
    results = st.builds(ToolResult, texts, parts(said))
    cites = st.lists(cited["openai"], max_size=2).map(tuple)
    assistant = st.tuples(
        st.lists(st.builds(Thinking, texts, encrypted=texts, item_id=texts), max_size=2),
        parts(st.builds(Text, texts, cites) | st.builds(Text, texts, refusal=refused), 2),
        st.lists(st.builds(ToolCall, texts, names, texts), max_size=2),
    ).map(lambda lists: tuple(part for some in lists for part in some))
    first = st.builds(Message, st.sampled_from(["system", "developer"]), parts(text_parts, 2))
    turns = (
        first
        | st.builds(Message, st.just("user"), parts(said))
        | st.builds(Message, st.just("user"), parts(results))
        | st.builds(Message, st.just("assistant"), assistant)
    )
    messages = [one for one in draw(st.lists(turns, max_size=4)) if one.parts]
    thinking, effort = draw(thought_of)
    return Request(
        model=draw(some_text),
        messages=tuple(apart([user("hi"), *messages])),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        sampling=Sampling(draw(st.none() | st.floats(0, 2)), draw(st.none() | unit)),
        thinking=thinking,
        effort=effort,
        **draw(openai_fields()),
    )


def apart(messages: list[Message]) -> list[Message]:
    """Items that follow one another are one message, so that messages need one between them."""
    return [one for message in messages for one in (message, user("next"))]


@st.composite
def anthropic_requests(draw: st.DrawFn) -> Request:
    offered = draw(tools)
    choice, parallel = draw(choices(offered))
    title = st.none() | texts
    more: dict[str, Any] = {"title": title, "citations": st.booleans(), **MARKS}
    documents = (
        st.builds(Document, st.just("application/pdf"), data=data, **more)
        | st.builds(Document, st.just("text/plain"), text=texts, **more)
        | st.builds(Document, url=texts, **more)
        | st.builds(Document, file_id=texts, **more)
    )
    found: dict[str, Any] = {"text": texts, "url": texts, "title": texts}
    found = {"citations": st.booleans(), **MARKS} | found
    results_of_search = st.builds(Document, st.just("text/plain"), **found)
    pictures = images | st.builds(Image, file_id=texts, **MARKS)
    marked = st.builds(Text, texts, **MARKS)
    attachments = marked | pictures | documents | results_of_search
    results = st.builds(ToolResult, texts, parts(attachments), st.booleans(), **MARKS)
    thinking = st.builds(Thinking, texts, some_text) | st.builds(Thinking, redacted=texts)
    calls = st.builds(ToolCall, texts, texts, object_texts | broken_texts, **MARKS)
    quoting = st.builds(
        Text, texts, st.lists(cited["anthropic"], min_size=1, max_size=2).map(tuple)
    )
    system = st.builds(
        Message, st.just("system"), st.lists(marked, min_size=1, max_size=2).map(tuple)
    )
    turns = st.builds(Message, st.just("user"), parts(attachments | results)) | st.builds(
        Message, st.just("assistant"), parts(marked | quoting | thinking | calls | documents)
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
        max_tokens=draw(st.integers(1, 2**31 - 1)),
        stop=draw(st.lists(some_text, max_size=3).map(tuple)),
        sampling=Sampling(
            draw(st.none() | unit),
            draw(st.none() | unit),
            draw(st.none() | st.integers(0, 99)),
        ),
        output_format=draw(st.none() | st.builds(OutputFormat, objects)),
        thinking=draw(st.none() | st.booleans()),
        end_user=draw(st.none() | texts),
        effort=draw(st.none() | st.sampled_from(["low", "high", "max"])),
        service_tier=draw(st.sampled_from([None, "auto", "default"])),
        cache_ttl_s=draw(MARKS["cache_ttl_s"]),
    )


@settings(max_examples=60, deadline=None)
@given(request=openai_requests(), stream=st.booleans())
def test_chat_completions_requests(request: Request, *, stream: bool):
    decoded = openai_chat.decode_request(openai_chat.encode_request(request, stream=stream))
    assert decoded == openai_chat.Decoded(normal(request), stream, stream)
    assert openai_chat.losses(request) == ()


@settings(max_examples=60, deadline=None)
@given(request=responses_requests(), stream=st.booleans())
def test_responses_requests(request: Request, *, stream: bool):
    body = openai_responses.encode_request(request, stream=stream)
    decoded = openai_responses.decode_request(body)
    assert decoded.request == normal(request)
    assert (decoded.stream, decoded.ignored) == (stream, ())
    assert openai_responses.losses(request) == ()


def normal(request: Request) -> Request:
    """Calls of custom tools carry their text in one way only."""
    custom = request.free_text_tools()
    messages = (
        msgspec.structs.replace(
            message,
            parts=tuple(
                msgspec.structs.replace(
                    part, arguments=free_text.wrap(free_text.unwrap(part.arguments))
                )
                if isinstance(part, ToolCall) and part.name in custom
                else part
                for part in message.parts
            ),
        )
        for message in request.messages
    )
    return msgspec.structs.replace(request, messages=tuple(messages))


@settings(max_examples=60, deadline=None)
@given(request=anthropic_requests(), stream=st.booleans())
def test_messages_requests(request: Request, *, stream: bool):
    decoded = anthropic.decode_request(anthropic.encode_request(request, stream=stream))
    assert decoded == anthropic.Decoded(request, stream)
    assert anthropic.losses(request) == ()


def chat_answers() -> st.SearchStrategy[tuple[Part, ...]]:
    thinking = st.lists(st.builds(Thinking, some_text), max_size=1)
    text = st.lists(st.builds(Text, some_text, st.lists(cited["openai"]).map(tuple)), max_size=1)
    refusal = st.lists(st.builds(Text, some_text, refusal=refused), max_size=1)
    calls = st.lists(
        st.builds(ToolCall, some_text, texts, texts), max_size=3, unique_by=lambda call: call.id
    )
    return st.tuples(thinking, text, refusal, calls).map(
        lambda lists: tuple(part for some in lists for part in some)
    )


def responses_answers() -> st.SearchStrategy[tuple[Part, ...]]:
    cites = st.lists(cited["openai"], max_size=2).map(tuple)
    return parts(
        st.builds(Text, some_text, cites)
        | st.builds(Text, some_text, refusal=refused)
        | st.builds(Thinking, some_text, encrypted=st.just("e"))
        | st.builds(ToolCall, texts, names, texts)
    )


def anthropic_answers() -> st.SearchStrategy[tuple[Part, ...]]:
    arguments = object_texts | broken_texts
    cites = st.lists(cited["anthropic"], max_size=2).map(tuple)
    return parts(
        st.builds(Text, texts, cites)
        | st.builds(Thinking, texts, st.none() | some_text)
        | st.builds(Thinking, redacted=texts)
        | st.builds(ToolCall, texts, texts, arguments)
    )


ANSWERS = {
    openai_chat: chat_answers(),
    openai_responses: responses_answers(),
    anthropic: anthropic_answers(),
}


@st.composite
def answers(draw: st.DrawFn, dialect: ModuleType, *, whole: bool = False) -> list[Event]:
    counted = dialect is not anthropic
    used = usages(long=dialect is anthropic)
    said = draw(ANSWERS[dialect])
    events: list[Event] = [Started("model", draw(used))]
    for index, part in enumerate(said):
        events += draw(deltas_of(index, part, counted=counted))
    stops = ["end", "length", "tool_calls", "refusal"]
    stops += [] if counted else ["stop_sequence", "context_full"]
    if counted and any(isinstance(part, Text) and part.refusal for part in said):
        stops = ["refusal"]
    elif dialect is openai_responses:
        called = any(isinstance(part, ToolCall) for part in said)
        stops = ["length", "refusal", "tool_calls" if called else "end"]
    sequence = st.none() if counted else st.none() | texts
    finished = st.builds(Finished, st.sampled_from(stops), used, sequence)
    kinds = ["invalid_request", "context_too_long", "engine_failed", "overloaded", "internal"]
    failed = st.builds(Failed, st.sampled_from(kinds), some_text)
    return [*events, draw(finished if whole else finished | failed)]


def tokens_of(events: list[Event]) -> list[TokenLogprob]:
    return [one for event in events if isinstance(event, Delta) for one in event.logprobs]


def said(events: list[Event], *, cut: bool) -> list[Part]:
    """The answer's parts; a part that a failure cut before its first word is no part."""
    parts_of = [known(part, cut=cut) for part in fold(events).parts]
    return [part for part in parts_of if not (cut and part in [Text(""), Thinking()])]


def known(part: Part, *, cut: bool) -> Part:
    """Items have ids of their own; what only the provider can read comes with their end."""
    if not isinstance(part, Thinking) or (part.encrypted is None and part.item_id is None):
        return part
    return Thinking(part.text, encrypted=None if cut else part.encrypted)


OPTIONS: dict[ModuleType, dict[str, Any]] = {
    openai_chat: {"include_usage": True},
    openai_responses: {"echo": openai_responses.Echo(b'"tools":[]'), "now_s": lambda: 2},
    anthropic: {},
}


def check_stream(dialect: ModuleType, events: list[Event], cuts: list[int]) -> None:
    encoder = dialect.StreamEncoder(reply_id="1", created_s=2, model="model", **OPTIONS[dialect])
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
@given(answers(openai_responses), cuts_in_a_stream)
def test_responses_streams(events: list[Event], cuts: list[int]):
    check_stream(openai_responses, events, cuts)


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
@given(answers(openai_responses, whole=True))
def test_responses_replies(events: list[Event]):
    echo = openai_responses.Echo(b'"tools":[]')
    reply = openai_responses.encode_reply(
        events, reply_id="1", created_s=2, model="model", echo=echo
    )
    decoded = openai_responses.decode_reply(reply)
    assert said(decoded, cut=False) == said(events, cut=False)
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
    # Inner faults are one to OpenAI's clients; an upstream that wants money is another's budget.
    told = {"catalog": "internal", "config": "internal", "store": "internal"}
    told["budget_spent"] = "rate_limited"
    status = 400 if kind == "invalid_request" else 599
    body = openai_chat.encode_error(kind, "why", param="p", request_id="r")
    assert openai_chat.decode_error(status, body) == Failed(told.get(kind, kind), "why")
    body = anthropic.encode_error(kind, "why", param="p", request_id="r")
    assert anthropic.decode_error(status, body) == Failed(kind, "why")
