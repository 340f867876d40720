"""Drives an ASGI app in-process, byte for byte, without a client library in between."""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.types import ASGIApp, Message

Header = tuple[str, str]


class Reply(msgspec.Struct):
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    def json(self):  # pyright: ignore[reportUnknownParameterType] - whatever was sent
        return msgspec.json.decode(self.body)


async def request(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    headers: Sequence[Header] = (),
    body: bytes = b"",
    chunk_bytes: int = 65_536,
) -> Reply:
    """Send one request with the body in chunks, and collect the reply."""
    given = [("host", "localhost:4747"), *headers]
    if any(name == "host" for name, _ in headers):
        given = list(headers)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 4747),
        "state": {},
    }
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)] or [b""]
    pending = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
        for at, chunk in enumerate(chunks)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        if pending:
            return pending.pop(0)
        # The client waits for its answer; it does not hang up.

        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    return Reply(
        start["status"],
        {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
        tuple(
            value.decode("latin-1")
            for name, value in start["headers"]
            if name.lower() == b"set-cookie"
        ),
    )
