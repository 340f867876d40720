import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace.core.errors import EngineFailed, EngineUnavailable, InvalidRequest, TimedOut
from headrace.net import http_client
from headrace.net.http_client import HttpClient, Reply, Timeouts, header_lines
from support.upstream import Answer, Upstream, upstream

LONG = Timeouts(connect_s=5, first_byte_s=5, silence_s=5, whole_s=5)
HELLO = Answer((b"Hel", b"lo"))


async def ask(client: HttpClient, timeouts: Timeouts = LONG, body: bytes = b"{}") -> Reply:
    return await client.send("POST", "/v1/x", b"", body, timeouts)


async def whole(client: HttpClient, timeouts: Timeouts = LONG) -> bytes:
    reply = await ask(client, timeouts)
    try:
        return await reply.read_all(1_000_000)
    finally:
        reply.release()


async def test_a_kept_connection_serves_one_call_after_another():
    async with upstream(HELLO) as server:
        client = HttpClient("it", server.url)
        for framing in ("chunked", "length", "chunked"):
            server.answers = [Answer((b"Hel", b"lo"), framing=framing)]
            assert await whole(client) == b"Hello"
        assert server.connections == 1
        client.close()


async def test_calls_at_the_same_time_have_connections_of_their_own():
    async with upstream(HELLO) as server:
        client = HttpClient("it", server.url)
        answers = await asyncio.gather(*(whole(client) for _ in range(8)))
        assert answers == [b"Hello"] * 8
        assert server.connections == 8
        client.close()


async def test_a_body_may_end_with_its_connection():
    async with upstream(Answer((b"Hel", b"lo"), framing="close")) as server:
        client = HttpClient("it", server.url)
        assert [await whole(client), await whole(client)] == [b"Hello"] * 2
        assert server.connections == 2


async def test_a_server_that_wants_no_more_is_believed():
    async with upstream(Answer((b"x",), headers={"connection": "close"})) as server:
        client = HttpClient("it", server.url)
        assert [await whole(client), await whole(client)] == [b"x"] * 2
        assert server.connections == 2


async def test_status_and_headers_are_told_whatever_their_case():
    async with upstream(Answer((b"no",), 429, {"Retry-After": "7"})) as server:
        reply = await ask(HttpClient("it", server.url))
        assert (reply.status, reply.header("retry-after"), reply.header("x")) == (429, "7", None)
        reply.release()


async def test_an_interim_answer_says_nothing():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await writer.drain()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reply = await ask(HttpClient("it", f"http://127.0.0.1:{port}"))
        assert (reply.status, reply.header("link")) == (200, None)
        assert await reply.read_all(100) == b"hi"
        reply.release()


async def test_a_connection_that_the_server_closed_just_now_is_made_up_for():
    async with upstream(HELLO) as server:
        server.close_kept = True
        client = HttpClient("it", server.url)
        for _ in range(5):  # the close is sometimes seen before, sometimes after the next send
            assert await whole(client) == b"Hello"
        assert len(server.seen) == 5


async def test_a_request_that_was_lost_on_a_kept_connection_is_sent_again_once():
    async with upstream(HELLO) as server:
        client = HttpClient("it", server.url)
        assert await whole(client) == b"Hello"
        server.answers = [Answer(end="reset"), HELLO]
        assert await whole(client) == b"Hello"
        assert len(server.seen) == 3
        server.answers = [Answer(end="reset")]
        with pytest.raises(EngineFailed, match="closed the connection without an answer"):
            await whole(client)
        assert len(server.seen) == 5


async def test_a_request_of_which_something_came_back_is_not_sent_again():
    async with upstream(HELLO) as server:
        client = HttpClient("it", server.url)
        assert await whole(client) == b"Hello"
        server.answers = [Answer((b"Hel",), end="cut")]
        with pytest.raises(EngineFailed, match="broke off"):
            await whole(client)
        assert len(server.seen) == 2


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_an_answer_that_is_cut_is_an_error(framing: Any):
    async with upstream(Answer((b"Hel",), end="cut", framing=framing)) as server:
        with pytest.raises(EngineFailed, match="it broke off"):
            await whole(HttpClient("it", server.url))


@pytest.mark.parametrize("end", ["silent", "stall"])
async def test_a_cancel_closes_the_connection_at_once(end: Any):
    async with upstream(Answer((b"Hel",), end=end)) as server:
        task = asyncio.ensure_future(whole(HttpClient("it", server.url)))
        await server.asked()
        task.cancel()
        await server.hung_up()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_reply_that_is_let_go_before_its_end_closes_the_connection():
    async with upstream(Answer((b"Hel",), end="stall")) as server:
        reply = await ask(HttpClient("it", server.url))
        assert await reply.read() == b"Hel"
        reply.release()
        await server.hung_up()


async def test_the_end_of_a_reply_may_come_after_it_was_let_go():
    async with upstream(Answer((b"Hel", b"lo"))) as server:
        client = HttpClient("it", server.url)
        reply = await ask(client)
        await reply.read()
        reply.release(done=True)
        while not client.idle:
            await asyncio.sleep(0)
        assert await whole(client) == b"Hello"
        assert server.connections == 1


async def test_an_end_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_client, "_LINGER_S", 0.01)
    async with upstream(Answer((b"Hel",), end="stall")) as server:
        reply = await ask(HttpClient("it", server.url))
        await reply.read()
        reply.release(done=True)
        await server.hung_up()


@pytest.mark.parametrize(
    ("end", "timeouts"),
    [
        ("silent", Timeouts(5, 0.02, 5, 5)),
        ("silent", Timeouts(5, 5, 5, 0.02)),
        ("stall", Timeouts(5, 5, 0.02, 5)),
        ("stall", Timeouts(5, 5, 5, 0.05)),
    ],
)
async def test_each_time_out_ends_the_call_and_the_connection(end: Any, timeouts: Timeouts):
    async with upstream(Answer((b"Hel",), end=end)) as server:
        client = HttpClient("it", server.url)
        with pytest.raises(TimedOut, match="it did not answer in time"):
            await whole(client, timeouts)
        await server.hung_up()


async def test_time_in_which_the_reader_does_something_else_is_no_silence():
    async with upstream(HELLO) as server:
        reply = await ask(HttpClient("it", server.url), Timeouts(5, 5, 0.05, 5))
        assert await reply.read()
        await asyncio.sleep(0.15)
        assert await reply.read_all(100) in {b"", b"lo"}
        reply.release()


async def test_a_slow_reader_holds_up_the_server_and_not_our_memory():
    piece = b"x" * 65_536
    async with upstream(Answer((piece,) * 512)) as server:
        reply = await ask(HttpClient("it", server.url))
        await asyncio.sleep(0.1)
        held = len(await reply.read())
        assert held < 2_000_000
        assert held + len(await reply.read_all(100_000_000)) == 512 * len(piece)
        reply.release()


async def test_a_body_over_the_limit_is_refused():
    async with upstream(Answer((b"x" * 1000,))) as server:
        reply = await ask(HttpClient("it", server.url))
        with pytest.raises(EngineFailed, match="over 100 bytes"):
            await reply.read_all(100)
        reply.release()


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000])
async def test_what_is_no_http_is_refused(said: bytes):
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EngineFailed):
            await ask(HttpClient("it", f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nothers", b"x"])
async def test_what_comes_after_an_answer_belongs_to_nobody(extra: bytes):
    ends: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(end := asyncio.Event())
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                writer.write(b"HTTP/1.1 201 OK\r\ncontent-length: 2\r\n\r\nHi" + extra)
        writer.close()
        end.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = HttpClient("it", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for _ in range(2):
            reply = await ask(client)
            assert reply.status == 201
            assert await reply.read_all(100) == b"Hi"
            reply.release()
        assert len(ends) == 2
        client.close()
        for end in ends:
            await end.wait()


async def test_nobody_there_is_told_without_an_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EngineUnavailable, match=r"^it cannot be reached$") as caught:
            await ask(HttpClient("it", url))
    assert caught.value.retry_after_s is not None


def test_a_header_cannot_break_out_of_its_line():
    assert header_lines({"a": "b", "c": "d"}) == b"a: b\r\nc: d\r\n"
    for value in ("x\r\ny: z", "x\ny", "ü"):
        with pytest.raises(InvalidRequest):
            header_lines({"a": value})


def on_uvloop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """As the house runs it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def test_on_uvloop_calls_cancels_and_cuts_are_the_same():
    async def work() -> None:
        async with upstream(HELLO) as server:
            client = HttpClient("it", server.url)
            assert [await whole(client), await whole(client)] == [b"Hello"] * 2
            server.answers = [Answer(end="silent")]
            task = asyncio.ensure_future(whole(client))
            await server.asked(3)
            task.cancel()
            await server.hung_up()
            server.answers = [Answer((b"Hel",), end="cut")]
            with pytest.raises(EngineFailed):
                await whole(client)

    on_uvloop(work)


def test_small_writes_leave_at_once():
    async def work() -> None:
        async with upstream(HELLO) as server:
            reply = await ask(HttpClient("it", server.url))
            transport: Any = reply._transport  # pyright: ignore[reportPrivateUsage]
            raw = transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            reply.release()

    on_uvloop(work)
    asyncio.run(work())


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for this machine that nobody has signed, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command.split(), *subject, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_tls_is_checked(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Upstream(HELLO)
    await server.start(context)
    url = server.url.replace("http://127.0.0.1", "https://localhost")
    http_client.tls_context.cache_clear()
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await whole(HttpClient("it", url))
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    http_client.tls_context.cache_clear()
    client = HttpClient("it", url)
    try:
        assert [await whole(client), await whole(client)] == [b"Hello"] * 2
    finally:
        client.close()
        http_client.tls_context.cache_clear()
        await server.stop()
