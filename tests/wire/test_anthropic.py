import json
from pathlib import Path
from typing import Any

import anthropic as sdk
import httpx2
import msgspec
import pytest
from anthropic.types import Message as SdkMessage
from anthropic.types import (
    MessageParam,
    MessageTokensCount,
    ModelInfo,
    RawMessageStreamEvent,
    ToolUnionParam,
)
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming as BetaParams
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from anthropic.types.shared import ErrorResponse
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route

from headrace.core.errors import InvalidRequest, TooLarge, Unsupported
from headrace.core.events import Delta, Event, Failed, Finished, Started, fold
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
from headrace.core.models import Abilities, Model, Usage
from headrace.core.requests import OutputFormat, Request, Sampling, Tool, ToolChoice
from headrace.wire import anthropic, opaque, sse

GOLDEN = Path(__file__).parent / "golden"
PNG = "iVBORw0KGgo="
NOTHING: list[Any] = []
ANYTHING: dict[str, Any] = {}

TEXT: list[Event] = [
    Started("mill", Usage(12, 8)),
    Delta(0, Text("Water")),
    Delta(0, Text(' "falls"\n\u2028é😀')),
    Finished("stop_sequence", Usage(12, 8, 5), "END"),
]
TOOLS: list[Event] = [
    Started("mill", Usage(12)),
    Delta(0, Thinking("Which ")),
    Delta(0, Thinking("sluice?")),
    Delta(0, Thinking(signature="c2ln")),
    Delta(1, Thinking(redacted="c2VjcmV0")),
    Delta(2, Text("Opening both.")),
    Delta(3, ToolCall("toolu_1", "open", "")),
    Delta(3, ToolCall("", "", '{"sluice":')),
    Delta(3, ToolCall("", "", " 1}")),
    Delta(4, ToolCall("toolu_2", "list", "")),
    Finished("tool_calls", Usage(12, 0, 30, 4)),
]
FAILED: list[Event] = [
    Started("mill"),
    Delta(0, Text("Wat")),
    Failed("overloaded", "Too many requests."),
]
STREAMS = {"text": TEXT, "tools": TOOLS, "failed": FAILED}


def streamed(events: list[Event]) -> bytes:
    encoder = anthropic.StreamEncoder(reply_id="1", created_s=1, model="mill", request_id="req_1")
    return b"".join(map(encoder.encode, events))


def replied(events: list[Event]) -> bytes:
    return anthropic.encode_reply(events, reply_id="1", created_s=1, model="mill")


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_as_recorded(name: str):
    recorded = (GOLDEN / f"anthropic_{name}.sse").read_bytes()
    assert streamed(STREAMS[name]).decode() == recorded.decode()


@pytest.mark.parametrize("name", ["text", "tools"])
def test_events_and_replies_are_what_the_client_library_expects(name: str):
    adapter = TypeAdapter(RawMessageStreamEvent)
    for event in sse.Parser().feed(streamed(STREAMS[name])):
        checked = adapter.validate_json(event.data, strict=True)
        assert checked.type == event.event
    SdkMessage.model_validate_json(replied(STREAMS[name]), strict=True)


def test_a_ping_is_an_event_of_its_own():
    encoder = anthropic.StreamEncoder(reply_id="1", created_s=1, model="mill")
    assert encoder.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_blocks_of_one_index_but_two_kinds_never_share_a_block():
    events = sse.Parser().feed(
        streamed([Delta(0, Thinking("a")), Delta(0, Thinking(redacted="x")), Delta(1, Text("b"))])
    )
    kinds = [event.event for event in events]
    start, delta, stop = (f"content_block_{kind}" for kind in ("start", "delta", "stop"))
    assert kinds == [start, delta, stop, start, stop, start, delta]
    assert [json.loads(event.data)["index"] for event in events] == [0, 0, 0, 1, 1, 2, 2]


@pytest.fixture
async def client():
    """The official client, talking to an application that answers as recorded."""

    async def answer(request: StarletteRequest):
        wanted = await request.json()
        name = wanted["model"]
        if name not in STREAMS:
            body = anthropic.encode_error(
                "context_too_long", "prompt is too long", param=None, request_id="req_1"
            )
            return Response(body, 400, media_type="application/json")
        if wanted.get("stream"):
            ping = anthropic.StreamEncoder(reply_id="1", created_s=1, model="mill").keep_alive()
            return Response(ping + streamed(STREAMS[name]), media_type="text/event-stream")
        return Response(replied(STREAMS[name]), media_type="application/json")

    async def models(request: StarletteRequest):
        found = [Model(f"m{number}", f"M {number}", 9) for number in range(5)]
        cursor = {key: request.query_params.get(key) for key in ("before_id", "after_id")}
        body = anthropic.encode_models(found, limit=int(request.query_params["limit"]), **cursor)
        return Response(body, media_type="application/json")

    async def count(_: StarletteRequest):
        return Response(anthropic.encode_count(7), media_type="application/json")

    app = Starlette(
        routes=[
            Route("/v1/messages", answer, methods=["POST"]),
            Route("/v1/messages/count_tokens", count, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        yield sdk.AsyncAnthropic(
            api_key="k", base_url="http://mill", http_client=http, max_retries=0
        )


HI: list[MessageParam] = [{"role": "user", "content": "hi"}]


async def test_the_official_client_puts_a_stream_together(client: sdk.AsyncAnthropic):
    async with client.messages.stream(model="tools", max_tokens=9, messages=HI) as stream:
        message = await stream.get_final_message()
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Which sluice?", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": "Opening both."},
        {"type": "tool_use", "id": "toolu_1", "name": "open", "input": {"sluice": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}},
    ]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (12, 30)


async def test_the_official_client_reads_a_reply(client: sdk.AsyncAnthropic):
    message = await client.messages.create(model="text", max_tokens=9, messages=HI)
    assert message.content[0].to_dict()["text"] == 'Water "falls"\n\u2028é😀'
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert message.usage.input_tokens == 4
    assert message.usage.cache_read_input_tokens == 8


async def test_the_official_client_meets_errors(client: sdk.AsyncAnthropic):
    with pytest.raises(sdk.BadRequestError) as refused:
        await client.messages.create(model="x", max_tokens=9, messages=HI)
    assert refused.value.error_code == "context_too_long"
    with pytest.raises(sdk.APIStatusError) as broken:
        async with client.messages.stream(model="failed", max_tokens=9, messages=HI) as stream:
            await stream.get_final_message()
    assert broken.value.type == "overloaded_error"


async def test_the_official_client_pages_through_models(client: sdk.AsyncAnthropic):
    assert [model.id async for model in client.models.list(limit=2)] == [
        f"m{number}" for number in range(5)
    ]
    assert [model.id async for model in client.models.list(limit=2, before_id="m3")] == [
        "m1",
        "m2",
        "m0",
    ]


async def test_the_official_client_counts(client: sdk.AsyncAnthropic):
    counted = await client.messages.count_tokens(model="text", messages=HI)
    assert counted == MessageTokensCount(input_tokens=7)


def test_errors_are_what_the_client_library_expects():
    body = anthropic.encode_error("model_not_found", "No model.", param="model", request_id="r")
    error = ErrorResponse.model_validate_json(body, strict=True)
    assert (error.error.type, error.request_id) == ("not_found_error", "r")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("It holds 9 tokens.", "prompt is too long: It holds 9 tokens."),
        ("Prompt is too long: 10 tokens > 9 maximum", "Prompt is too long: 10 tokens > 9 maximum"),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_in_the_words_clients_look_for(message: str, told: str):
    body = anthropic.encode_error("context_too_long", message, param=None, request_id="r")
    assert json.loads(body)["error"]["message"] == told


def test_models_are_what_the_client_library_expects():
    able = Abilities(thinking=True, vision=True)
    model = Model("mill", "Mill", 99, able, created_ns=5_000_000_000)
    info = ModelInfo.model_validate_json(anthropic.encode_model(model), strict=True)
    assert info.capabilities is not None
    assert info.capabilities.image_input.supported
    assert info.max_input_tokens == 99
    listed = json.loads(anthropic.encode_models([model]))
    assert listed["data"] == [json.loads(anthropic.encode_model(model))]
    assert listed["data"][0]["created_at"] == "1970-01-01T00:00:05Z"
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("mill", "mill", False)


@pytest.mark.parametrize(
    ("cursor", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"after_id": "x"}, "after_id"),
        ({"before_id": "x"}, "before_id"),
        ({"before_id": "a", "after_id": "a"}, "before_id"),
    ],
)
def test_wrong_cursors_are_named(cursor: dict[str, Any], param: str):
    with pytest.raises(InvalidRequest) as caught:
        anthropic.encode_models([Model("a", "A", 1)], **cursor)
    assert caught.value.param == param


@pytest.mark.parametrize("stream", [True, False])
def test_requests_are_what_the_client_library_sends(*, stream: bool):
    request = Request(
        model="mill",
        messages=(
            Message("system", (Text("Be brief."),)),
            Message("user", (Text("Look"), Image("image/png", PNG), Document(url="https://a"))),
            Message(
                "assistant",
                (Thinking("hm", "sig"), Thinking(redacted="x"), ToolCall("c", "open", "{}")),
            ),
            Message("user", (ToolResult("c", (Text("done"),), is_error=True),)),
            Message("system", (Text("Now briefly."),)),
        ),
        tools=(Tool("open", {"type": "object"}, "Opens a sluice.", strict=True),),
        tool_choice=ToolChoice("named", "open"),
        parallel_tool_calls=False,
        max_tokens=9,
        stop=("x",),
        output_format=OutputFormat({"type": "object"}),
        thinking=True,
        end_user="u",
    )
    sent = json.loads(anthropic.encode_request(request, stream=stream))
    shape = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
    TypeAdapter(shape).validate_python(sent, extra="forbid")
    for message in sent["messages"]:
        TypeAdapter(MessageParam).validate_python(message, extra="forbid")
    for tool in sent["tools"]:
        TypeAdapter(ToolUnionParam).validate_python(tool, extra="forbid")


def decode(*, version: str = "2023-06-01", **fields: Any) -> Request:
    body = {"model": "mill", "max_tokens": 9, "messages": HI, **fields}
    return anthropic.decode_request(msgspec.json.encode(body), version=version).request


def blocks(*content: dict[str, Any], role: str = "user", **options: Any) -> tuple[Part, ...]:
    return decode(messages=[{"role": role, "content": list(content)}], **options).messages[0].parts


def test_the_least_request_in_both_versions():
    for version in anthropic.VERSIONS:
        least = Request(model="mill", max_tokens=9, messages=(user("hi"),))
        assert decode(version=version) == least
    with pytest.raises(InvalidRequest):
        decode(version="2020-01-01")


def test_every_field_of_the_client_library_is_honoured_ignored_or_refused():
    known: set[str] = set()
    for base in (*MessageCreateParamsStreaming.__mro__, *BetaParams.__mro__):
        known |= set(getattr(base, "__annotations__", ()))
    body = anthropic.decode_request.__globals__["_BODY"].type.__struct_fields__
    helpers = {"prefill", "message"}  # words of its documentation, not fields
    assert known - set(body) - helpers == anthropic.IGNORED_FIELDS
    assert set(body) >= set(anthropic.REFUSED_FIELDS)


def test_ignored_and_unknown_fields_change_nothing():
    odd: dict[str, Any] = {key: {"x": 1} for key in anthropic.IGNORED_FIELDS}
    assert decode(**odd, container=None, mcp_servers=[], made_up={"a": 1}) == decode()
    odd |= {"made_up": 1, "\n": 1, "none": None}
    odd["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    odd["tools"] = [{"name": "f", "input_schema": {}, "defer_loading": True}]
    body = msgspec.json.encode({"model": "mill", "max_tokens": 9, "messages": HI} | odd)
    ignored = {*anthropic.IGNORED_FIELDS, "made_up", "?"}
    ignored |= {"thinking.budget_tokens", "tools.defer_loading"}
    assert set(anthropic.decode_request(body).ignored) == ignored


def test_sampling_is_honoured_in_both_versions():
    for version in anthropic.VERSIONS:
        request = decode(version=version, temperature=0.5, top_p=0.9, top_k=40)
        assert request.sampling == Sampling(0.5, 0.9, 40)


def test_max_tokens_is_required_except_to_count():
    body = msgspec.json.encode({"model": "mill", "messages": HI})
    with pytest.raises(InvalidRequest) as caught:
        anthropic.decode_request(body)
    assert caught.value.param == "max_tokens"
    assert anthropic.decode_count_request(body) == Request(model="mill", messages=(user("hi"),))


def test_system_prompts_keep_their_place_and_lose_the_billing_line():
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1"}
    brief = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    later = {"role": "system", "content": "Now."}
    request = decode(system=[billing, brief], messages=[*HI, later])
    assert request.messages == (
        Message("system", (Text("Be brief.", cache_ttl_s=300),)),
        user("hi"),
        Message("system", (Text("Now."),)),
    )
    assert decode(system="Be brief.").messages[0] == Message("system", (Text("Be brief."),))
    assert decode(system="").messages == decode(system=[]).messages == (user("hi"),)


def test_a_coding_assistants_first_request():
    body = {
        "model": "mill",
        "max_tokens": 64000,
        "stream": True,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197"},
            {"type": "text", "text": "You code.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "Fix it.",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    }
                ],
            },
            {"role": "system", "content": "It is Monday."},
        ],
        "tools": [{"name": "Bash", "description": "Runs.", "input_schema": {"type": "object"}}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": '{"session_id":"s"}'},
    }
    assert anthropic.decode_request(msgspec.json.encode(body)) == anthropic.Decoded(
        Request(
            model="mill",
            max_tokens=64000,
            messages=(
                Message("system", (Text("You code.", cache_ttl_s=300),)),
                Message("user", (Text("Fix it.", cache_ttl_s=3600),)),
                Message("system", (Text("It is Monday."),)),
            ),
            tools=(Tool("Bash", {"type": "object"}, "Runs."),),
            thinking=True,
            effort="high",
            end_user='{"session_id":"s"}',
        ),
        stream=True,
        ignored=("context_management",),
    )


def test_breakpoints_stand_where_they_were_put():
    mark: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
    call: dict[str, Any] = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "4"}
    source = {"type": "text", "media_type": "text/plain", "data": "a"}
    request = decode(
        messages=[
            {"role": "user", "content": [{"type": "document", "source": source, **mark}]},
            {"role": "assistant", "content": [call | mark]},
            {"role": "user", "content": [result | mark, {"type": "text", "text": "so"}]},
        ],
        tools=[{"name": "f", "input_schema": {}} | mark],
        **mark,
    )
    assert request.cache_ttl_s == 300
    assert request.tools[0].cache_ttl_s == 300
    parts = [part for message in request.messages for part in message.parts]
    assert [getattr(part, "cache_ttl_s", None) for part in parts] == [300, 300, 300, None]
    sent = anthropic.encode_request(request, stream=False)
    assert anthropic.decode_request(sent).request == request
    assert sent.count(b'"cache_control":{"type":"ephemeral"}') == 5


def test_uploaded_files_are_named():
    source = {"type": "file", "file_id": "file_1"}
    assert blocks({"type": "image", "source": source}, {"type": "document", "source": source}) == (
        Image(file_id="file_1"),
        Document(file_id="file_1"),
    )


def test_reasoning_of_another_provider_comes_back_sealed():
    thought = Thinking("hm", encrypted="gAAA", item_id="rs_1")
    secret = Thinking(encrypted="gAAA", item_id="rs_1")
    events: list[Event] = [Started("m"), Delta(0, Thinking("hm")), Delta(0, secret)]
    events.append(Finished("end", Usage()))
    reply = json.loads(anthropic.encode_reply(events, reply_id="1", created_s=1, model="mill"))
    assert blocks(*reply["content"], role="assistant") == (thought,)
    # An upstream that is a Headrace gets back what it sealed.
    assert upstream_of(events)[-2] == Delta(0, Thinking(signature=opaque.seal(secret)))


def upstream_of(events: list[Event]) -> list[Event]:
    decoder = anthropic.StreamDecoder()
    return [*decoder.feed(streamed(events)), *decoder.end()]


def test_only_signed_reasoning_goes_to_the_provider():
    parts = (Thinking("a", "sig"), Thinking("b"), Thinking("c", encrypted="e"), Text("d"))
    turns = (user("hi"), Message("assistant", parts), Message("assistant", parts[1:3]))
    request = Request(model="m", messages=turns, max_tokens=9, sampling=Sampling(1.5))
    sent = json.loads(anthropic.encode_request(request, stream=False))
    kinds = [[block["type"] for block in one["content"]] for one in sent["messages"][1:]]
    assert kinds == [["thinking", "text"]]
    assert sent["temperature"] == 1
    lost = ("temperature", "thinking", "thinking.encrypted_content")
    assert anthropic.losses(request) == lost
    ours = anthropic.encode_request(request, stream=False, to_headrace=True)
    assert anthropic.decode_request(ours).request == request


def test_what_is_lost_is_named():
    request = Request(
        model="m",
        messages=(
            Message("user", (Image("image/png", PNG, detail="high"),)),
            Message("assistant", (Text("No.", ({"type": "url_citation"},), refusal=True),)),
        ),
        sampling=Sampling(top_k=5, seed=1, logit_bias={"5": 1}),
        logprobs=0,
        effort="minimal",
        verbosity="low",
        service_tier="flex",
        metadata={"a": "b"},
        prompt_cache_key="k",
    )
    assert anthropic.losses(request) == (
        "citations",
        "effort",
        "image.detail",
        "logit_bias",
        "logprobs",
        "metadata",
        "prompt_cache_key",
        "refusal",
        "seed",
        "service_tier",
        "verbosity",
    )
    plain = Request(model="m", messages=(user("hi"),), service_tier="default", effort="high")
    assert anthropic.losses(plain) == ()
    sent = anthropic.encode_request(plain, stream=False)
    assert anthropic.decode_request(sent).request.service_tier == "default"


def test_citations_are_passed_on():
    cited = ({"type": "char_location", "cited_text": "a", "document_index": 0},)
    other = ({"type": "url_citation", "url": "https://a"},)
    events: list[Event] = [
        Started("m"),
        Delta(0, Text("Say")),
        Delta(0, Text("s", cited + other)),
        Finished("end", Usage()),
    ]
    assert fold(upstream_of(events)).parts == (Text("Says", cited),)
    reply = anthropic.encode_reply(events, reply_id="1", created_s=1, model="m")
    assert fold(anthropic.decode_reply(reply)).parts == (Text("Says", cited),)


def test_written_tokens_are_told_apart():
    usage = Usage(input=100, cached=20, output=1, cache_written=50, cache_written_long=10)
    events: list[Event] = [Started("m", usage), Finished("end", usage)]
    reply = anthropic.encode_reply(events, reply_id="1", created_s=1, model="m")
    assert json.loads(reply)["usage"]["input_tokens"] == 30
    assert anthropic.decode_reply(reply)[-1] == Finished("end", usage)
    assert upstream_of(events)[0] == Started("mill", usage)


def test_a_tool_turn():
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1]}}
    assert blocks(call, role="assistant") == (ToolCall("c", "f", '{"a":[1]}'),)
    inner = [{"type": "text", "text": "2"}, {"type": "image", "source": image_source()}]
    results = blocks(
        {"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": True},
        {"type": "tool_result", "tool_use_id": "b", "content": inner},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "text", "text": "go on"},
    )
    assert results == (
        ToolResult("a", (Text("1"),), is_error=True),
        ToolResult("b", (Text("2"), Image("image/png", PNG))),
        ToolResult("c", ()),
        Text("go on"),
    )


def image_source() -> dict[str, str]:
    return {"type": "base64", "media_type": "image/png", "data": PNG}


def test_arguments_keep_their_spaces():
    body = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":'
        b'[{"type":"tool_use","id":"c","name":"f","input": {"b" : 1.50,\n"a":[ ]} }]}]}'
    )
    part = anthropic.decode_request(body).request.messages[0].parts[0]
    assert part == ToolCall("c", "f", '{"b" : 1.50,\n"a":[ ]}')


def test_thinking_comes_back_with_its_proofs():
    parts = blocks(
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "x"},
        role="assistant",
    )
    assert parts == (Thinking("hm", "sig"), Thinking("hm"), Thinking(redacted="x"))


def test_documents():
    text = {"type": "text", "media_type": "text/plain", "data": "a"}
    inner = {"type": "content", "content": [{"type": "text", "text": t} for t in "ab"]}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    parts = blocks(
        {"type": "document", "source": text, "title": "t", "context": "From the shelf."},
        {"type": "document", "source": inner, "citations": {"enabled": False}},
        {"type": "document", "source": pdf},
        {"type": "document", "source": {"type": "url", "url": "https://a"}},
        {
            "type": "search_result",
            "source": "https://s",
            "title": "s",
            "content": [{"type": "text", "text": "found"}],
        },
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
    )
    assert parts == (
        Text("From the shelf."),
        Document("text/plain", text="a", title="t"),
        Document("text/plain", text="a\n\nb"),
        Document("application/pdf", data=PNG),
        Document(url="https://a"),
        Document("text/plain", text="found", url="https://s", title="s"),
        Image(url="https://a/b.png"),
    )


@pytest.mark.parametrize(
    ("kind", "mode"), [("auto", "auto"), ("any", "required"), ("none", "none"), ("tool", "named")]
)
def test_tool_choice(kind: str, mode: str):
    name = "f" if kind == "tool" else None
    choice = {"type": kind, "name": name, "disable_parallel_tool_use": True}
    request = decode(tools=[{"name": "f", "input_schema": {}}], tool_choice=choice)
    assert (request.tool_choice.mode, request.tool_choice.name) == (mode, name)
    assert not request.parallel_tool_calls


@pytest.mark.parametrize(
    ("kind", "thinking"),
    [("enabled", True), ("adaptive", True), ("disabled", False), ("between_tools", False)],
)
def test_thinking_is_turned_on_or_off(kind: str, *, thinking: bool | None):
    assert decode(thinking={"type": kind, "budget_tokens": 2048}).thinking is thinking


def test_structured_output_under_both_its_names():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    expected = OutputFormat({"type": "object"})
    assert decode(output_config={"format": form, "effort": "low"}).output_format == expected
    assert decode(output_format=form).output_format == expected


def test_version_2026_is_stricter_about_blocks():
    cited = {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}
    text = {"type": "text", "media_type": "text/plain", "data": "a"}
    document = {"type": "document", "source": text}
    assert blocks(cited) == (Text("a", ({"type": "char_location"},)),)
    assert blocks(document, role="assistant") == (Document("text/plain", text="a"),)
    with pytest.raises(InvalidRequest) as caught:
        blocks(cited, version="2026-10-21")
    assert caught.value.param == "messages.0.content.0.citations"
    with pytest.raises(InvalidRequest) as caught:
        blocks(document, role="assistant", version="2026-10-21")
    assert caught.value.param == "messages.0.content.0.type"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *[({name: [{"x": 1}]}, name) for name in anthropic.REFUSED_FIELDS],
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "browser_toolset_20260801"}]}, "tools.0.type"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages.0.content.0.type",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str):
    with pytest.raises(Unsupported) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": NOTHING}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"tools": [{"input_schema": ANYTHING}]}, "tools.0.name"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tools": [{"name": "f", "input_schema": ANYTHING}] * 2}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice.name"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
            "messages.0.content.0.type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "c", "name": "f", "input": "{}"}],
                    }
                ]
            },
            "messages.0.content.0.input",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": image_source() | {"data": "%"}}],
                    }
                ]
            },
            "messages.0.content.0.source.data",
        ),
    ],
)
def test_what_is_wrong_is_named_in_the_message(fields: dict[str, Any], param: str):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert type(caught.value) is InvalidRequest
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


def test_input_nested_too_deep_is_too_large():
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"a": deep}
    with pytest.raises(TooLarge):
        blocks({"type": "tool_use", "id": "c", "name": "f", "input": deep}, role="assistant")


def test_the_last_assistant_message_is_kept_to_be_continued():
    prefill = {"role": "assistant", "content": "The best answer is ("}
    assert decode(messages=[*HI, prefill]).messages[-1].role == "assistant"


def test_parts_that_a_role_cannot_carry_are_not_dropped_silently():
    picture = Message("assistant", (Image("image/png", PNG),))
    request = Request(model="m", messages=(user("hi"), picture))
    with pytest.raises(Unsupported) as caught:
        anthropic.encode_request(request, stream=False)
    assert caught.value.param == "messages.1.content.0"


def test_as_many_tokens_as_fit_need_a_number():
    request = Request(model="m", messages=(user("hi"),))
    sent = anthropic.encode_request(request, stream=False, max_tokens_default=77)
    assert anthropic.decode_request(sent).request.max_tokens == 77


def upstream(*bodies: dict[str, Any]) -> list[Event]:
    decoder = anthropic.StreamDecoder()
    frames = (sse.frame(msgspec.json.encode(body), body["type"].encode()) for body in bodies)
    return decoder.feed(b"".join(frames)) + decoder.end()


def test_kinds_that_are_newer_than_the_reader_are_passed_over():
    events = upstream(
        {"type": "message_start", "message": {"model": "up", "content": []}},
        {"type": "novelty", "x": 1},
        {"type": "content_block_start", "content_block": {"type": "server_tool_use"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta"}},
        {"type": "content_block_stop"},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_delta", "delta": {"type": "citations_delta"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}},
        {"type": "content_block_stop"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )
    assert events == [
        Started("up"),
        Delta(0, Text("a")),
        Delta(0, Text("b")),
        Finished("end", Usage()),
    ]


def test_input_sent_whole_at_the_start_is_not_lost():
    block = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    events = upstream(
        {"type": "content_block_start", "content_block": block},
        {"type": "content_block_stop"},
    )
    assert fold(events).parts == (ToolCall("c", "f", '{"a":1}'),)
    assert isinstance(events[-1], Failed)


def test_a_delta_of_another_type_is_a_failure():
    events = upstream(
        {"type": "content_block_start", "content_block": {"type": "text"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x"}},
    )
    what = "The upstream's stream is broken: a thinking_delta in a block of another type"
    assert events == [Failed("engine_failed", what)]


def test_a_delta_of_another_block_is_a_failure():
    """Its block's beginning is lost, so whatever it says is none of the open block's."""
    block: dict[str, Any] = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    events = upstream(
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": delta},
    )
    what = "The upstream's stream is broken: a delta of a block that is not open"
    assert events[1:] == [Failed("engine_failed", what)]


@pytest.mark.parametrize(
    ("status", "body", "failed"),
    [
        (529, b'{"error":{"type":"overloaded_error","message":"no"}}', ("overloaded", "no")),
        (402, b'{"error":{"type":"billing_error","message":"no"}}', ("forbidden", "no")),
        (
            403,
            b'{"error":{"type":"x","message":"no","details":{"error_code":"organization_on_hold"}}}',
            ("forbidden", "no"),
        ),
        (503, b"upstream connect error", ("overloaded", "upstream connect error")),
        (502, b"", ("engine_failed", "HTTP status 502")),
    ],
)
def test_errors_of_upstreams_are_understood(status: int, body: bytes, failed: tuple[str, str]):
    assert anthropic.decode_error(status, body) == Failed(*failed)
