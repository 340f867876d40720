"""Every object belongs to one account, on every route."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from headrace.core.ids import new_id
from headrace.edge.routes import Rule
from headrace.store.database import Database
from support.chat import CLOCK, Page, Stand, served_chat
from support.serving import scripted

# Method, path, and a body that the owner could send.
ROUTES = [
    ("GET", "/chat/conversations/{conversation}", None),
    ("PATCH", "/chat/conversations/{conversation}", {"title": "mine now"}),
    ("PUT", "/chat/conversations/{conversation}/head", {"message_id": "{message}"}),
    (
        "POST",
        "/chat/conversations/{conversation}/messages",
        {
            "id": "{new}",
            "reply_id": "{other}",
            "parent_id": "{message}",
            "text": "hi",
            "model": "scripted",
        },
    ),
    ("GET", "/chat/conversations/{conversation}/messages/{message}/stream", None),
    ("POST", "/chat/conversations/{conversation}/messages/{message}/stop", None),
    (
        "POST",
        "/chat/conversations/{conversation}/messages/{message}/regenerate",
        {"reply_id": "{new}"},
    ),
    ("POST", "/chat/conversations/{conversation}/messages/{message}/continue", None),
    ("DELETE", "/chat/conversations/{conversation}", None),
]
OF_NOBODY = {
    ("GET", "/chat/session"),
    ("POST", "/chat/sign-out"),
    ("GET", "/chat/conversations"),
    ("POST", "/chat/conversations"),
}


@pytest.fixture
async def stand(database: Database, tmp_path: Path) -> AsyncGenerator[Stand]:
    turn = {"match": {"user": "."}, "steps": [{"text": "Hm. "}, {"delay_ms": 60_000}]}
    engine = scripted(tmp_path / "script.json", turn)
    async with served_chat(database, tmp_path, engine) as stand:
        yield stand


async def attempts(page: Page, ids: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Status and error kind of every route, by name."""
    found: dict[str, tuple[int, str]] = {}
    for method, path, body in ROUTES:
        ids = ids | {"new": new_id(CLOCK), "other": new_id(CLOCK)}
        filled = {key: value.format(**ids) for key, value in body.items()} if body else None
        reply = await page.call(method, path.format(**ids), filled)
        kind = reply.json["error"]["kind"] if reply.status >= 400 else ""
        found[f"{method} {path}"] = (reply.status, kind)
    return found


async def test_ids_of_others_are_not_found(stand: Stand) -> None:
    owner, stranger = stand.owner, stand.stranger
    conversation = await owner.start()
    reply = await owner.ask(conversation, "secret")
    await owner.wait_text(conversation, reply["id"], 1)
    ids = {"conversation": conversation, "message": reply["id"]}
    for name, outcome in (await attempts(stranger, ids)).items():
        assert outcome == (404, "not_found"), name
    assert (await stranger.ok("GET", "/chat/conversations"))["conversations"] == []
    taken = {"id": conversation, "model": "scripted"}
    assert (await stranger.call("POST", "/chat/conversations", taken)).status == 409
    # Nor does their own conversation open the message of another.
    own = await stranger.start()
    for name, outcome in (await attempts(stranger, ids | {"conversation": own})).items():
        if "{message}" in name or "messages" in name or "head" in name:
            assert outcome == (404, "not_found"), name
    assert (await owner.thread(conversation))[-1]["status"] == "running"


async def test_without_a_session_nothing_is_told(stand: Stand) -> None:
    nobody = Page(stand.url, "")
    ids = {"conversation": new_id(CLOCK), "message": new_id(CLOCK)}
    found = await attempts(nobody, ids)
    for method, path in OF_NOBODY:
        reply = await nobody.call(method, path, {})
        found[f"{method} {path}"] = (reply.status, reply.json["error"]["kind"])
    assert set(found.values()) == {(401, "unauthenticated")}
    forged = Page(stand.url, "x" * 43)
    assert (await forged.call("GET", "/chat/session")).status == 401
    await nobody.close()
    await forged.close()


async def test_changes_must_come_from_our_own_pages(stand: Stand) -> None:
    body = {"id": new_id(CLOCK), "model": "scripted"}
    foreign = {"origin": "https://elsewhere.example"}
    refused = await stand.owner.call("POST", "/chat/conversations", body, foreign)
    assert (refused.status, refused.json["error"]["kind"]) == (403, "forbidden")


def test_every_route_is_known_to_these_tests(stand: Stand) -> None:
    known = {(method, path) for method, path, _ in ROUTES} | OF_NOBODY
    declared = {
        (method, route.path)
        for route in stand.chat.routes()
        if route.rule in {Rule.SESSION, Rule.MEMBER}
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert declared == known
    public = {route.path for route in stand.chat.routes() if route.rule is Rule.PUBLIC}
    assert {"/", "/c/{conversation}", "/assets/{name:path}"} <= public
    assert not any(path.startswith("/chat") for path in public)
