"""Continuing a reply: what it holds is the prefill, the rest is appended to the same message."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from headrace.core.clock import SystemClock
from headrace.core.events import Counted, Event
from headrace.core.ids import new_id
from headrace.core.messages import Message, Text, user
from headrace.core.requests import Request
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.store.database import Database
from headrace.store.messages import Limits
from support.chat import CLOCK, Stand, served_chat, text_of

FIRST = "Round and round it goes. \n\n"
SECOND = "And on it goes."


class Recorder(ScriptedEngine):
    """The scripted engine, keeping what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SystemClock())
        self.asked: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        self.asked.append(request)
        async for event in super().stream(request):
            yield event


@pytest.fixture
def engine(tmp_path: Path) -> Recorder:
    path = tmp_path / "script.json"
    turns = [
        {"match": {"user": "cut"}, "times": 1, "steps": [{"text": FIRST}, {"cut": True}]},
        {"match": {"user": "cut"}, "steps": [{"text": SECOND}]},
        {
            "match": {"user": "limit"},
            "steps": [{"text": FIRST}, {"finish": {"stop": "length"}}],
        },
        {"match": {"user": "think"}, "steps": [{"thinking": "Hm. "}, {"cut": True}]},
        {"match": {"user": "busy"}, "steps": [{"delay_ms": 60_000}]},
    ]
    path.write_text(json.dumps({"turns": turns}))
    return Recorder(path)


@pytest.fixture
async def stand(
    sqlite_database: Database, tmp_path: Path, engine: Recorder
) -> AsyncGenerator[Stand]:
    async with served_chat(
        sqlite_database, tmp_path, engine, limits=Limits(running_max=2, depth_max=4)
    ) as stand:
        yield stand


async def test_the_prefill_is_exact_and_the_text_goes_on(stand: Stand, engine: Recorder) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "cut")
    first = (await page.read(conversation, reply["id"]))[-1].data["message"]
    assert (first["status"], first["error"]["kind"]) == ("error", "engine_failed")
    assert text_of(first) == FIRST
    path = f"/chat/conversations/{conversation}/messages/{reply['id']}"
    again = (await page.ok("POST", f"{path}/continue"))["reply"]
    assert again["status"] == "running"
    events = await page.read(conversation, reply["id"], first["seq"])
    assert [event.id for event in events[:-1]] == list(
        range(first["seq"] + 1, first["seq"] + len(events))
    )
    assert all(event.data["index"] == 0 for event in events[:-1])
    whole = events[-1].data["message"]
    assert (whole["status"], text_of(whole), whole["error"]) == ("done", FIRST + SECOND, None)
    assert engine.asked[-1].messages == (user("cut"), Message("assistant", (Text(FIRST),)))
    stale = await page.call("GET", f"{path}/stream?after=0")
    assert stale.body.startswith(b"id: "), "of a final message only the end is left"


async def test_the_prompt_only_grows(stand: Stand, engine: Recorder) -> None:
    page = stand.owner
    conversation = await page.start()
    parent = None
    for text in ("one", "two"):
        reply = await page.ask(conversation, text, parent)
        await page.read(conversation, reply["id"])
        parent = reply["id"]
    first, second = (request.messages for request in engine.asked)
    assert second[: len(first)] == first
    assert [message.role for message in second] == ["user", "assistant", "user"]
    too_long = await page.call(
        "POST",
        f"/chat/conversations/{conversation}/messages",
        {
            "id": new_id(CLOCK),
            "reply_id": new_id(CLOCK),
            "parent_id": parent,
            "text": "three",
            "model": "scripted",
        },
    )
    assert (too_long.status, too_long.json["error"]["kind"]) == (413, "too_large")


async def test_what_may_be_continued(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    limited = await page.ask(conversation, "limit")
    seen = (await page.read(conversation, limited["id"]))[-1].id
    place = f"/chat/conversations/{conversation}/messages"
    await page.ok("POST", f"{place}/{limited['id']}/continue")
    end = (await page.read(conversation, limited["id"], seen))[-1]
    assert text_of(end.data["message"]) == FIRST * 2
    whole = await page.ask(conversation, "echo", limited["id"])
    await page.read(conversation, whole["id"])
    refused = await page.call("POST", f"{place}/{whole['id']}/continue")
    assert (refused.status, refused.json["error"]["kind"]) == (409, "conflict")
    answered = await page.call("POST", f"{place}/{limited['id']}/continue")
    assert answered.status == 409
    asked = await page.call("POST", f"{place}/{limited['parent_id']}/continue")
    assert asked.status == 400


async def test_a_thought_cut_short_is_no_prefill(stand: Stand, engine: Recorder) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "think")
    seen = (await page.read(conversation, reply["id"]))[-1].id
    place = f"/chat/conversations/{conversation}/messages/{reply['id']}"
    await page.ok("POST", f"{place}/continue")
    await page.read(conversation, reply["id"], seen)
    assert engine.asked[-1].messages == (user("think"),)
    parts = (await page.thread(conversation))[-1]["parts"]
    assert [(part["type"], part["text"]) for part in parts] == [("thinking", "Hm. ")] * 2


async def test_only_so_many_replies_run_at_once(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    first = await page.ask(conversation, "busy")
    await page.ask(conversation, "busy")
    place = f"/chat/conversations/{conversation}/messages"
    turn = {
        "id": new_id(CLOCK),
        "reply_id": new_id(CLOCK),
        "parent_id": None,
        "text": "busy",
        "model": "scripted",
    }
    refused = await page.call("POST", place, turn)
    assert (refused.status, refused.json["error"]["kind"]) == (429, "rate_limited")
    follow_up = await page.call("POST", place, turn | {"parent_id": first["id"]})
    assert (follow_up.status, follow_up.json["error"]["kind"]) == (409, "conflict")
    await page.ok("POST", f"{place}/{first['id']}/stop")
    end = (await page.read(conversation, first["id"]))[-1].data["message"]
    assert (end["status"], end["parts"], end["seq"]) == ("stopped", [], 0)
    assert (await page.call("POST", place, turn)).status == 201
