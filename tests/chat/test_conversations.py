"""The contract of the page: conversations, idempotent writes, refusals."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from headrace.core.ids import new_id
from headrace.store.database import Database
from support.chat import CLOCK, Stand, served_chat, text_of
from support.serving import scripted

LIST = "/chat/conversations"


@pytest.fixture
async def stand(sqlite_database: Database, tmp_path: Path) -> AsyncGenerator[Stand]:
    failing = {
        "match": {"user": "fail"},
        "steps": [{"error": {"kind": "overloaded", "message": "Too much."}}],
    }
    engine = scripted(tmp_path / "script.json", failing)
    embedder = scripted(
        tmp_path / "embedder.json",
        model={"id": "embedder", "abilities": {"chat": False}},
        embedding_dimensions=8,
    )
    async with served_chat(sqlite_database, tmp_path, engine, embedder) as stand:
        yield stand


def turn(**fields: Any) -> dict[str, Any]:
    ids = {"id": new_id(CLOCK), "reply_id": new_id(CLOCK)}
    return ids | {"parent_id": None, "text": "Hello", "model": "scripted"} | fields


async def test_the_session_tells_what_the_page_needs(stand: Stand) -> None:
    session = await stand.owner.ok("GET", "/chat/session")
    assert session["account"] == {
        "id": stand.api.home.owner_id,
        "name": "Owner",
        "role": "owner",
    }
    assert session["organisation"]["id"] == stand.api.home.organisation_id
    assert session["default_model"] == "scripted"
    (model,) = session["models"]  # not the one that cannot chat
    assert model == {
        "id": "scripted",
        "display_name": "Scripted",
        "context_tokens": 8192,
        "abilities": ["chat", "tools", "thinking"],
    }


async def test_creating_and_sending_twice_is_safe(stand: Stand) -> None:
    page = stand.owner
    wanted = {"id": new_id(CLOCK), "model": "scripted"}
    first = await page.ok("POST", LIST, wanted)
    assert await page.ok("POST", LIST, wanted) == first
    assert (await page.call("POST", LIST, wanted | {"model": "other"})).status == 409
    place = f"{LIST}/{wanted['id']}/messages"
    asked = turn(text="Hello there\nsecond line")
    made = await page.ok("POST", place, asked)
    await page.read(wanted["id"], made["reply"]["id"])
    again = await page.ok("POST", place, asked)
    assert again["message"] == made["message"]
    assert again["reply"]["status"] == "done", "it was not asked a second time"
    assert len(await stand.api.receipts()) == 1
    for change in ({"text": "Other"}, {"model": "other"}, {"reply_id": new_id(CLOCK)}):
        other = await page.call("POST", place, asked | change)
        assert (other.status, other.json["error"]["kind"]) == (409, "conflict"), change
    (listed,) = (await page.ok("GET", LIST))["conversations"]
    assert listed["title"] == "Hello there"
    assert (listed["model"], listed["running"]) == ("scripted", False)


async def test_pages_of_conversations_run_from_the_last_used(stand: Stand) -> None:
    page = stand.owner
    made = [await page.start() for _ in range(5)]
    reply = await page.ask(made[1], "bump")
    await page.read(made[1], reply["id"])
    seen: list[str] = []
    path = f"{LIST}?limit=2"
    while True:
        got = await page.ok("GET", path)
        seen += [item["id"] for item in got["conversations"]]
        if got["next"] is None:
            break
        path = f"{LIST}?limit=2&before={got['next']}"
    assert seen == [made[1], made[4], made[3], made[2], made[0]]


async def test_title_and_model_change(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    place = f"{LIST}/{conversation}"
    odd = "  Ünïcode \x00 and \U0001f30a  "
    changed = await page.ok("PATCH", place, {"title": odd, "model": "other"})
    assert (changed["title"], changed["model"]) == (odd.strip(), "other")
    assert (await page.ok("GET", place))["conversation"] == changed
    assert await page.ok("PATCH", place, {}) == changed


async def test_text_comes_back_as_it_was_sent(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    text = "\x00 \x1b[31m  \u2028 \U0001f9ea <b>&amp;</b> \ufeff trailing \n"
    reply = await page.ask(conversation, text)
    await page.read(conversation, reply["id"])
    asked, answer = await page.thread(conversation)
    assert text_of(asked) == text
    assert text_of(answer) == text, "the engine echoes it"


async def test_a_failed_reply_says_why(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    reply = await page.ask(conversation, "fail")
    (end,) = await page.read(conversation, reply["id"])
    message = end.data["message"]
    assert message["status"] == "error"
    assert message["error"]["kind"] == "overloaded"
    assert "Too much." in message["error"]["message"]
    missing = await page.ok("POST", f"{LIST}/{conversation}/messages", turn(model="nothing"))
    (end,) = await page.read(conversation, missing["reply"]["id"])
    assert end.data["message"]["error"]["kind"] == "model_not_found"


async def test_bad_bodies_are_refused(stand: Stand) -> None:
    page = stand.owner
    conversation = await page.start()
    bad: list[tuple[object, int]] = [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"id":1}', 400),
        (b'{"id":"\xff"}', 400),
        (b'{"id":' + b"[" * 100 + b"]" * 100 + b"}", 413),
        (turn(id="x"), 400),
        (turn(id=new_id(CLOCK).upper()), 400),
        (turn(text=""), 400),
        (turn(text=" \n "), 400),
        (turn(text="x" * (1024 * 1024 + 1)), 413),
        (turn(text="x" * (8 * 1024 * 1024)), 413),
        (turn(model=""), 400),
        (turn(more=1), 400),
        (turn(parent_id=new_id(CLOCK)), 404),
        (turn(parent_id="\x00"), 404),
    ]
    for body, status in bad:
        reply = await page.call("POST", f"{LIST}/{conversation}/messages", body)
        assert reply.status == status, (str(body)[:60], reply.body)
        assert set(reply.json["error"]) == {"kind", "message", "hint"}
    assert await page.thread(conversation) == []


async def test_bad_queries_and_paths_are_refused(stand: Stand) -> None:
    page = stand.owner
    for query in ("limit=0", "limit=201", "limit=x", "before=x", f"before={2**63}.{'0' * 36}"):
        assert (await page.call("GET", f"{LIST}?{query}")).status == 400, query
    assert (await page.call("GET", f"{LIST}/not-an-id")).status == 404
    assert (await page.call("GET", f"{LIST}/%00")).status == 404
    conversation = await page.start()
    reply = await page.ask(conversation, "hi")
    stream = f"{LIST}/{conversation}/messages/{reply['id']}/stream"
    for after in ("-1", "x", str(2**31), "%C2%B2"):
        assert (await page.call("GET", f"{stream}?after={after}")).status == 400, after
    same = new_id(CLOCK)
    refused = await page.call(
        "POST", f"{LIST}/{conversation}/messages", turn(id=same, reply_id=same)
    )
    assert refused.status == 400
