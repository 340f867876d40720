"""HTTP/1.1 with one server: kept connections, and answers that end the moment nobody listens.

Our own, on asyncio and httptools, because closing must cancel a model call at any moment, also
before any header has come; pooled clients let such a request run on. A slow reader holds up the
server, not our memory: reading pauses while much is unread.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import cast
from urllib.parse import urlsplit

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from headrace.core.errors import (
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    TimedOut,
)

_PORTS = {"http": 80, "https": 443}
_HEAD_BYTES_MAX = 65_536
_UNREAD_BYTES_MAX = 262_144
_IDLE_MAX = 256
_IDLE_S_MAX = 50.0
_INFORMATIONAL = 200
_RETRY_AFTER_S = 2.0
_LINGER_S = 1.0
_JOINED_BYTES_MAX = 65_536


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect, to the first byte of a body, between any two later ones, in all."""

    connect_s: float
    first_byte_s: float
    silence_s: float
    whole_s: float


class _Stale(Exception):
    """The server closed a kept connection before it saw our request."""


class Reply(asyncio.Protocol):
    """A connection, and what comes back on it: status and headers, then the body in pieces.

    Whoever got one from `HttpClient.send` calls `release` when done with it.
    """

    def __init__(self, client: "HttpClient", loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since_s = 0.0
        self._client = client
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timeouts: Timeouts | None = None
        self._lost = False
        self._idle = True
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._paused = self._lingering = self._keep_alive = False
        self._heard = self._headed = self._whole = False
        self._error: HeadraceError | None = None

    def header(self, name: str) -> str | None:
        """A header of the answer, None if it has none of that name."""
        wanted = name.encode()
        for key, value in self._headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return None

    async def ask(self, head: bytes, body: bytes, timeouts: Timeouts) -> None:
        """Send a request and wait for the headers of its answer."""
        self._reset()
        self._idle = False
        self._timeouts = timeouts
        self._started_s = self._waiting_since_s = self._loop.time()
        transport = self._transport
        assert transport is not None  # noqa: S101 - it is connected
        # One piece is written faster than two, unless it is long to copy.
        if len(body) <= _JOINED_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        self._look_at_clock()
        while not self._headed:
            if self._error is not None:
                raise self._error
            if self._lost:
                raise _Stale
            await self._wait()

    async def read(self) -> bytes:
        """All that has come of the body since the last call, empty at its end.

        Raises:
            EngineFailed: The connection broke before the end.
            TimedOut: Nothing came for too long.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._whole:
                return b""
            await self._wait()
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self._unread_bytes = 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    async def read_all(self, bytes_max: int) -> bytes:
        """The whole body.

        Raises:
            EngineFailed: It is longer than `bytes_max`, or the connection broke.
            TimedOut: Nothing came for too long.
        """
        held: list[bytes] = []
        size = 0
        while data := await self.read():
            held.append(data)
            size += len(data)
            if size > bytes_max:
                raise EngineFailed(f"the answer of {self._client.name} is over {bytes_max} bytes")
        return held[0] if len(held) == 1 else b"".join(held)

    def release(self, *, done: bool = False) -> None:
        """Keep the connection if its answer is whole and read, else break it off.

        Args:
            done: All that matters has been read: the end may still come, within a second.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lost:
            return
        if self._whole and (done or not self._pieces):
            self._keep()
        elif done and self._error is None and not self._paused:
            self._lingering = True
            self._timer = self._loop.call_later(_LINGER_S, self._break)
        else:
            self._break()

    def _keep(self) -> None:
        if self._keep_alive:
            self._idle = True
            self.idle_since_s = self._loop.time()
            self._client.keep(self)
        else:
            self._break()

    def drop(self) -> None:
        """Close a kept connection."""
        if not self._lost:
            self._break()

    def _break(self) -> None:
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        self._waiting_since_s = self._loop.time()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: HeadraceError) -> None:
        if self._error is None and not self._whole:
            self._error = error
        self._wake()

    def _look_at_clock(self) -> None:
        """Called when the answer may be late; time in which nobody reads does not count."""
        timeouts = self._timeouts
        if timeouts is None:
            return
        now_s = self._loop.time()
        until_s = self._started_s + timeouts.first_byte_s
        if self._heard:
            waiting = self._waiter is not None
            until_s = (self._waiting_since_s if waiting else now_s) + timeouts.silence_s
        left_s = min(until_s, self._started_s + timeouts.whole_s) - now_s
        if left_s > 0:
            # Silence may begin at any time, and is then to be seen when it is over.
            after_s = min(left_s, timeouts.silence_s)
            self._timer = self._loop.call_later(after_s, self._look_at_clock)
            return
        self._fail(TimedOut(f"{self._client.name} did not answer in time"))
        self._break()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called with bytes of the answer."""
        if self._idle:  # nothing was asked: a farewell, or a server out of step
            self._client.forget(self)
            self._break()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._keep_alive = False
            self._fail(EngineFailed(f"{self._client.name} does not speak HTTP/1.1"))
        if self._error is not None:
            self._break()
        elif self._unread_bytes > _UNREAD_BYTES_MAX and not self._paused and not self._whole:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()
        elif self._lingering and self._whole:
            self.release(done=True)
        if self._headed:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, whoever ended it."""
        self._lost = True
        if self._idle:
            self._client.forget(self)
            return
        if self._headed and exc is None and not self._framed():
            self._whole = True  # such a body ends with its connection
        elif self._heard or self._headed or self._head_bytes:
            self._fail(EngineFailed(f"{self._client.name} broke off its answer"))
        self._wake()

    def _framed(self) -> bool:
        return self.header("content-length") is not None or (
            "chunked" in (self.header("transfer-encoding") or "").lower()
        )

    # Called by the parser

    def on_message_begin(self) -> None:
        """Called at the beginning of each answer; one too many belongs to nobody."""
        if self._whole:
            raise ConnectionError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each header."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _HEAD_BYTES_MAX:
            self._fail(EngineFailed(f"{self._client.name} sends endless headers"))
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called after the headers, also of an interim answer, which says nothing."""
        status = self._parser.get_status_code()
        if status < _INFORMATIONAL:
            self._headers = []
        else:
            self.status = status
            self._headed = True

    def on_body(self, piece: bytes) -> None:
        """Called with what was in the body."""
        self._heard = True
        self._pieces.append(piece)
        self._unread_bytes += len(piece)

    def on_message_complete(self) -> None:
        """Called at the end of an answer."""
        self._whole = self._headed
        self._keep_alive = self._parser.should_keep_alive()


class HttpClient:
    """Requests to one server.

    Args:
        name: What errors call it; addresses are nobody's business.
        url: `http://` or `https://`; its path is the caller's, see `base`.

    Attributes:
        base: The path of the url.
        origin: What stands before it.
        address: Host and port that it speaks to now.
        idle: Connections kept for later calls, the one used last at the end.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.base = self.origin = ""
        self.idle: deque[Reply] = deque()
        self.aim(url)

    def aim(self, url: str) -> None:
        """Speak to another address from now on; kept connections to the old one are dropped."""
        place = urlsplit(url)
        self.base = place.path.rstrip("/")
        self.origin = f"{place.scheme}://{place.netloc}"
        self._secure = place.scheme == "https"
        self.address = (place.hostname or "", place.port or _PORTS[place.scheme])
        self._host_line = f" HTTP/1.1\r\nhost: {place.netloc}\r\n".encode("ascii")
        self.close()

    def close(self) -> None:
        """Drop the connections that nobody uses."""
        while self.idle:
            self.idle.pop().drop()

    async def send(
        self, method: str, target: str, headers: bytes, body: bytes, timeouts: Timeouts
    ) -> Reply:
        """Send a request; returns when the headers of its answer are there.

        A kept connection that the server closed just now is made up for by a new one, once.
        Cancelling closes the connection.

        Args:
            method: The HTTP method.
            target: Path and query, in ASCII.
            headers: From `header_lines`.
            body: The whole body.
            timeouts: How long it may take.

        Raises:
            EngineUnavailable: The server cannot be reached.
            EngineFailed: The connection broke.
            TimedOut: Nothing came for too long.
        """
        head = b"".join(
            (
                f"{method} {target}".encode("ascii"),
                self._host_line,
                headers,
                b"content-length: %d\r\n\r\n" % len(body),
            )
        )
        kept = self._take()
        if kept is not None:
            try:
                return await _asked(kept, head, body, timeouts)
            except _Stale:
                pass
        fresh = await self._connect(timeouts.connect_s)
        try:
            return await _asked(fresh, head, body, timeouts)
        except _Stale:
            raise EngineFailed(
                f"{self.name} closed the connection without an answer", retry_after_s=_RETRY_AFTER_S
            ) from None

    def keep(self, reply: Reply) -> None:
        """Called by a connection that may be used again."""
        now_s = reply.idle_since_s
        idle = self.idle
        idle.append(reply)
        while len(idle) > _IDLE_MAX or now_s - idle[0].idle_since_s > _IDLE_S_MAX:
            idle.popleft().drop()

    def forget(self, reply: Reply) -> None:
        """Called by a kept connection that the server closed."""
        with contextlib.suppress(ValueError):
            self.idle.remove(reply)

    def _take(self) -> Reply | None:
        """The connection used last; the others may grow old and be closed."""
        if not self.idle:
            return None
        now_s = asyncio.get_running_loop().time()
        while self.idle:
            reply = self.idle.pop()
            if now_s - reply.idle_since_s <= _IDLE_S_MAX:
                return reply
            reply.drop()
        return None

    async def _connect(self, connect_s: float) -> Reply:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_s):
                # Both asyncio and uvloop set TCP_NODELAY.
                _, reply = await loop.create_connection(
                    lambda: Reply(self, loop),
                    *self.address,
                    ssl=tls_context() if self._secure else None,
                )
        except (OSError, TimeoutError, UnicodeError) as error:  # the last: a name that is none
            raise EngineUnavailable(
                f"{self.name} cannot be reached", retry_after_s=_RETRY_AFTER_S
            ) from error
        return reply


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they stand in a request.

    Raises:
        InvalidRequest: A value would break out of its line, or is not ASCII.
    """
    if not headers:
        return b""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\r") + text.count("\n") != 2 * len(headers) or not text.isascii():
        raise InvalidRequest("a header holds characters that HTTP does not carry")
    return text.encode("ascii")


async def _asked(reply: Reply, head: bytes, body: bytes, timeouts: Timeouts) -> Reply:
    try:
        await reply.ask(head, body, timeouts)
    except BaseException:
        reply.release()
        raise
    return reply


@cache
def tls_context() -> ssl.SSLContext:
    """What checks certificates: against those of the system, or of SSL_CERT_FILE."""
    return ssl.create_default_context()
