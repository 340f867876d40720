"""A connection of the HTTP server: what uvicorn's own would be, with less work and with limits.

A client that sends nothing, or a head that never ends, would hold its connection for ever. And
what is no HTTP at all is refused as the client's dialect tells errors. `uvicorn.Server` makes
one of these for each connection, and asks it to shut down.
"""

import asyncio
import re
from typing import Any, cast
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
from starlette.types import ASGIApp, Scope
from uvicorn import Config
from uvicorn.server import ServerState

from headrace.edge.bodies import WHOLE_BODY
from headrace.edge.hang_up import HANG_UP, HangUp
from headrace.serving.dialects import dialect_of
from headrace.up.cycle import Cycle, Flow

HEAD_WAIT_S = 30.0
_HEAD_BYTES_MAX = 64 * 1024
_HEAD_LOOK_BYTES = 8 * 1024
# More of a body than this waits until somebody has read what is there.
_UNREAD_BYTES_MAX = 64 * 1024
_BAD_REQUEST = b"400 Bad Request"
_TIMEOUT = b"408 Request Timeout"
_TOO_LARGE = b"431 Request Header Fields Too Large"
_ASGI = {"version": "3.0", "spec_version": "2.3"}
# Paths without these need no parsing.
_PARTED = re.compile(rb"[?#%]")


class Connection(asyncio.Protocol):
    """A connection, which waits for a request's head no longer than `head_wait_s`.

    The same time is given to the rest of a body that was answered before its end, as when it is
    too large: closing at once would make the client lose the answer.

    Args:
        config: Tells how long a silent connection is kept.
        server_state: Where uvicorn looks for connections and tasks when it stops.
        app_state: What a lifespan would have left; there is none.
        _loop: Where it runs.
        app: Answers.
        head_wait_s: How long the head of a request may take.
    """

    # Thousands of these may be open, most of them silent.
    __slots__ = (
        "_app",
        "_client",
        "_cycle",
        "_expects_continue",
        "_flow",
        "_hang_up",
        "_head_bytes",
        "_head_wait_s",
        "_headers",
        "_idle_since_s",
        "_idle_timer",
        "_in_body",
        "_keep_alive_s",
        "_later",
        "_loop",
        "_parser",
        "_server",
        "_state",
        "_timer",
        "_transport",
        "_url",
        "_url_before",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        app: ASGIApp,
        head_wait_s: float,
    ) -> None:
        del app_state
        self._app = app
        self._keep_alive_s = config.timeout_keep_alive
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        # Enables an answer to a first request behind which others stand.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._hang_up = HangUp()
        self._cycle: Cycle | None = None
        self._later: list[
            tuple[Cycle, Scope]
        ] = []  # requests that came before the answer to another
        self._head_wait_s = head_wait_s
        self._head_bytes = 0
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since_s: float | None = None
        self._url = self._url_before = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False

    # Called by uvicorn and asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        self._transport = cast("asyncio.Transport", transport)
        self._flow = Flow(self._transport)
        self._server = transport.get_extra_info("sockname")
        self._client = transport.get_extra_info("peername")
        self._state.connections.add(cast("Any", self))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and end the work for this client."""
        self._state.connections.discard(cast("Any", self))
        self._stop_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._cycle is not None:
            self._cycle.lost()
        self._flow.resume_writing()
        if exc is None:
            self._transport.close()
        self._hang_up.now()
        del self._parser  # which holds this object

    def shutdown(self) -> None:
        """The server stops: close as soon as nothing is being answered."""
        if self._cycle is None or self._cycle.response_complete:
            self._transport.close()
        else:
            self._cycle.keep_alive = False

    def pause_writing(self) -> None:
        """The client does not take what was sent."""
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits."""
        self._idle_since_s = None
        of_body = self._in_body  # of one that was answered already, if it is not read
        if not of_body:
            data = _without_upgrade(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # the request is answered; nothing is read behind it
        except HttpParserError:
            self._refuse(_BAD_REQUEST, "Invalid HTTP request received.")
        if self._transport.is_closing():
            return
        if self._timer is None:
            if self._cycle is None or self._cycle.response_complete:
                self._start_timer()
                self._head_bytes = 0 if of_body else len(data)
        elif not of_body and not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX:
                self._refuse(_TOO_LARGE, f"the headers are larger than {_HEAD_BYTES_MAX} bytes")

    # Called by the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._url_before = b"", self._url
        self._expects_continue = False
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """Some of what is asked for."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_body = True
        self._stop_timer()
        version = self._parser.get_http_version()
        scope = self._scope(version)
        cycle = Cycle(
            scope["method"],
            self._loop,
            self._transport,
            self._flow,
            common=self._state.default_headers,
            done=self._answered,
            keep_alive=version != "1.0" and self._parser.should_keep_alive(),
            expects_continue=self._expects_continue,
        )
        scope[WHOLE_BODY] = cycle.whole_body
        before, self._cycle = self._cycle, cycle
        if before is None or before.response_complete:
            self._start(cycle, scope)
        else:
            self._flow.pause_reading()
            self._later.append((cycle, scope))

    def on_body(self, body: bytes) -> None:
        """Some of the body is there."""
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > _UNREAD_BYTES_MAX:
                self._flow.pause_reading()
            cycle.tell()

    def on_message_complete(self) -> None:
        """The body is there."""
        self._in_body = False
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.more_body = False
            cycle.tell()

    def _scope(self, version: str) -> Scope:
        raw = self._url
        query = b""
        if raw[:1] != b"/" or _PARTED.search(raw):
            parsed = parse_url(raw)
            raw, query = parsed.path, parsed.query or b""
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(raw.decode("ascii")),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            HANG_UP: self._hang_up,
        }

    def _start(self, cycle: Cycle, scope: Scope) -> None:
        tasks = self._state.tasks
        cycle.task = self._loop.create_task(cycle.run(self._app, scope, tasks))
        tasks.add(cycle.task)

    def _answered(self) -> None:
        """The next request may begin; if there is none, the connection is kept for a while."""
        self._state.total_requests += 1
        if self._transport.is_closing():
            return
        self._flow.resume_reading()
        if self._later:
            self._start(*self._later.pop(0))
            return
        self._idle_since_s = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._keep_alive_s, self._look_at_idleness)

    def _look_at_idleness(self) -> None:
        """Close the connection if nothing has come for long.

        It looks now and then; a timer for each response would cost 3 us.
        """
        self._idle_timer = None
        if self._idle_since_s is None:
            return
        left_s = self._idle_since_s + self._keep_alive_s - self._loop.time()
        if left_s > 0:
            self._idle_timer = self._loop.call_later(left_s, self._look_at_idleness)
        else:
            self._transport.close()

    def _start_timer(self) -> None:
        self._head_bytes = 0
        self._timer = self._loop.call_later(self._head_wait_s, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._transport.is_closing():
            return
        if self._head_bytes and not self._in_body:
            self._refuse(_TIMEOUT, f"the headers did not arrive within {self._head_wait_s:g} s")
        else:
            self._transport.close()

    def _refuse(self, status: bytes, message: str) -> None:
        # Before the first line of a first request nothing is known of the client.
        path = (self._url or self._url_before).decode("latin-1")
        dialect = dialect_of(path, {})
        body = dialect.error("invalid_request", message, None, "")
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n"
        )
        self._transport.write(head % (status, len(body)) + body)
        self._transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """A head that asks for no other protocol: uvicorn would lose its body, as of Java's clients."""
    at = data.find(b"pgrade:", 0, _HEAD_LOOK_BYTES)
    if at < 0 or data[at - 3 : at] not in {b"\r\nU", b"\r\nu"} or b"\r\n\r\n" in data[:at]:
        return data
    return data[:at] + b"p-rade:" + data[at + 7 :]
