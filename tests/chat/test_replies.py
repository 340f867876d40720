"""A running reply belongs to no connection: reload, stop, continue, delete, drain."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.ids import new_id
from headrace.store.database import Database
from support.chat import CLOCK, Page, Stand, served_chat, text_of
from support.serving import scripted

STORY = "Once upon a time a wheel stood in the race. " * 8
SLOW = {"match": {"user": "slow"}, "steps": [{"text": STORY, "token_delay_ms": 4}]}
ENDLESS = {"match": {"user": "endless"}, "steps": [{"text": STORY * 50, "token_delay_ms": 10}]}
SILENT = {"match": {"user": "silent"}, "steps": [{"delay_ms": 60_000}]}
SHORT = {"match": {"user": "short"}, "steps": [{"text": "A mill. "}]}


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncGenerator[Stand]:
    engine = scripted(tmp_path / "script.json", SLOW, ENDLESS, SILENT, SHORT)
    async with served_chat(database, tmp_path, engine) as stand:
        yield stand


async def follow(page: Page, conversation: str, reply: str, cuts: list[int]) -> str:
    """Read a reply over several connections, each cut after so many events."""
    text, seen = "", 0
    for cut in [*cuts, 10**9]:
        stream = page.stream(conversation, reply, seen)
        count = 0
        async for event in stream:
            if event.name == "end":
                assert text_of(event.data["message"]).startswith(text)
                return text_of(event.data["message"])
            assert event.id == event.data["seq"] == seen + 1, "no hole and no doubling"
            seen = event.id
            text += event.data["part"]["text"]
            count += 1
            if count > cut:
                break
        await stream.aclose()
    raise AssertionError("the stream ended without an end")


async def test_an_answer_is_streamed_stored_and_its_events_go(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "slow")
    events = await page.read(conversation, reply["id"])
    *deltas, end = events
    assert [event.id for event in deltas] == list(range(1, len(deltas) + 1))
    assert end.name == "end"
    assert end.data["message"]["status"] == "done"
    streamed = "".join(event.data["part"]["text"] for event in deltas)
    assert STORY.startswith(streamed)
    assert text_of(end.data["message"]) == STORY
    asked, answer = await page.thread(conversation)
    assert (text_of(asked), text_of(answer)) == ("slow", STORY)
    assert answer["receipt"]["stop"] == "end"
    assert answer["receipt"]["output_tokens"] > 50
    assert answer["generation_id"]
    assert await stand.count("SELECT count(*) FROM reply_event") == 0


async def test_the_receipt_names_the_person_and_is_the_journals(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "short")
    await page.read(conversation, reply["id"])
    (receipt,) = await stand.api.receipts()
    assert receipt.account_id == stand.api.home.owner_id
    assert receipt.purpose == "chat"
    answer = (await page.thread(conversation))[-1]
    assert answer["generation_id"] == receipt.id
    assert answer["receipt"]["release_digest"] == receipt.release_digest


async def test_random_reloads_see_the_answer_without_hole_or_doubling(
    sqlite_database: Database, tmp_path: Path
) -> None:
    engine = scripted(
        tmp_path / "script.json",
        {"match": {"user": "."}, "steps": [{"text": STORY[:220], "token_delay_ms": 2}]},
    )
    async with served_chat(sqlite_database, tmp_path, engine) as stand:
        loop = asyncio.get_running_loop()
        page = stand.owner

        async def reload(cuts: list[int], nap_ms: int) -> None:
            conversation = await page.start()
            reply = await page.ask(conversation, "tell")
            await asyncio.sleep(nap_ms / 1000)
            assert await follow(page, conversation, reply["id"], cuts) == STORY[:220]

        @settings(
            max_examples=12,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(st.lists(st.integers(0, 6), max_size=6), st.integers(0, 80))
        def check(cuts: list[int], nap_ms: int) -> None:
            asyncio.run_coroutine_threadsafe(reload(cuts, nap_ms), loop).result(20)

        await asyncio.to_thread(check)


async def test_a_reload_goes_on_from_the_loaded_message(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "slow")
    await page.wait_text(conversation, reply["id"], 60)
    loaded = (await page.thread(conversation))[-1]
    assert loaded["status"] == "running"
    assert len(text_of(loaded)) >= 60
    text = text_of(loaded)
    events = await page.read(conversation, reply["id"], loaded["seq"])
    for expected, event in enumerate(events[:-1], loaded["seq"] + 1):
        assert event.id == expected
        text += event.data["part"]["text"]
    assert STORY.startswith(text)
    assert text_of(events[-1].data["message"]) == STORY


async def test_a_reader_far_behind_is_served_from_the_log(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "slow")
    await page.wait_text(conversation, reply["id"], 300)
    assert await stand.count("SELECT count(*) FROM reply_event") >= 2
    assert await follow(page, conversation, reply["id"], []) == STORY


async def test_two_tabs_see_the_same(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "slow")
    both = await asyncio.gather(
        follow(page, conversation, reply["id"], []),
        follow(page, conversation, reply["id"], [3, 5, 20]),
    )
    assert both == [STORY, STORY]


async def test_a_disconnect_changes_nothing(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "slow")
    await page.wait_text(conversation, reply["id"], 10)
    await asyncio.sleep(0.1)
    assert await follow(page, conversation, reply["id"], []) == STORY


async def test_stop_keeps_the_text_and_cancels_the_call(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "endless")
    place = f"/chat/conversations/{conversation}/messages/{reply['id']}"
    await page.wait_text(conversation, reply["id"], 30)
    assert (await page.call("POST", f"{place}/stop")).status == 202
    (end,) = (event for event in await page.read(conversation, reply["id"]) if event.name == "end")
    message = end.data["message"]
    assert message["status"] == "stopped"
    assert STORY.startswith(text_of(message))
    assert len(text_of(message)) >= 30
    assert (await page.call("POST", f"{place}/stop")).status == 202
    assert (await page.thread(conversation))[-1]["status"] == "stopped"
    assert await last_stop(stand) == "cancelled"


async def test_stop_cancels_the_call_before_its_first_token(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "silent")
    await asyncio.sleep(0.1)
    await page.ok("POST", f"/chat/conversations/{conversation}/messages/{reply['id']}/stop")
    assert await last_stop(stand) == "cancelled"


async def last_stop(stand: Stand) -> str | None:
    """How the newest call ended, as soon as it has."""
    for _ in range(100):
        receipts = await stand.api.receipts()
        if receipts and receipts[-1].stop is not None:
            return receipts[-1].stop
        await asyncio.sleep(0.01)
    return None


async def test_regenerate_makes_a_sibling_and_the_head_moves(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    first = await page.ask(conversation, "short")
    await page.read(conversation, first["id"])
    place = f"/chat/conversations/{conversation}"
    wanted = {"reply_id": new_id(CLOCK)}
    path = f"{place}/messages/{first['id']}/regenerate"
    second = (await page.ok("POST", path, wanted))["reply"]
    again = (await page.ok("POST", path, wanted))["reply"]
    assert again["id"] == second["id"]
    assert second["siblings"] == [first["id"], second["id"]]
    await page.read(conversation, second["id"])
    assert [item["id"] for item in await page.thread(conversation)][-1] == second["id"]
    thread = await page.ok("PUT", f"{place}/head", {"message_id": first["id"]})
    assert thread["messages"][-1]["id"] == first["id"]
    assert thread["messages"][-1]["siblings"] == [first["id"], second["id"]]


async def test_showing_a_sibling_goes_down_to_its_newest_leaf(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    first = await page.ask(conversation, "short one")
    await page.read(conversation, first["id"])
    second = await page.ask(conversation, "short two", first["id"])
    await page.read(conversation, second["id"])
    other = await page.ask(conversation, "short three")
    await page.read(conversation, other["id"])
    assert len(await page.thread(conversation)) == 2
    place = f"/chat/conversations/{conversation}/head"
    thread = await page.ok("PUT", place, {"message_id": first["parent_id"]})
    assert [text_of(item) for item in thread["messages"]][::2] == ["short one", "short two"]
    assert thread["messages"][-1]["id"] == second["id"]


async def test_deleting_a_conversation_ends_what_runs_and_leaves_nothing(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "endless")
    await page.wait_text(conversation, reply["id"], 10)
    reading = asyncio.create_task(page.read(conversation, reply["id"]))
    await asyncio.sleep(0.05)
    assert (await page.call("DELETE", f"/chat/conversations/{conversation}")).status == 204
    assert all(event.name == "delta" for event in await reading), "the stream closes without end"
    for table in ("conversation", "message", "reply_event"):
        assert await stand.count(f"SELECT count(*) FROM {table}") == 0
    gone = await page.call("GET", f"/chat/conversations/{conversation}")
    assert (gone.status, gone.json["error"]["kind"]) == (404, "not_found")
    other = await page.start()
    reply = await page.ask(other, "short")
    assert (await page.read(other, reply["id"]))[-1].data["message"]["status"] == "done"


async def test_draining_waits_then_interrupts_with_all_text(stand: Stand) -> None:
    page = stand.owner
    conversation, other = await page.start(), await page.start()
    short = await page.ask(conversation, "slow")
    endless = await page.ask(other, "endless")
    await page.wait_text(other, endless["id"], 20)
    reading = asyncio.create_task(page.read(other, endless["id"]))
    await stand.chat.drain(0.8)
    assert (await page.thread(conversation))[-1]["status"] == "done"
    cut = (await page.thread(other))[-1]
    assert cut["status"] == "interrupted"
    streamed = [event for event in await reading if event.name == "delta"]
    seen = "".join(event.data["part"]["text"] for event in streamed)
    assert text_of(cut).startswith(seen)
    refused = await page.call(
        "POST",
        f"/chat/conversations/{conversation}/messages",
        {
            "id": new_id(CLOCK),
            "reply_id": new_id(CLOCK),
            "parent_id": short["id"],
            "text": "more",
            "model": "scripted",
        },
    )
    assert (refused.status, refused.json["error"]["kind"]) == (503, "engine_unavailable")


async def test_a_silent_stream_sends_comments(sqlite_database: Database, tmp_path: Path) -> None:
    turn = {"match": {"user": "."}, "steps": [{"delay_ms": 400}, {"text": "late"}]}
    engine = scripted(tmp_path / "script.json", turn)
    async with served_chat(sqlite_database, tmp_path, engine, heartbeat_s=0.05) as stand:
        page = stand.owner
        conversation = await page.start()
        reply = await page.ask(conversation, "go")
        path = f"/chat/conversations/{conversation}/messages/{reply['id']}/stream"
        whole = await page.call("GET", path)
        assert whole.body.count(b": keep-alive\n\n") >= 2
        assert whole.headers["content-type"].startswith("text/event-stream")
        assert whole.headers["cache-control"] == "no-store"
