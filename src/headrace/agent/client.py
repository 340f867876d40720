"""Client: messages in, events out, over our own API, as any customer has it."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client as HttpClient
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from headrace.core.errors import EngineUnavailable, HeadraceError, TimedOut, of_kind
from headrace.core.events import Event, Failed, Started
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.wire import anthropic

READ_TIMEOUT_S = 600.0
"""Silence after which an answer counts as lost; a long prompt on a slow machine is silent long."""

_CONNECT_TIMEOUT_S = 10.0
# A pooled connection must be given up by us first: a request on one that the server is closing
# would fail. Servers keep idle ones for 5 s at least.
_POOL_IDLE_S = 3.0
_REPLY_BYTES_MAX = 4 * 1024 * 1024
_OK = 200
_ON_BEHALF_OF = "headrace-on-behalf-of"
_GENERATION_ID = "headrace-generation-id"


class Client:
    """Speaks the Messages dialect with one server. Close it, or use it as a context.

    Args:
        base_url: Where the API is, without a path: `http://127.0.0.1:4747`.
        key: An API key, or the credential of the run file.
        read_timeout_s: Seconds of silence after which an answer counts as lost.
    """

    def __init__(self, base_url: str, key: str, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        builder = (
            ClientBuilder()
            .base_url(f"{base_url.rstrip('/')}/")
            .default_headers(
                {"authorization": f"Bearer {key}", "anthropic-version": anthropic.VERSION}
            )
            .follow_redirects(enable=False)
            .tcp_nodelay(enabled=True)
            .connect_timeout(timedelta(seconds=_CONNECT_TIMEOUT_S))
            .read_timeout(timedelta(seconds=read_timeout_s))
            .pool_idle_timeout(timedelta(seconds=_POOL_IDLE_S))
        )
        if _is_loopback(base_url):
            builder = builder.no_proxy()
        self._http: HttpClient = builder.build()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop all connections."""
        await self._http.close()

    async def stream(
        self, request: Request, *, on_behalf_of: str | None = None
    ) -> AsyncGenerator[Event]:
        """One model call. The last event is Finished or Failed; nothing is raised.

        Closing the generator drops the connection at once, which cancels the call.

        Args:
            request: What to ask.
            on_behalf_of: The signed header by which a service acts for a person.
        """
        try:
            body = anthropic.encode_request(request, stream=True)
            builder = _unbuffered(self._http.post("v1/messages").body_bytes(body))
            builder = builder.header("content-type", "application/json")
            if on_behalf_of is not None:
                builder = builder.header(_ON_BEHALF_OF, on_behalf_of, is_sensitive=True)
            async with builder.build_streamed() as response:
                if response.status != _OK:
                    yield await _refusal(response)
                    return
                generation_id = response.get_header(_GENERATION_ID)
                decoder = anthropic.StreamDecoder()
                while chunk := await response.body_reader.read_chunk():
                    for event in decoder.feed(bytes(chunk)):
                        yield _named(event, generation_id)
                for event in decoder.end():
                    yield event
        except PyreqwestError as error:
            yield _failed(_explain(error))
        except HeadraceError as error:
            yield _failed(error)

    async def models(self) -> tuple[Model, ...]:
        """The models that this key may ask for, the default one first.

        Raises:
            HeadraceError: The server refuses, or is not there.
        """
        try:
            builder = _unbuffered(self._http.get("v1/models").query({"limit": "1000"}))
            async with builder.build_streamed() as response:
                if response.status == _OK:
                    return anthropic.decode_models(await _whole(response))
                failed = await _refusal(response)
        except PyreqwestError as error:
            raise _explain(error) from error
        raise of_kind(failed.kind, failed.message, retry_after_s=failed.retry_after_s)

    async def ready(self) -> bool:
        """Whether the server is there and would take a call now."""
        try:
            async with _unbuffered(self._http.get("readyz")).build_streamed() as response:
                return response.status == _OK
        except PyreqwestError:
            return False


def _named(event: Event, generation_id: str | None) -> Event:
    if isinstance(event, Started):
        return msgspec.structs.replace(event, generation_id=generation_id)
    return event


async def _refusal(response: Response) -> Failed:
    """What an answer with an error status says."""
    failed = anthropic.decode_error(response.status, await _whole(response))
    retry_after = response.get_header("retry-after") or ""
    if not retry_after.isdecimal():
        return failed
    return msgspec.structs.replace(failed, retry_after_s=float(retry_after))


async def _whole(response: Response) -> bytes:
    """The body, cut off where it is longer than any reply of ours."""
    chunks: list[bytes] = []
    size = 0
    while size < _REPLY_BYTES_MAX and (chunk := await response.body_reader.read_chunk()):
        chunks.append(bytes(chunk))
        size += len(chunk)
    return b"".join(chunks)


def _unbuffered(builder: RequestBuilder) -> RequestBuilder:
    # By default the library fills a buffer of 64 KiB before it hands out the response.
    return builder.streamed_read_buffer_limit(0)


def _failed(error: HeadraceError) -> Failed:
    retry_after_s: float | None = getattr(error, "retry_after_s", None)
    return Failed(error.kind, error.message, retry_after_s)


def _explain(error: PyreqwestError) -> HeadraceError:
    """An error of the connection in the words of the tree."""
    if isinstance(error, ConnectError):
        return EngineUnavailable("the server cannot be reached; it may be starting or stopping")
    if isinstance(error, RequestTimeoutError):
        return TimedOut("the server was silent for too long")
    return of_kind("engine_failed", "the connection broke before the answer was whole")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
