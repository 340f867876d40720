"""One HTTP request on a connection of its own, which closes the moment nobody listens.

Closing is how a model call is cancelled, also while the model still reads the prompt and no
header has come. HTTP libraries that pool connections let such a request run on to its end.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from headrace.core.errors import EngineFailed, EngineUnavailable, InvalidRequest, TimedOut

_CONNECT_S_MAX = 10.0
_READ_BYTES = 65_536
_HEAD_BYTES_MAX = 65_536
_PORTS = {"http": 80, "https": 443}


class Reply:
    """What comes back: status and headers, then the body in pieces."""

    def __init__(self, reader: asyncio.StreamReader, read_s_max: float) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._reader = reader
        self._read_s_max = read_s_max
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._headed = False
        self._whole = False

    async def head(self) -> None:
        """Wait for the status and the headers."""
        size = 0
        while not self._headed:
            size += await self._feed()
            if size > _HEAD_BYTES_MAX:
                raise EngineFailed("the server sends endless headers")
        self.status = self._parser.get_status_code()

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end.

        Raises:
            EngineFailed: The connection broke before the end.
            TimedOut: Nothing came for too long.
        """
        while not self._pieces and not self._whole:
            await self._feed()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    async def _feed(self) -> int:
        try:
            async with asyncio.timeout(self._read_s_max):
                data = await self._reader.read(_READ_BYTES)
        except TimeoutError:
            raise TimedOut("the server was silent for too long") from None
        except OSError:
            data = b""
        if not data:
            raise EngineFailed("the connection broke before the answer was whole")
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            raise EngineFailed("the server does not speak HTTP") from None
        return len(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._headed = True

    def on_body(self, piece: bytes) -> None:
        """Called by the parser."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole = True


@asynccontextmanager
async def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    read_s_max: float,
) -> AsyncGenerator[Reply]:
    """Send a request; the connection is dropped when the context ends, however it ends.

    Args:
        method: The HTTP method.
        url: `http://` or `https://`, with a path.
        headers: Further headers.
        body: The whole body.
        read_s_max: Silence in seconds after which the answer counts as lost.

    Raises:
        EngineUnavailable: The server cannot be reached.
        EngineFailed: The connection broke.
        TimedOut: Nothing came for too long.
        InvalidRequest: The URL or a header is malformed.
    """
    try:
        place = urlsplit(url)
        port = place.port or _PORTS[place.scheme]
    except (ValueError, KeyError):  # brackets, a port or a scheme that there cannot be
        raise InvalidRequest(f"not an address of a server: {url}") from None
    if not place.hostname:
        raise InvalidRequest(f"not an address of a server: {url}")
    host = place.netloc.rpartition("@")[2]
    given = {"host": host, "content-length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name}: {_line(value)}\r\n" for name, value in given.items())
    target = _line(place.path + (f"?{place.query}" if place.query else ""))
    secure = ssl.create_default_context() if place.scheme == "https" else None
    try:
        async with asyncio.timeout(_CONNECT_S_MAX):
            reader, writer = await asyncio.open_connection(place.hostname, port, ssl=secure)
    except UnicodeError:  # a name that no server can have
        raise InvalidRequest(f"not an address of a server: {url}") from None
    except (OSError, TimeoutError):
        raise EngineUnavailable(
            "the server cannot be reached; it may be starting or stopping"
        ) from None
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        reply = Reply(reader, read_s_max)
        await reply.head()
        yield reply
    finally:
        writer.transport.abort()


def _line(value: str) -> str:
    """Pass on a header's value.

    Raises:
        InvalidRequest: It would break out of its line, or is not Latin-1.
    """
    if not value.isprintable() or not value.isascii():
        raise InvalidRequest("a key or header holds characters that HTTP does not carry")
    return value
