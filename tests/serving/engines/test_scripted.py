"""The scripted engine plays what its file says, and nothing else."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import ConfigError, EngineUnavailable, Overloaded, Unsupported
from headrace.core.events import Counted, Delta, Event, Failed, Finished, Started, fold
from headrace.core.messages import Message, Text, Thinking, ToolCall, ToolResult, user
from headrace.core.models import Usage
from headrace.core.requests import Request
from headrace.serving.engines.scripted import ScriptedEngine


def request(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (user("hello there"),), **fields)


async def engine(tmp_path: Path, *turns: dict[str, Any], **fields: Any) -> ScriptedEngine:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"turns": turns, **fields}))
    made = ScriptedEngine(path, ManualClock())
    await made.start()
    return made


async def play(made: ScriptedEngine, asked: Request | None = None) -> list[Event]:
    told = [event async for event in made.stream(asked or request())]
    return [event for event in told if not isinstance(event, Counted)]


async def text(made: ScriptedEngine, said: str) -> str:
    return fold(await play(made, request(user(said)))).text()


async def test_text_arrives_token_by_token_with_counts(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "Hi, you two."}]})
    events = await play(made)
    assert events == [
        Started("m", Usage(input=3)),
        Delta(0, Text("Hi"), 1),
        Delta(0, Text(","), 2),
        Delta(0, Text(" you"), 3),
        Delta(0, Text(" two"), 4),
        Delta(0, Text("."), 5),
        Finished("end", Usage(input=3, output=5)),
    ]
    assert await made.count_tokens(request()) == 3


async def test_thinking_then_text_then_calls_are_parts_of_their_own(tmp_path: Path):
    call = {"name": "weather", "arguments": {"city": "Delft"}}
    steps = [{"thinking": "Hm."}, {"text": "Look: "}, {"tool_call": call}, {"tool_call": call}]
    events = await play(await engine(tmp_path, {"steps": steps}))
    assert fold(events).parts == (
        Thinking("Hm."),
        Text("Look: "),
        ToolCall("call_1_1", "weather", '{"city":"Delft"}'),
        ToolCall("call_1_2", "weather", '{"city":"Delft"}'),
    )
    assert sum(isinstance(e, Delta) and e.index == 2 for e in events) > 2
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.stop, last.usage.reasoning) == ("tool_calls", 2)


async def test_malformed_arguments_are_sent_as_they_are(tmp_path: Path):
    step = {"tool_call": {"id": "x", "name": "f", "arguments": '{"a": '}}
    events = await play(await engine(tmp_path, {"steps": [step]}))
    assert fold(events).parts == (ToolCall("x", "f", '{"a": '),)


async def test_turns_play_in_order_then_echo(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "one"}]}, {"steps": [{"text": "two"}]})
    assert [await text(made, "say") for _ in range(3)] == ["one", "two", "say"]


async def test_matching_turns_play_without_limit_and_times_sets_one(tmp_path: Path):
    made = await engine(
        tmp_path,
        {"match": {"user": "^again"}, "times": 1, "steps": [{"text": "once"}]},
        {"match": {"user": "(?i)AGAIN"}, "steps": [{"text": "more"}]},
    )
    assert [await text(made, "again") for _ in range(3)] == ["once", "more", "more"]
    assert await text(made, "other") == "other"


async def test_tool_results_choose_a_turn(tmp_path: Path):
    made = await engine(
        tmp_path,
        {"match": {"tool_result": True}, "steps": [{"text": "got it"}]},
        {"match": {"tool_result": False}, "steps": [{"tool_call": {"name": "f"}}]},
    )
    first = fold(await play(made))
    result = Message("user", (ToolResult("call_1_1", (Text("42"),)),))
    second = await play(made, request(user("hello"), first, result))
    assert fold(second).text() == "got it"


async def test_errors_are_raised_before_and_sent_after_the_first_token(tmp_path: Path):
    error = {"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 2}}
    made = await engine(tmp_path, {"steps": [error]}, {"steps": [{"text": "a b"}, error]})
    with pytest.raises(Overloaded, match="Busy") as raised:
        await play(made)
    assert raised.value.retry_after_s == 2
    events = await play(made)
    assert events[-1] == Failed("overloaded", "Busy.", 2, Usage(input=3, output=2))


async def test_cut_breaks_the_stream_off(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "a"}, {"cut": True}, {"text": "b"}]})
    events = await play(made)
    assert isinstance(events[-1], Failed)
    assert events[-1].kind == "engine_failed"
    assert fold(events).text() == "a"


async def test_finish_overrides_stop_and_usage(tmp_path: Path):
    finish = {"finish": {"stop": "refusal", "usage": {"cached": 2}}}
    events = await play(await engine(tmp_path, {"steps": [{"text": "no"}, finish]}))
    assert events[-1] == Finished("refusal", Usage(input=3, cached=2, output=1))


async def test_stop_sequences_across_tokens_end_the_answer(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "one two three four"}]})
    events = await play(made, request(stop=("two th", "zzz")))
    assert fold(events).text() == "one "
    assert events[-1] == Finished("stop_sequence", Usage(input=3, output=3), "two th")


async def test_text_that_only_begins_like_a_stop_sequence_is_kept(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "one two"}, {"tool_call": {"name": "f"}}]})
    parts = fold(await play(made, request(stop=("two x",)))).parts
    assert parts[0] == Text("one two")


async def test_max_tokens_cuts_the_answer(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "a b c"}, {"text": "d"}]})
    events = await play(made, request(max_tokens=2))
    assert fold(events).text() == "a b"
    assert events[-1] == Finished("length", Usage(input=3, output=2))


async def test_scripted_tokens_are_certain(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "a b"}]})
    deltas = [e for e in await play(made, request(logprobs=0)) if isinstance(e, Delta)]
    assert [(lp.token, lp.logprob) for d in deltas for lp in d.logprobs] == [("a", 0), (" b", 0)]


async def test_closing_the_stream_and_cancelling_stop_at_once(tmp_path: Path):
    made = await engine(tmp_path, {"match": {}, "steps": [{"text": "a"}, {"delay_ms": 60_000}]})
    stream = made.stream(request())
    await anext(stream)
    await stream.aclose()
    task = asyncio.create_task(play(made))
    await asyncio.sleep(0.01)
    task.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_stopping_fails_answers_under_way_and_refuses_new_ones(tmp_path: Path):
    made = await engine(tmp_path, {"steps": [{"text": "a"}, {"delay_ms": 60_000}]})
    task = asyncio.create_task(play(made))
    await asyncio.sleep(0.01)
    await made.stop()
    async with asyncio.timeout(1):
        events = await task
    assert isinstance(events[-1], Failed)
    assert events[-1].kind == "engine_unavailable"
    assert not made.ready()
    with pytest.raises(EngineUnavailable):
        await play(made)


async def test_embeddings_are_unit_vectors_of_the_text(tmp_path: Path):
    made = await engine(tmp_path, embedding_dimensions=8)
    (one, two, again), tokens = await made.embed(("one", "two words", "one"))
    assert one == again != two
    assert (len(one), tokens) == (8, 4)
    assert sum(value * value for value in one) == pytest.approx(1)
    assert made.model.abilities.embeddings
    with pytest.raises(Unsupported):
        await (await engine(tmp_path)).embed(("one",))


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("{", "script.json"),
        ('{"turn": []}', "turn"),
        ('{"turns": [{"steps": [{"text": 1}]}]}', r"turns\[0\]\.steps\[0\]\.text"),
        ('{"turns": [{"steps": [{"text": "a", "delay_ms": 1}]}]}', "exactly one"),
        ('{"turns": [{"steps": [{"token_delay_ms": 1}]}]}', "exactly one"),
        ('{"turns": [{"match": {"user": "("}, "steps": []}]}', "regular expression"),
        ('{"turns": [{"steps": [{"error": {"kind": "x", "message": ""}}]}]}', "overloaded"),
        ('{"turns": [{"steps": [{"finish": {"stop": "bored"}}]}]}', "stop"),
    ],
)
def test_a_wrong_script_is_refused_by_file_and_field(tmp_path: Path, script: str, names: str):
    path = tmp_path / "script.json"
    path.write_text(script)
    with pytest.raises(ConfigError, match=names) as raised:
        ScriptedEngine(path, ManualClock())
    assert str(path) in str(raised.value)


def test_a_missing_script_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        ScriptedEngine(tmp_path / "none.json", ManualClock())


def test_the_example_of_the_documentation_loads(tmp_path: Path):
    from headrace.serving.engines import script  # noqa: PLC0415 - for its docstring alone

    path = tmp_path / "script.json"
    example = (script.__doc__ or "").split("\n\n")[2]
    path.write_text(example)
    assert ScriptedEngine(path, ManualClock()).model.id == "parrot"
