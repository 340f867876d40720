"""The official clients against the real default model."""

import json
import os
import signal
from collections.abc import Generator, Iterable
from typing import Any

import anthropic
import openai
import pytest

from support.running import Running

MODEL = "smollm2-135m-instruct"
STORY: list[Any] = [{"role": "user", "content": "Tell me a long story about a river."}]

pytestmark = pytest.mark.model


@pytest.fixture
def openai_client(house: Running) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(house: Running) -> Generator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=house.url, api_key=house.key, max_retries=0) as client:
        yield client


def test_the_model_answers_through_openais_client(openai_client: openai.OpenAI):
    reply = openai_client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "You answer in one word."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        temperature=0,
        max_tokens=20,
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 10
    assert 0 < reply.usage.completion_tokens <= 20


def test_the_model_answers_through_anthropics_client(anthropic_client: anthropic.Anthropic):
    with anthropic_client.messages.stream(
        model=MODEL,
        max_tokens=20,
        system="You answer in one word.",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        extra_body={"temperature": 0},
    ) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert "Paris" in text
    assert 0 < final.usage.output_tokens <= 20


def test_the_same_seed_gives_the_same_answer_and_a_stop_sequence_stops(
    openai_client: openai.OpenAI,
):
    def tell(stop: str | None = None) -> tuple[str, str]:
        reply = openai_client.chat.completions.create(
            model=MODEL, messages=STORY, max_tokens=40, seed=7, temperature=0.9, stop=stop
        )
        return reply.choices[0].message.content or "", reply.choices[0].finish_reason

    first, reason = tell()
    assert reason == "length"
    assert tell()[0] == first
    word = first.split()[5]
    cut, reason = tell(word)
    assert reason == "stop"
    assert word not in cut
    assert first.startswith(cut)


def test_constrained_output_is_valid_by_construction(openai_client: openai.OpenAI):
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Delft", "Lyon"]},
            "people": {"type": "integer", "minimum": 1, "maximum": 999},
        },
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    reply = openai_client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name a city and how many people live there."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": schema, "strict": True},
        },
        max_tokens=60,
    )
    made = json.loads(reply.choices[0].message.content or "")
    assert made["city"] in {"Delft", "Lyon"}
    assert 1 <= made["people"] <= 999


def test_log_probabilities_are_told(openai_client: openai.OpenAI):
    reply = openai_client.chat.completions.create(
        model=MODEL, messages=STORY, max_tokens=3, logprobs=True, top_logprobs=2
    )
    told = reply.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert len(told.content) == 3
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in told.content)


def test_a_prompt_that_does_not_fit_is_refused_in_each_dialect(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
):
    long: list[Any] = [{"role": "user", "content": "river " * 20_000}]
    with pytest.raises(openai.BadRequestError) as first:
        openai_client.chat.completions.create(model=MODEL, messages=long)
    assert first.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError, match="tokens"):
        anthropic_client.messages.create(model=MODEL, messages=long, max_tokens=5)


def test_tokens_are_counted_as_the_engine_will_count_them(anthropic_client: anthropic.Anthropic):
    counted = anthropic_client.messages.count_tokens(model=MODEL, messages=STORY)
    reply = anthropic_client.messages.create(model=MODEL, messages=STORY, max_tokens=1)
    cached = reply.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == reply.usage.input_tokens + cached


def test_a_killed_engine_is_an_error_event_and_the_next_request_is_served(
    house: Running, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
):
    def read_and_kill(stream: Iterable[object]) -> None:
        for number, _ in enumerate(stream):
            if number == 3:
                for pid in house.engine_pids():
                    os.kill(pid, signal.SIGKILL)

    completions = openai_client.chat.completions
    stream = completions.create(model=MODEL, messages=STORY, stream=True)
    with pytest.raises(openai.APIError):
        read_and_kill(stream)
    patient = openai_client.with_options(max_retries=10)
    assert patient.chat.completions.create(model=MODEL, messages=STORY, max_tokens=2).choices

    messages = anthropic_client.messages
    with (
        messages.stream(model=MODEL, messages=STORY, max_tokens=500) as events,
        pytest.raises(anthropic.APIStatusError),
    ):
        read_and_kill(events.text_stream)
    tireless = anthropic_client.with_options(max_retries=10)
    assert tireless.messages.create(model=MODEL, messages=STORY, max_tokens=2).content
