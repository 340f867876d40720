"""A process killed in mid-answer: all but the last quarter second is there after the restart."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from pyreqwest.exceptions import PyreqwestError

from support.chat import Page, text_of
from support.running import Running, write_script

STORY = "The water runs down the race and the wheel turns. " * 200
LOSS_S_MAX = 0.25


@contextlib.asynccontextmanager
async def house(data: Path, model: str) -> AsyncGenerator[tuple[Running, Page]]:
    running = await asyncio.to_thread(Running, data, model)
    page = Page(running.url, "")
    signed_in = await page.call("GET", running.sign_in_link.removeprefix(running.url))
    page.cookie = signed_in.headers["set-cookie"].partition(";")[0].partition("=")[2]
    try:
        yield running, page
    finally:
        await page.close()
        await asyncio.to_thread(running.stop)


async def test_kill_loses_no_more_than_a_quarter_second(tmp_path: Path) -> None:
    script = {"turns": [{"match": {"user": "."}, "steps": [{"text": STORY, "token_delay_ms": 3}]}]}
    model = write_script(tmp_path / "script.json", script)
    seen: list[tuple[float, int]] = [(0.0, 0)]
    async with house(tmp_path / "data", model) as (running, page):
        conversation = await page.start()
        reply = await page.ask(conversation, "tell")
        until = time.monotonic() + 1.0
        last_seq = 0
        stream = page.stream(conversation, reply["id"])
        async for event in stream:
            now, last_seq = time.monotonic(), event.id
            seen.append((now, seen[-1][1] + len(event.data["part"]["text"])))
            if now > until:
                break
        await asyncio.to_thread(running.kill)
        killed = time.monotonic()
        with contextlib.suppress(PyreqwestError):
            await stream.aclose()
    async with house(tmp_path / "data", model) as (running, page):
        message = (await page.thread(conversation))[-1]
        assert message["status"] == "interrupted"
        assert message["generation_id"]
        text = text_of(message)
        assert STORY.startswith(text)
        due = max(length for at, length in seen if at < killed - LOSS_S_MAX)
        assert len(text) >= due > 0
        (end,) = await page.read(conversation, reply["id"], last_seq)
        assert end.data["message"]["parts"] == message["parts"]
        assert end.id > last_seq, "numbers that were lost are never given again"
        place = f"/chat/conversations/{conversation}/messages/{reply['id']}"
        again = (await page.ok("POST", f"{place}/continue"))["reply"]
        stale = await page.call("GET", f"{place}/stream?after={last_seq}")
        assert stale.status == 404
        more = page.stream(conversation, reply["id"], again["seq"])
        async for event in more:
            assert event.id == again["seq"] + 1
            break
        await more.aclose()
        await page.ok("POST", f"{place}/stop")
