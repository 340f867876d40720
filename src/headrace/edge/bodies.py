"""Reading request bodies within limits of size and time."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope

from headrace.core.errors import InvalidRequest, TooLarge, TooSlow, Unsupported

WHOLE_BODY = "headrace.whole_body"
"""Where our own server puts a function into the scope that gives the body if it has come whole."""

_BODY_WAIT_S = 60.0


class ClientGone(Exception):
    """The client hung up before its request was whole."""


async def read_body(scope: Scope, receive: Receive, *, bytes_max: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: It is longer than `bytes_max`, or says it will be.
        TooSlow: It did not arrive within a minute.
        Unsupported: It is compressed.
        ClientGone: The connection closed first.
    """
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise InvalidRequest("the Content-Length header is not a number")
            if int(value) > bytes_max:
                raise _too_large(bytes_max)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Unsupported("compressed request bodies are not taken; send it as it is")
    whole: Callable[[], bytes | None] | None = scope.get(WHOLE_BODY)
    if whole is not None and (body := whole()) is not None:  # no waiting, so no timer
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    try:
        async with asyncio.timeout(_BODY_WAIT_S):
            return await _collect(receive, bytes_max)
    except TimeoutError:
        raise TooSlow(f"the request body did not arrive within {_BODY_WAIT_S:.0f} s") from None


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the request body is larger than {bytes_max} bytes (setting body_bytes_max)")
