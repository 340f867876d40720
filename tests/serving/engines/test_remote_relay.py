import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import EngineFailed, InvalidRequest
from headrace.core.events import Delta, Failed, Finished, Started, Stop
from headrace.core.messages import Text, ToolCall
from headrace.core.models import Usage
from headrace.serving.engine import Passage, Passed
from headrace.serving.engines import remote_relay
from headrace.serving.engines.remote_dialects import Speech, speech_of
from headrace.serving.engines.remote_relay import Watch, has_tools, is_stateless, rewrite, whole
from support.upstream import USAGE, frames, replied, said

DIALECTS = ("openai_chat", "openai_responses", "anthropic")
CHAT = speech_of("openai_chat", extensions=True)


def passage(body: bytes | dict[str, Any], *, stream: bool = True) -> Passage:
    given = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Passage(given, {}, "", stream)


def of(dialect: str) -> Speech:
    return speech_of(dialect, extensions=True)


def watched(watch: Watch, chunks: list[bytes]) -> list[Passed]:
    return [*(each for chunk in chunks for each in watch.take(chunk)), *watch.end()]


def seen(passed: list[Passed]) -> tuple[bytes, int, Usage | None, str | None]:
    """Bytes, count of tokens, usage and stop, as the gateway would have them in the end."""
    usage = [each.usage for each in passed if each.usage is not None]
    tokens = max((each.output_tokens for each in passed), default=0)
    data = b"".join(each.data for each in passed)
    return data, tokens, usage[-1] if usage else None, passed[-1].stop if passed else None


# Requests


def test_only_the_model_is_replaced():
    body = b'{ "a" : 1.50,"model":"public", "b":{"\\u00e9": [1, 2] },"c":"\xc3\xa9" }'
    rewritten = rewrite(passage(body, stream=False), CHAT, "theirs").body
    assert rewritten == (b'{"a":1.50,"model":"theirs","b":{"\\u00e9": [1, 2] },"c":"\xc3\xa9"}')


def test_a_body_that_needs_no_change_stays_as_it_is():
    body = b'{"model":"m","stream":true,"stream_options":{ "include_usage":true }}'
    rewritten = rewrite(passage(body), CHAT, "m")
    assert (rewritten.body, rewritten.strip_usage) == (body, False)
    body = b'{"model":"m","stream":true}'
    assert rewrite(passage(body), of("anthropic"), "m").body == body


def test_a_field_that_stands_there_twice_is_sent_as_it_was_read():
    body = b'{"model":"dear","mod\\u0065l":"m","store":true,"stream":false,"store":false}'
    sent = rewrite(passage(body, stream=False), CHAT, "m").body
    assert sent == b'{"model":"m","store":false,"stream":false}'


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}),
    ],
)
def test_a_chat_stream_is_asked_for_its_usage(options: Any, sent: Any):
    body = {"model": "m", "stream": True, "stream_options": options}
    rewritten = rewrite(passage(body), CHAT, "m")
    assert json.loads(rewritten.body)["stream_options"] == sent
    assert rewritten.strip_usage


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"", b'{"model":}'])
def test_what_is_no_object_is_refused(body: bytes):
    with pytest.raises(InvalidRequest):
        rewrite(passage(body), CHAT, "m")


@pytest.mark.parametrize(
    ("body", "offers"),
    [
        (b"{}", False),
        (b'{"tools":[]}', False),
        (b'{"tools":null}', False),
        (b'{"messages":[{"tools":[1]}]}', False),
        (b'{"tools": [{}]}', True),
        (b'{"functions":[{}]}', True),
    ],
)
def test_tools_are_seen(body: bytes, *, offers: bool):
    assert has_tools(body) is offers


@pytest.mark.parametrize(
    ("fields", "stateless"),
    [
        ({}, False),
        ({"store": True}, False),
        ({"store": False}, True),
        ({"store": False, "previous_response_id": None, "background": None}, True),
        ({"store": False, "previous_response_id": "resp_1"}, False),
        ({"store": False, "conversation": "conv_1"}, False),
        ({"store": False, "background": True}, False),
    ],
)
def test_state_is_seen(fields: dict[str, Any], *, stateless: bool):
    assert is_stateless(json.dumps(fields).encode()) is stateless


# Streams


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_any_chunking_gives_the_same_bytes_and_counts(dialect: str, data: st.DataObject):
    texts = data.draw(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4))
    stream = b"".join(frames(dialect, said(*texts)))
    if data.draw(st.booleans()):
        stream = stream.replace(b"\n", b"\r\n")
    at = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    cuts = [0, *at, len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(cuts) if a < b]
    strip = data.draw(st.booleans())
    at_once = seen(watched(Watch(of(dialect), strip_usage=strip), [stream]))
    watch = Watch(of(dialect), strip_usage=strip)
    assert seen(watched(watch, chunks)) == at_once
    assert watch.ended
    assert at_once[2:] == (USAGE, "end")
    if dialect != "openai_chat" or not strip:
        assert at_once[0] == stream


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic"])
def test_whoever_leaves_before_the_end_has_used_what_was_told(dialect: str):
    watch = Watch(of(dialect), strip_usage=False)
    (before, end) = watch.take(b"".join(frames(dialect, said("Hel", "lo"))))
    assert (before.usage, before.stop) == (USAGE, None)
    assert (end.usage, end.stop) == (USAGE, "end")


def test_the_usage_that_nobody_asked_for_is_taken_out():
    shown, told = frames("openai_chat", said("Hi"), include_usage=False), []
    watch = Watch(CHAT, strip_usage=True)
    stream = frames("openai_chat", said("Hi"))
    assert any(b'"choices":[]' in each for each in b"".join(stream).split(b"\n\n"))
    told = watched(watch, stream)
    assert seen(told)[2] == USAGE
    assert seen(told)[0].count(b"\n\n") == b"".join(shown).count(b"\n\n")
    assert b'"prompt_tokens"' not in seen(told)[0]


def test_a_usage_beside_text_is_left_in():
    event = (
        b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\n'
    )
    data, _, usage, _ = seen(watched(Watch(CHAT, strip_usage=True), [event, b"data: [DONE]\n\n"]))
    assert data.startswith(event)
    assert usage == Usage(5, 0, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tokens_are_counted_while_they_come(dialect: str):
    stream = frames(dialect, said(*"abcdef"))
    watch = Watch(of(dialect), strip_usage=False)
    counts = [each.output_tokens for frame in stream for each in watch.take(frame)]
    assert counts == sorted(counts)
    assert 6 <= counts[-1] <= 8


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_stands_before_the_end_comes_before_it(dialect: str):
    stream = b"".join(frames(dialect, said(*"abcdef")))
    before, last = Watch(of(dialect), strip_usage=False).take(stream)
    assert (before.stop, last.stop) == (None, "end")
    assert before.data + last.data == stream
    assert last.data.rstrip().count(b"\n\n") == 0


def test_the_input_of_messages_is_told_at_its_start():
    first, *_ = watched(Watch(of("anthropic"), strip_usage=False), frames("anthropic", said("x")))
    assert first.usage == Usage(USAGE.input, USAGE.cached)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_model_writes_is_not_taken_for_what_its_server_says(dialect: str):
    texts = ['"prompt_tokens":1', "data: [DONE]", '"type":"message_stop"', '"error"', '"delta"']
    texts += ['"type":"response.completed"', '"finish_reason":"stop"', '"content_block_delta"']
    *stream, last = frames(dialect, said(*texts))
    watch = Watch(of(dialect), strip_usage=True)
    for frame in stream:
        watch.take(frame)
        assert not watch.ended
        assert watch.failed is None
    watch.take(last)
    assert watch.ended


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("part", "stop"),
    [
        (ToolCall("call_1", "look", "{}"), "tool_calls"),
        (Text("No.", refusal=True), "refusal"),
        (Text("And so"), "length"),
    ],
)
def test_why_an_answer_ends_is_seen(dialect: str, part: Text | ToolCall, stop: Stop):
    events = (Started("upstream-model", USAGE), Delta(0, part), Finished(stop, USAGE))
    watch = Watch(of(dialect), strip_usage=False)
    assert seen(watched(watch, frames(dialect, events)))[3] == stop


ERRORS = {
    "openai_chat": {"error": {"message": "no", "code": "overloaded"}},
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
    "openai_responses": {"type": "error", "code": "overloaded", "message": "no"},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_in_the_stream_is_seen_and_not_passed(dialect: str):
    event = b"event: error\ndata: " + json.dumps(ERRORS[dialect]).encode() + b"\n\n"
    watch = Watch(of(dialect), strip_usage=False)
    begin = frames(dialect, said("Hi"))[:2]
    data = seen(watched(watch, [b"".join(begin) + event + begin[1]]))[0]
    assert data == b"".join(begin)
    assert watch.failed == Failed("overloaded", "no")
    assert not watch.ended


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_its_end_has_none(dialect: str):
    stream = b"".join(frames(dialect, said("Hi", "there")))
    watch = Watch(of(dialect), strip_usage=False)
    assert seen(watched(watch, [stream[: stream.rindex(b"data:")]]))[3] is None
    assert not watch.ended


def test_an_end_without_its_blank_line_is_one():
    stream = b"".join(frames("openai_chat", said("Hi")))
    watch = Watch(CHAT, strip_usage=False)
    assert seen(watched(watch, [stream.rstrip()]))[0] == stream.rstrip()
    assert watch.ended


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_relay, "_FRAME_BYTES_MAX", 1000)
    watch = Watch(CHAT, strip_usage=False)
    for _ in range(10):
        watch.take(b"x" * 100)
    with pytest.raises(EngineFailed, match="endless"):
        watch.take(b"x")


# Whole answers


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_passes_with_its_usage(dialect: str):
    (body,) = replied(dialect, "Hello").pieces
    assert whole(body, of(dialect)) == Passed(body, USAGE.output, USAGE, "end", told=True)


def test_an_answer_of_a_kind_not_known_here_passes():
    body = b'{"object":"something new"}'
    assert whole(body, CHAT) == Passed(body, stop="end")


@pytest.mark.parametrize("body", [b'{"error":{"message":"no"}}', b"<html>", b""])
def test_an_error_in_place_of_an_answer_is_none(body: bytes):
    assert isinstance(whole(body, CHAT), Failed)
