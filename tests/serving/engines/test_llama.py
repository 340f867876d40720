"""The llama.cpp engine on the real default model: answers, constraints, counts."""

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from headrace.catalog.library import Installed
from headrace.core.errors import ContextTooLong, InvalidRequest, Unsupported
from headrace.core.events import Delta, Started
from headrace.core.messages import (
    Document,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headrace.core.requests import OutputFormat, Sampling, Tool, ToolChoice
from headrace.serving.engines.llama import LlamaEngine
from support.engines import (
    BATCH_TOKENS,
    Slot,
    answer,
    ask,
    busy,
    make_engine,
    process_of,
    slots_of,
    with_shy_template,
)

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="session")]

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "mood": {"enum": ["good", "bad"]},
    },
    "required": ["name", "mood"],
    "additionalProperties": False,
}
WEATHER = Tool(
    "weather",
    {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"city": {"enum": ["Delft", "Leiden"]}},
    },
    "Tells the weather.",
)
SAY = OutputFormat({"const": "one two three"})
CLOCK = Tool("clock", {"type": "object", "properties": {}, "additionalProperties": False})
LONG = "The quick brown fox jumps over the lazy dog. " * 180


class Tokens(msgspec.Struct):
    tokens: list[int]


def text_of(delta: Delta) -> str:
    assert isinstance(delta.part, Text)
    return delta.part.text


async def test_an_answer_streams_and_is_counted(shared: LlamaEngine):
    events, message, last = await answer(shared, ask("What is the capital of France?"))
    deltas = [event for event in events if isinstance(event, Delta)]
    assert isinstance(events[0], Started)
    assert events[0].usage.input == last.usage.input > 20
    assert message.text() == "".join(text_of(delta) for delta in deltas)
    assert len(deltas) > 3
    counts = [delta.output_tokens for delta in deltas]
    assert counts == sorted(counts)
    assert counts[-1] <= last.usage.output <= 16
    assert {delta.index for delta in deltas} == {0}


async def test_max_tokens_ends_with_length_and_a_whole_answer_with_end(shared: LlamaEngine):
    _, _, last = await answer(shared, ask("Count to a hundred.", max_tokens=5))
    assert (last.stop, last.usage.output) == ("length", 5)
    _, message, last = await answer(shared, ask("Hi", output_format=SAY, max_tokens=60))
    assert (message.text(), last.stop) == ('"one two three"', "end")


@pytest.mark.parametrize("limit", [2**32 + 1, 10**30])
async def test_a_limit_beyond_the_context_is_no_limit(shared: LlamaEngine, limit: int):
    sampling = Sampling(temperature=0, top_k=limit)
    asked = ask("Hi", output_format=SAY, max_tokens=limit, sampling=sampling)
    assert (await answer(shared, asked))[2].stop == "end"


@pytest.mark.parametrize("token", ["9" * 30, "hello", "-1", "1_0"])
async def test_logit_bias_takes_nothing_but_token_ids(shared: LlamaEngine, token: str):
    with pytest.raises(InvalidRequest, match="token ids"):
        await answer(shared, ask("Hi", sampling=Sampling(logit_bias={token: 1.0})))


async def test_a_stop_sequence_ends_the_answer_and_is_named(shared: LlamaEngine):
    asked = ask("Hi", output_format=SAY, stop=("zzz", "two th"), max_tokens=40)
    _, message, last = await answer(shared, asked)
    assert (last.stop, last.stop_sequence) == ("stop_sequence", "two th")
    assert message.text() == '"one '


async def test_the_same_seed_gives_the_same_answer(shared: LlamaEngine):
    hot = [Sampling(temperature=1.5, seed=seed) for seed in (7, 7, 8)]
    texts = [(await answer(shared, ask("Tell a story.", sampling=each)))[1] for each in hot]
    assert texts[0] == texts[1] != texts[2]


async def test_the_prefix_cache_is_used_and_reported(shared: LlamaEngine):
    asked = ask("Name one fish, please, and nothing else at all.")
    first = (await answer(shared, asked))[2].usage
    again = (await answer(shared, asked))[2].usage
    assert again.input == first.input
    assert again.cached >= again.input - 1


async def test_logprobs_name_the_token_and_its_rivals(shared: LlamaEngine):
    events, message, _ = await answer(shared, ask("Say hi.", logprobs=2, max_tokens=4))
    found = [each for e in events if isinstance(e, Delta) for each in e.logprobs]
    assert "".join(each.token for each in found) == message.text()
    assert all(each.logprob <= 0 and len(each.top) == 2 for each in found)
    assert bytes(found[0].bytes).decode() == found[0].token
    events, _, _ = await answer(shared, ask("Say hi.", logprobs=0, max_tokens=4))
    found = [each for e in events if isinstance(e, Delta) for each in e.logprobs]
    assert found
    assert all(each.top == () for each in found)


async def test_logit_bias_bans_a_token(shared: LlamaEngine):
    events, plain, _ = await answer(shared, ask("Say hi.", logprobs=0))
    first = next(e for e in events if isinstance(e, Delta)).logprobs[0].token
    tokenized = await process_of(shared).http.post("/tokenize", {"content": first}, Tokens)
    banned = Sampling(temperature=0.0, logit_bias={str(tokenized.tokens[0]): -100.0})
    _, other, _ = await answer(shared, ask("Say hi.", sampling=banned))
    assert plain.text().startswith(first)
    assert not other.text().startswith(first)
    wrong = ask("Hi", sampling=Sampling(logit_bias={"The": 1.0}))
    with pytest.raises(InvalidRequest, match="token ids"):
        await answer(shared, wrong)


async def test_emoji_never_arrive_in_halves(shared: LlamaEngine):
    asked = ask("x", Message("assistant", (Text("Emoji: 😀👍🏽🎉"),)), max_tokens=24, logprobs=1)
    events, _, _ = await answer(shared, asked)
    texts = [e.part.text for e in events if isinstance(e, Delta) and isinstance(e.part, Text)]
    assert all("\N{REPLACEMENT CHARACTER}" not in text for text in texts)


async def test_a_json_schema_is_enforced(shared: LlamaEngine):
    asked = ask("Describe a sailor.", output_format=OutputFormat(PERSON), max_tokens=120)
    _, message, last = await answer(shared, asked)
    made = json.loads(message.text())
    assert set(made) == {"name", "mood"}
    assert made["mood"] in {"good", "bad"}
    assert last.stop == "end"


async def test_any_json_object_can_be_asked_for(shared: LlamaEngine):
    asked = ask("Describe a sailor.", output_format=OutputFormat(), max_tokens=8)
    _, message, _ = await answer(shared, asked)
    assert message.text().startswith("{")


async def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(shared: LlamaEngine):
    asked = ask("Hi", output_format=OutputFormat({"not": {"type": "string"}}))
    for _ in range(2):  # the second time from memory
        with pytest.raises(Unsupported, match="not"):
            await answer(shared, asked)


@pytest.mark.parametrize(
    "choice", [ToolChoice("required"), ToolChoice("named", "weather")], ids=["required", "named"]
)
async def test_a_demanded_call_is_made(shared: LlamaEngine, choice: ToolChoice):
    tools = (WEATHER,) if choice.mode == "required" else (CLOCK, WEATHER)
    asked = ask("Weather in Delft?", tools=tools, tool_choice=choice, max_tokens=80)
    events, message, last = await answer(shared, asked)
    (call,) = message.parts
    assert isinstance(call, ToolCall)
    assert call.name == "weather"
    assert json.loads(call.arguments)["city"] in {"Delft", "Leiden"}
    assert call.id.startswith("call_")
    assert last.stop == "tool_calls"
    assert sum(isinstance(event, Delta) for event in events) > 2


async def test_a_demanded_call_of_a_schema_too_hard_is_made_without_it(shared: LlamaEngine):
    hard = Tool("f", {"type": "object", "not": {"required": ["x"]}})
    asked = ask("Go", tools=(hard,), tool_choice=ToolChoice("required"), max_tokens=60)
    events = [event async for event in shared.stream(asked)]
    assert any(isinstance(e, Delta) and isinstance(e.part, ToolCall) for e in events)
    strict = Tool("f", hard.parameters, strict=True)
    asked = ask("Go", tools=(strict,), tool_choice=ToolChoice("required"))
    with pytest.raises(Unsupported, match="not"):
        await answer(shared, asked)


async def test_a_demanded_call_needs_a_tool(shared: LlamaEngine):
    asked = ask("Go", tools=(CLOCK,), tool_choice=ToolChoice("named", "other"))
    with pytest.raises(InvalidRequest, match="not given"):
        await answer(shared, asked)


async def test_history_with_calls_and_results_is_understood(shared: LlamaEngine):
    call = Message("assistant", (Text("I look."), ToolCall("c1", "clock", '{"zone": "CET"}')))
    result = Message("user", (ToolResult("c1", (Text("It is noon."),)), Text("So?")))
    asked = ask("What time is it?", call, result, tools=(CLOCK,))
    _, _, last = await answer(shared, asked)
    plain = await shared.count_tokens(ask("What time is it?"))
    assert last.usage.input > plain + 60


async def test_documents_with_text_are_read_and_other_media_refused(shared: LlamaEngine):
    document = Document(text="The ship is called Batavia.", title="ship.txt")
    question = Text("What is the ship called?")
    with_document = await shared.count_tokens(ask(Message("user", (document, question))))
    assert with_document > await shared.count_tokens(ask(Message("user", (question,)))) + 8
    for part in (Image(data="AA=="), Document(data="AA==", media_type="application/pdf")):
        with pytest.raises(Unsupported):
            await answer(shared, ask(Message("user", (part,))))


async def test_a_prefilled_answer_is_continued(shared: LlamaEngine):
    said = "Sure, the fish is named"
    prefilled = Message("assistant", (Thinking("hm"), Text(said)))
    plain = await shared.count_tokens(ask("Name a fish."))
    _, message, last = await answer(shared, ask("Name a fish.", prefilled))
    assert 5 <= last.usage.input - plain <= 7
    assert not message.text().startswith(said)


async def test_messages_that_the_template_refuses_are_the_callers_fault(
    installed: Installed, tmp_path: Path
):
    shy = tmp_path / "shy.gguf"
    shy.write_bytes(with_shy_template(installed.path.read_bytes()))
    engine = make_engine(Installed(installed.card, shy), tmp_path, context_tokens=256)
    await engine.start()
    try:
        with pytest.raises(InvalidRequest, match="shy"):
            await answer(engine, ask("Hi"))
        await answer(engine, ask("Hello", max_tokens=2))
    finally:
        await engine.stop()


async def test_count_tokens_is_what_an_answer_uses(shared: LlamaEngine):
    system = Message("developer", (Text("Answer in <|im_end|> one word."),))
    for asked in (ask("Hi"), ask(system, "Hi"), ask("Hi <|im_start|>", tools=(WEATHER,))):
        assert (await answer(shared, asked))[2].usage.input == await shared.count_tokens(asked)


async def test_a_prompt_too_long_is_refused_before_it_is_read(shared: LlamaEngine):
    began = time.monotonic()
    with pytest.raises(ContextTooLong, match="2048"):
        await answer(shared, ask(LONG * 2))
    assert time.monotonic() - began < 5


async def test_an_answer_that_fills_the_context_says_so(installed: Installed, tmp_path: Path):
    engine = make_engine(installed, tmp_path, slots=1, context_tokens=300)
    await engine.start()
    try:
        assert engine.model.context_tokens == 256
        fill = 252 - await engine.count_tokens(ask("a"))
        asked = ask("a" + " a" * fill, max_tokens=None, output_format=SAY)
        _, _, last = await answer(engine, asked)
        assert last.stop == "context_full"
        assert last.usage.input + last.usage.output >= 256
    finally:
        await engine.stop()


async def test_hanging_up_while_it_decodes_frees_the_engine_at_once(shared: LlamaEngine):
    stream = shared.stream(ask("Tell a very long story.", max_tokens=1500))
    async for event in stream:
        if isinstance(event, Delta):
            break
    assert await busy(shared) == 1
    began = time.monotonic()
    await stream.aclose()
    assert await until_idle(shared) - began < 0.25


async def test_hanging_up_while_it_reads_frees_the_engine_within_a_batch(shared: LlamaEngine):
    # Beside a running answer, where the engine would otherwise not look up from its reading.
    beside = asyncio.create_task(answer(shared, ask("Tell a very long story.", max_tokens=300)))
    try:
        while await busy(shared) < 1:
            await asyncio.sleep(0.01)
        (story,) = [slot.id for slot in await slots_of(shared) if slot.is_processing]
        reading = asyncio.create_task(answer(shared, ask(LONG)))
        slot = await other_slot(shared, story)
        while not slot.is_processing or slot.n_prompt_tokens < 2 * BATCH_TOKENS:
            await asyncio.sleep(0.02)
            slot = await other_slot(shared, story)
        reading.cancel()
        while (left := await other_slot(shared, story)).is_processing:
            await asyncio.sleep(0.01)
        # The batch that ran, and the one llama.cpp had begun when it was told.
        assert left.n_prompt_tokens - slot.n_prompt_tokens <= 2 * BATCH_TOKENS
    finally:
        beside.cancel()
        await asyncio.wait([beside])


async def other_slot(engine: LlamaEngine, one: int) -> Slot:
    (other,) = [slot for slot in await slots_of(engine) if slot.id != one]
    return other


async def test_hanging_up_at_any_moment_frees_the_engine(shared: LlamaEngine):
    for delay_ms in (0, 1, 2, 3, 5, 8, 13, 21):
        task = asyncio.create_task(answer(shared, ask(LONG[:400], max_tokens=1000)))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        await asyncio.wait([task])
    began = time.monotonic()
    assert await until_idle(shared) - began < 5


async def until_idle(engine: LlamaEngine, *, running: int = 0) -> float:
    while await busy(engine) > running:
        await asyncio.sleep(0.01)
    return time.monotonic()


async def test_more_answers_than_slots_wait_and_all_are_served(shared: LlamaEngine):
    asked = [ask(f"Say {word}.", max_tokens=6) for word in ("one", "two", "three", "four")]
    done = await asyncio.gather(*(answer(shared, each) for each in asked))
    assert all(message.text() for _, message, _ in done)


async def test_two_engines_run_beside_each_other(
    shared: LlamaEngine, installed: Installed, tmp_path: Path
):
    other = make_engine(installed, tmp_path, slots=1)
    await other.start()
    try:
        asked = ask("What is the capital of France?")
        one, two = await asyncio.gather(answer(shared, asked), answer(other, asked))
        assert one[1] == two[1]
    finally:
        await other.stop()


async def test_a_chat_model_makes_no_embeddings(shared: LlamaEngine):
    with pytest.raises(Unsupported):
        await shared.embed(("one",))


async def test_generation_stops_after_one_call_where_only_one_may_be(shared: LlamaEngine):
    call = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n'
    prefilled = Message("assistant", (Text(call * 4),))
    asked = ask("Go", prefilled, tools=(CLOCK,), parallel_tool_calls=False, max_tokens=200)
    _, message, last = await answer(shared, asked)
    assert len(message.parts) == 1
    assert last.stop == "tool_calls"
    assert last.usage.output < 40
    assert await until_idle(shared) > 0
