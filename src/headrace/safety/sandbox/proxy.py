"""Proxy: the one way out of a sandbox, for HTTP and HTTPS to hosts on a list.

It reads a host's name once, by one strict grammar, resolves it once, and connects to the very
address that it judged. What it cannot read it refuses.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from headrace.core.errors import ConfigError
from headrace.net.addresses import is_public

_HEAD_BYTES_MAX = 16_384
_HEAD_WAIT_S = 10
_CONNECT_WAIT_S = 10
_CONNECTIONS_MAX = 64
_READ_BYTES = 1 << 16
_PORTS = (80, 443)
_DENIED_KEPT = 100
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.ASCII)
_CONNECT = re.compile(rb"CONNECT ([!-~]+) HTTP/1\.[01]")
_PLAIN = re.compile(rb"([A-Z]{3,20}) http://([^/?#\s]+)([!-~]*) HTTP/1\.[01]")
_AUTHORITY = re.compile(r"([a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_HOP = re.compile(rb"(?i)^(?:host|connection|keep-alive|proxy-[a-z-]+|upgrade)\s*:")
_PORT_MAX = 65_535

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Target(NamedTuple):
    """Where a request wants to go: a host in lower case without a dot at its end."""

    host: str
    port: int


class Refused(Exception):
    """No connection is made; `status` is the answer's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class AllowList:
    """Hosts that may be reached: `example.org`, `*.example.org`, each with `:PORT` if need be.

    Raises:
        ConfigError: An entry is not of this form.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = [_entry(each) for each in entries]

    def allows(self, target: Target) -> bool:
        """Whether a target is on the list; a star stands for one label or more."""
        return any(
            target.port in ports
            and (target.host.endswith(f".{host}") if is_star else target.host == host)
            for host, is_star, ports in self._entries
        )


class Proxy:
    """Listens on a unix socket. Hosts that it refused are in `denied`.

    Args:
        hosts: Who may be reached.
        resolve: Finds a host's addresses; None: the system's resolver.
    """

    def __init__(self, hosts: Sequence[str], *, resolve: Resolve | None = None) -> None:
        self._list = AllowList(hosts)
        self._resolve = resolve or _resolve
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.denied: list[str] = []
        self.bytes_out = 0
        self.bytes_in = 0

    async def start(self, path: Path) -> None:
        """Listen on a socket at `path`."""
        self._server = await asyncio.start_unix_server(
            self._accept, path, limit=_HEAD_BYTES_MAX, backlog=_CONNECTIONS_MAX
        )

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed connections let go of their descriptors in the next turn

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await _head(reader)
            target, first = parse(head)
            address = await self._judge(target)
            far_reader, far_writer = await _connect(address, target.port)
        except Refused as refusal:
            writer.write(_refusal(refusal))
            await writer.drain()
            return
        try:
            if first is None:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far_writer.write(first)
                self.bytes_out += len(first)
            await asyncio.gather(
                self._pump(reader, far_writer, is_out=True),
                self._pump(far_reader, writer, is_out=False),
            )
        finally:
            far_writer.close()

    async def _judge(self, target: Target) -> str:
        """The address to connect to, after the name and every address passed."""
        if not self._list.allows(target):
            if len(self.denied) < _DENIED_KEPT:
                self.denied.append(f"{target.host}:{target.port}")
            raise Refused(403, f"{target.host}:{target.port} is not on the list of allowed hosts")
        try:
            found = await asyncio.wait_for(self._resolve(target.host, target.port), _CONNECT_WAIT_S)
        except (OSError, UnicodeError, TimeoutError):
            raise Refused(502, f"{target.host} has no address") from None
        if not found:
            raise Refused(502, f"{target.host} has no address")
        for address in found:
            if not is_public(address):
                raise Refused(403, f"{target.host} has the address {address}, which is not public")
        return found[0]

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_out: bool
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            if is_out:
                self.bytes_out += len(data)
            else:
                self.bytes_in += len(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def parse(head: bytes) -> tuple[Target, bytes | None]:
    """Read a request's head.

    Returns:
        The target, and the head to send there; None where the client itself speaks to it.

    Raises:
        Refused: It is no request that can be passed on.
    """
    line, _, rest = head.partition(b"\r\n")
    found = _CONNECT.fullmatch(line)
    if found is not None:
        return _target(found[1].decode("ascii", "replace"), None), None
    found = _PLAIN.fullmatch(line)
    if found is None:
        raise Refused(400, "this is no request for a proxy of HTTP")
    authority = found[2].decode("ascii", "replace")
    target = _target(authority, _PORTS[0])
    path = found[3] if found[3].startswith(b"/") else b"/" + found[3]
    kept = [each for each in rest.split(b"\r\n") if each and not _HOP.match(each)]
    if any(each[:1] in b" \t" or b"\n" in each or b"\r" in each for each in kept):
        raise Refused(400, "a header line is folded or broken")
    lines = [
        found[1] + b" " + path + b" HTTP/1.1",
        b"Host: " + authority.encode(),
        b"Connection: close",
        *kept,
    ]
    return target, b"\r\n".join(lines) + b"\r\n\r\n"


def _entry(text: str) -> tuple[str, bool, tuple[int, ...]]:
    is_star = text.startswith("*.")
    try:
        target = _target(text.removeprefix("*."), 0)
    except Refused as refusal:
        raise ConfigError(
            f"{text!r} is no host that can be allowed: {refusal.why}",
            hint="write example.org, *.example.org or example.org:8443",
        ) from None
    return target.host, is_star, (target.port,) if target.port else _PORTS


def _target(text: str, port: int | None) -> Target:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise Refused(400, "the host is not written in plain ASCII letters")
    host = found[1].lower()
    if _HOST.fullmatch(host) is None:
        raise Refused(400, "the host's name is malformed")
    host = host.removesuffix(".")
    if _NUMERIC.fullmatch(host.rpartition(".")[2]):
        raise Refused(403, "hosts are allowed by name, not by address")
    if found[2]:
        port = int(found[2])
    if port is None or not 0 <= port <= _PORT_MAX or (found[2] and port == 0):
        raise Refused(400, "the port is missing or malformed")
    return Target(host, port)


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_WAIT_S)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        raise Refused(400, "the request's head is too long or not whole") from None
    return head.removesuffix(b"\r\n\r\n")


async def _resolve(host: str, port: int) -> list[str]:
    import socket  # noqa: PLC0415 - only where the network is on

    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


async def _connect(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.wait_for(asyncio.open_connection(address, port), _CONNECT_WAIT_S)
    except (OSError, TimeoutError):
        raise Refused(502, f"{address} does not answer on port {port}") from None


def _refusal(refusal: Refused) -> bytes:
    body = f"headrace: {refusal.why}\n".encode()
    return (
        f"HTTP/1.1 {refusal.status} Refused\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body
