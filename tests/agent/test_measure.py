"""A server that cuts prompts off without a word ends the turn; other tokenizers do not."""

from pathlib import Path
from typing import Any

import pytest

from headrace.agent.entries import Answered, Broke, Turned
from headrace.agent.measure import Size, window_seen
from headrace.core.events import Event
from headrace.core.messages import Message, Text, Thinking, user
from headrace.core.models import Usage
from headrace.core.requests import Request
from support.coding import Bench, Line, Noting, answer, call

PROSE = "The river turns the wheel of the old mill, and the miller counts his sacks. "


def read(counted: int, *said: Any) -> list[Event]:
    return answer(*said, usage=Usage(input=counted, output=5))


async def test_a_prompt_that_was_cut_off_ends_the_turn(tmp_path: Path) -> None:
    words = PROSE * 1_000  # 15,000 words
    bench = Bench(tmp_path, read(4_000, "It is about mills.", call("Edit", {"path": "a"}, "c")))
    assert await bench.session.turn(words) == "failed"
    assert bench.edit.used == []
    (broke,) = bench.bodies(Broke)
    assert (broke.kind, broke.usage.input) == ("prompt_cut", 4_000)
    (turned,) = bench.bodies(Turned)
    assert "read 4,000 tokens" in turned.text
    assert "window held 4,096 tokens" in turned.text
    assert "OLLAMA_CONTEXT_LENGTH" in turned.text
    bench.model.lines = [read(17_000, "Now I see.")]
    assert await bench.session.turn("Again.") == "done"
    assert [one.message.text() for one in bench.bodies(Answered)] == ["Now I see."]


async def test_a_window_that_fills_in_mid_work_is_seen(tmp_path: Path) -> None:
    tool = Noting("Read", says=lambda _: PROSE * 60)
    lines: list[Line] = [
        read(min(1_100 * n + 200, 2_000), call("Read", {"path": str(n)}, f"c{n}")) for n in range(9)
    ]
    bench = Bench(tmp_path, *lines, tools=(tool,))
    assert await bench.session.turn("Read all.") == "failed"
    assert "window held 2,048" in bench.bodies(Turned)[0].text
    assert len(bench.model.asked) <= 7


def asked(text: str) -> Request:
    return Request(model="m", messages=(user(text),))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (PROSE * 200, 15 * 200),
        ("word " * 6_000, 6_000),
        (" " * 60_000 + "end", 600),
        ("=" * 60_000, 1_000),
        ("\u6c34\u8f66" * 5_000, 5_000),
        ("x = 1;\n" * 4_000, 16_000),
        ("A" * 30_000, 4_000),
    ],
)
def test_other_tokenizers_raise_no_alarm(text: str, tokens: int) -> None:
    about = len(text.encode()) // 3 + 1
    assert window_seen(tokens, asked(text), Size(about, about, about * 3)) is None


def test_servers_that_count_what_is_new_raise_no_alarm() -> None:
    size = Size(about=20_000, new=400, most=60_000)
    assert window_seen(350, asked(PROSE * 1_000), size) is None
    assert window_seen(4_000, asked(PROSE * 1_000), size) == 4_096


def test_thoughts_and_small_prompts_raise_no_alarm() -> None:
    thought = Request(
        model="m", messages=(Message("assistant", (Thinking(PROSE * 900), Text(""))),)
    )
    assert window_seen(50, thought, Size(23_000, 23_000, 60_000)) is None
    assert window_seen(50, asked("Hi."), Size(1_900, 1_900, 2_000)) is None
    assert window_seen(0, asked(PROSE * 900), Size(23_000, 23_000, 60_000)) is None
