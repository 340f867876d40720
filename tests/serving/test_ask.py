"""How much a body may come to, and what its headers name."""

import msgspec
import pytest

from headrace.core.errors import InvalidRequest
from headrace.serving.ask import conversation_of, hides_letters, peek, size_of


def body_of(*parts: object) -> bytes:
    messages = [{"role": "user", "content": list(parts)}]
    return msgspec.json.encode({"model": "m", "messages": messages})


TEXT = {"type": "text", "text": 'a picture: "type": "image" {"type":"file"}'}


def test_no_text_has_more_tokens_than_bytes():
    plain = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
    assert size_of(plain).input_tokens_max == len(plain) + 1_024
    assert size_of(body_of(TEXT)).input_tokens_max == len(body_of(TEXT)) + 1_024
    assert size_of(body_of(TEXT)).images == 0


@pytest.mark.parametrize("kind", ["image", "input_image", "image_url"])
def test_images_are_counted_and_bounded(kind: str):
    body = body_of(TEXT, {"type": kind, "url": "https://example.com/a"}, {"type": kind})
    assert size_of(body).images == 2
    assert (size_of(body).input_tokens_max or 0) > 2 * 8_192


@pytest.mark.parametrize("kind", ["file", "input_file", "document", "input_audio"])
def test_only_the_context_bounds_what_is_not_text(kind: str):
    assert size_of(body_of(TEXT, {"type": kind})).input_tokens_max is None
    assert size_of(body_of({"type": "image"}, {"type": kind})).input_tokens_max is None


@pytest.mark.parametrize(
    ("dialect", "fields", "limit", "answers"),
    [
        ("openai_chat", "", None, 1),
        ("openai_chat", ',"max_tokens":null', None, 1),
        ("openai_chat", ',"max_tokens":5', 5, 1),
        ("openai_chat", ',"max_tokens":5,"max_tokens":6', 6, 1),
        ("openai_chat", ',"max_tokens":5,"max_completion_tokens":9', 9, 1),
        ("openai_chat", ',"max_tokens":1,"n_predict":900', 900, 1),
        ("openai_chat", ',"max_tokens":1,"n_predict":-1', None, 1),
        ("openai_chat", ',"max_tokens":-1', None, 1),
        ("openai_chat", ',"max_output_tokens":7,"n":3', None, 3),
        ("openai_chat", ',"max_tokens":0,"best_of":4,"n":2', None, 4),
        ("openai_chat", ',"n":-4', None, 1),
        ("openai_responses", ',"max_output_tokens":7,"max_tokens":1,"n":3', 7, 1),
        ("openai_responses", ',"max_tokens":1', None, 1),
        ("anthropic", ',"max_tokens":8,"max_output_tokens":9', 8, 1),
        ("anthropic", ',"max_completion_tokens":1', None, 1),
    ],
)
def test_limits_of_tokens_are_read_without_the_rest(
    dialect: str, fields: str, limit: int | None, answers: int
):
    body = f'{{"model":"m"{fields}}}'.encode()
    found = peek(body, {}, "", dialect=dialect, depth_max=8)
    assert found is not None
    assert (found[1].output_tokens_max, found[1].answers) == (limit, answers)


@pytest.mark.parametrize("field", ["n", "best_of"])
def test_more_answers_than_anybody_makes_are_refused(field: str):
    body = f'{{"model":"m","{field}":129}}'.encode()
    with pytest.raises(InvalidRequest, match="at most 128"):
        peek(body, {}, "", dialect="openai_chat", depth_max=8)


@pytest.mark.parametrize(
    ("body", "hides"),
    [
        (rb'{"type":"fi\u006ce"}', True),
        (rb'{"file\u005Fid":"f"}', True),
        (rb'{"text":"\\\u0046ile"}', True),
        (rb'{"text":"\\u0046ile"}', False),
        (rb'{"text":"caf\u00e9 \u003cb\u003e \u0026 \u0027"}', False),
    ],
)
def test_letters_spelled_as_escapes_are_seen(body: bytes, *, hides: bool):
    assert hides_letters(body) is hides
    assert (size_of(body).input_tokens_max is None) is hides


def test_a_conversation_is_named_by_the_first_header_that_fits():
    assert conversation_of({"thread-id": "t", "session-id": "s"}) == "s"
    assert (
        conversation_of({"headrace-conversation-id": "a.b:c_d-1", "session-id": "s"}) == "a.b:c_d-1"
    )
    assert conversation_of({"headrace-conversation-id": "x" * 65, "thread-id": "t"}) == "t"
    assert conversation_of({"session-id": "no\nname"}) is None
