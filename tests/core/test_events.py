import msgspec
import pytest

from headrace.core.events import Delta, Event, Finished, Started, fold, join
from headrace.core.messages import Message, Text, Thinking, ToolCall
from headrace.core.models import Usage

ANSWER: list[Event] = [
    Started("m", Usage(input=3)),
    Delta(0, Thinking("let me ")),
    Delta(0, Thinking("see", signature="sig")),
    Delta(1, Text("Hel")),
    Delta(1, Text("lo")),
    Delta(2, ToolCall("call_1", "look", "")),
    Delta(2, ToolCall("", "", '{"at":')),
    Delta(2, ToolCall("", "", '"x"}')),
    Finished("tool_calls", Usage(3, 0, 7, 2)),
]


def test_folding_joins_the_deltas_of_each_part():
    assert fold(ANSWER) == Message(
        "assistant",
        (
            Thinking("let me see", "sig"),
            Text("Hello"),
            ToolCall("call_1", "look", '{"at":"x"}'),
        ),
    )


def test_a_cut_stream_folds_to_what_arrived():
    assert fold(ANSWER[:4]).text() == "Hel"
    assert fold([]) == Message("assistant", ())


def test_two_kinds_of_part_never_mix():
    with pytest.raises(ValueError, match="mixed"):
        join(Text("a"), Thinking("b"))


def test_events_and_messages_survive_json():
    encoded = msgspec.json.encode(ANSWER)
    assert msgspec.json.decode(encoded, type=list[Event]) == ANSWER
    message = fold(ANSWER)
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message
