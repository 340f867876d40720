"""Signing in, and the files of the page."""

import gzip
from pathlib import Path

import pytest

from headrace.store.database import Database
from support.chat import Page, Stand, served_chat
from support.serving import scripted

HTML = "<!doctype html><title>Headrace</title>"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(HTML)
    (folder / "favicon.svg").write_text("<svg/>")
    script = folder / "assets" / "index-abc.js"
    script.write_text("let a = 1;")
    script.with_name("index-abc.js.gz").write_bytes(gzip.compress(script.read_bytes()))
    (tmp_path / "secret.html").write_text("no")
    return folder


@pytest.fixture
async def stand(sqlite_database: Database, tmp_path: Path, static: Path):
    engine = scripted(tmp_path / "script.json")
    async with served_chat(sqlite_database, tmp_path, engine, static=static) as stand:
        yield stand


async def test_the_page_and_its_policy(stand: Stand) -> None:
    page = Page(stand.url, "")
    places = ("/manage", "/manage/receipts/0192e4a0-0000-7000-8000-000000000000", "/sign-in")
    for path in ("/", "/c/0192e4a0-0000-7000-8000-000000000000", *places):
        reply = await page.call("GET", path)
        assert (reply.status, reply.body.decode()) == (200, HTML)
        policy = reply.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-cache"
    icon = await page.call("GET", "/favicon.svg")
    assert icon.headers["content-type"] == "image/svg+xml"
    await page.close()


async def test_assets_are_packed_and_kept(stand: Stand) -> None:
    page = Page(stand.url, "")
    plain = await page.call("GET", "/assets/index-abc.js")
    assert plain.body == b"let a = 1;"
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["x-content-type-options"] == "nosniff"
    packed = await page.call("GET", "/assets/index-abc.js", headers={"accept-encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    for path in ("/assets/../../secret.html", "/assets/%2e%2e/%2e%2e/secret.html", "/assets/"):
        assert (await page.call("GET", path)).status == 404
    await page.close()


async def test_an_unbuilt_page_says_how_to_build_it(
    sqlite_database: Database, tmp_path: Path
) -> None:
    engine = scripted(tmp_path / "script.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    async with served_chat(sqlite_database, tmp_path, engine, static=empty) as stand:
        reply = await stand.owner.call("GET", "/")
        assert reply.status == 503
        assert b"npm --prefix web run build" in reply.body


async def test_signing_out_ends_the_session(stand: Stand) -> None:
    page = Page(stand.url, await stand.sessions.redeem(await _link(stand)))
    assert (await page.call("GET", "/chat/session")).status == 200
    out = await page.call("POST", "/chat/sign-out")
    assert out.status == 204
    assert "headrace_session_" in out.headers["set-cookie"]
    assert (await page.call("GET", "/chat/session")).status == 401
    await page.close()


async def _link(stand: Stand) -> str:
    return await stand.sessions.make_link(stand.api.home.owner)
