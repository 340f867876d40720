"""One request of a connection and its response: the ASGI side of our HTTP server.

uvicorn's own class writes a response's head and body apart, a system call each, looks at every
header with two regular expressions, and makes an event, which is 0.9 KB, for every request.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

_BODILESS = frozenset((204, 304))
_BROKEN = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error"
)
_log = logging.getLogger(__name__)


class Flow:
    """Holds up who writes faster than the client reads, and a client that sends too fast.

    Args:
        transport: Of the connection.
    """

    __slots__ = ("_reading_paused", "_transport", "_writable", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write_paused = False
        self._transport = transport
        self._reading_paused = False
        self._writable: asyncio.Event | None = None  # made when somebody has to wait

    def pause_reading(self) -> None:
        """Take no more for now."""
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on taking."""
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not take what was sent."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """It does again, or never will."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until the client takes more."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()


class Cycle:
    """One request and its response.

    Args:
        method: Of the request.
        loop: Where it runs.
        transport: Where the response goes.
        flow: Holds up whoever writes or sends too fast.
        common: Headers that every response gets.
        done: Called when the response is whole.
        keep_alive: Whether the client wants to go on with this connection.
        expects_continue: Whether it waits to be asked for the body.
    """

    # Thousands of streams are one of these each.
    __slots__ = (
        "_bodiless",
        "_chunked",
        "_common",
        "_done",
        "_event",
        "_expects_continue",
        "_flow",
        "_head",
        "_left_bytes",
        "_loop",
        "_news",
        "_started",
        "_transport",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "task",
    )

    def __init__(
        self,
        method: str,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        flow: Flow,
        *,
        common: Iterable[tuple[bytes, bytes]],
        done: Callable[[], None],
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.disconnected = self.response_complete = False
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.task: asyncio.Task[None] | None = None
        self._bodiless = method == "HEAD"
        self._loop = loop
        self._transport = transport
        self._flow = flow
        self._common = common
        self._done = done
        self._expects_continue = expects_continue
        # Whether something has come that nobody was told, and what wakes whoever waits for it.
        self._news = False
        self._event: asyncio.Event | None = None
        self._started = self._chunked = False
        self._head = b""
        self._left_bytes = 0

    async def run(self, app: ASGIApp, scope: Scope, tasks: set[asyncio.Task[None]]) -> None:
        """Let `app` answer; then `tasks` holds this task no longer."""
        whole = False
        try:
            await app(scope, self.receive, self.send)
            whole = self.response_complete or self.disconnected
            if not whole:
                _log.error("no whole response to %s", scope["path"])
        except Exception:  # noqa: BLE001 - the last resort
            _log.exception("unexpected error in %s", scope["path"])
        finally:
            if not whole and not self._transport.is_closing():
                if not self._started:
                    self._transport.write(_BROKEN)
                self._transport.close()
            if self.task is not None:
                tasks.discard(self.task)
            self.task, self._done = None, _nothing  # no cycles are left to the collector

    def lost(self) -> None:
        """The connection has ended."""
        if not self.response_complete:
            self.disconnected = True
        self.tell()

    def tell(self) -> None:
        """Something has come of the body, or nothing more will."""
        self._news = True
        if self._event is not None:
            self._event.set()

    def whole_body(self) -> bytes | None:
        """The body, if it has come whole and nobody has read of it, else None."""
        if self.more_body or not self._news or self.disconnected:
            return None
        self._news = False
        body, self.body = self.body, b""
        return body

    async def receive(self) -> Message:
        """The ASGI way to read the body and to hear of the client's end."""
        if self._expects_continue and not self._transport.is_closing():
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            if not self._news:
                self._event = self._event or asyncio.Event()
                self._event.clear()
                await self._event.wait()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """The ASGI way to respond.

        Raises:
            RuntimeError: This is no response.
        """
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if not self._started:
            self._start(message)
        elif message["type"] == "http.response.body" and not self.response_complete:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} at the wrong time")

    def _start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"{message['type']} before the response has begun")
        self._started = True
        self._expects_continue = False
        status: int = message["status"]
        headers: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
        parts = [STATUS_LINE[status]]
        for name, value in (*self._common, *headers):
            parts += (name, b": ", value, b"\r\n")
        lines = len(parts) // 4
        lines += self._frame(status, dict(headers), parts)
        parts.append(b"\r\n")
        head = b"".join(parts)
        # A value that breaks out of its line would begin a response of its own.
        if head.count(b"\n") != lines + 2 or head.count(b"\r") != lines + 2 or b"\0" in head:
            raise RuntimeError("a header holds characters that HTTP does not carry")
        # What the app sends of the body before it waits for anything goes out in the same write,
        # which saves 15 us.
        self._head = head
        if not self._left_bytes:
            self._loop.call_soon(self._send_head)

    def _frame(self, status: int, named: dict[bytes, bytes], parts: list[bytes]) -> int:
        """Decide how the end of the body will be known; adds so many lines."""
        added = 0
        if b"connection" in named:
            tokens = named[b"connection"].lower().split(b",")
            self.keep_alive &= b"close" not in map(bytes.strip, tokens)
        if not self.keep_alive and b"close" not in named.get(b"connection", b""):
            parts.append(b"connection: close\r\n")
            added += 1
        length = named.get(b"content-length")
        if length is not None:
            self._left_bytes = int(length)
        elif not self._bodiless and status not in _BODILESS:
            self._chunked = True
            if b"transfer-encoding" not in named:
                parts.append(b"transfer-encoding: chunked\r\n")
                added += 1
        return added

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            data, self._left_bytes = b"", 0
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += b"0\r\n\r\n"
        else:
            data = body
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (self._left_bytes and not more):
                raise RuntimeError("the body is not as long as content-length says")
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._transport.write(data)
        if not more:
            self.response_complete = True
            self.tell()
            if not self.keep_alive:
                self._transport.close()
            self._done()


def _nothing() -> None:
    """Nobody waits for the end any more."""
