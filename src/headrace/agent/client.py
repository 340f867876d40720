"""Client: messages in, events out, over our own API, as any customer has it."""

from collections.abc import AsyncGenerator

import msgspec

from headrace.agent.http import Reply, exchange
from headrace.core.errors import HeadraceError, of_kind
from headrace.core.events import Event, Failed, Finished, Started
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.wire import anthropic

READ_TIMEOUT_S = 600.0
"""Silence after which an answer counts as lost; a long prompt on a slow machine is silent long."""

_ASK_S_MAX = 30.0
_REPLY_BYTES_MAX = 4 * 1024 * 1024
_OK = 200
_ON_BEHALF_OF = "headrace-on-behalf-of"
_GENERATION_ID = "headrace-generation-id"
_CONVERSATION_ID = "headrace-conversation-id"


class Client:
    """Speaks the Messages dialect with one server.

    Args:
        base_url: Where the API is, without a path: `http://127.0.0.1:4747`.
        key: An API key, or the credential of the run file.
        read_timeout_s: Seconds of silence after which an answer counts as lost.
    """

    def __init__(self, base_url: str, key: str, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "anthropic-version": anthropic.VERSION}
        self._read_timeout_s = read_timeout_s

    async def stream(
        self,
        request: Request,
        *,
        on_behalf_of: str | None = None,
        conversation_id: str | None = None,
    ) -> AsyncGenerator[Event]:
        """One model call. The last event is Finished or Failed; nothing is raised.

        Closing the generator drops the connection at once, which cancels the call.

        Args:
            request: What to ask.
            on_behalf_of: The signed header by which a service acts for a person.
            conversation_id: The conversation that its receipt is to name.
        """
        headers = self._headers | {"content-type": "application/json"}
        if on_behalf_of is not None:
            headers[_ON_BEHALF_OF] = on_behalf_of
        if conversation_id is not None:
            headers[_CONVERSATION_ID] = conversation_id
        ended = False
        try:
            body = anthropic.encode_request(request, stream=True, to_headrace=True)
            async with exchange(
                "POST",
                f"{self._base_url}/v1/messages",
                headers=headers,
                body=body,
                read_s_max=self._read_timeout_s,
            ) as reply:
                if reply.status != _OK:
                    yield await _refusal(reply)
                    return
                generation_id = reply.headers.get(_GENERATION_ID)
                decoder = anthropic.StreamDecoder()
                while chunk := await reply.read():
                    for event in decoder.feed(chunk):
                        ended = isinstance(event, Finished | Failed)
                        yield _named(event, generation_id)
                for event in decoder.end():
                    yield event
        except HeadraceError as error:
            if not ended:
                retry_after_s: float | None = getattr(error, "retry_after_s", None)
                yield Failed(error.kind, error.message, retry_after_s)

    async def models(self) -> tuple[Model, ...]:
        """The models that this key may ask for, the default one first.

        Raises:
            HeadraceError: The server refuses, or is not there.
        """
        url = f"{self._base_url}/v1/models?limit=1000"
        async with exchange("GET", url, headers=self._headers, read_s_max=_ASK_S_MAX) as reply:
            if reply.status == _OK:
                return anthropic.decode_models(await _whole(reply))
            failed = await _refusal(reply)
        raise of_kind(failed.kind, failed.message, retry_after_s=failed.retry_after_s)

    async def ready(self) -> bool:
        """Whether the server is there and would take a call now."""
        url = f"{self._base_url}/readyz"
        try:
            async with exchange("GET", url, headers={}, read_s_max=_ASK_S_MAX) as reply:
                return reply.status == _OK
        except HeadraceError:
            return False


def _named(event: Event, generation_id: str | None) -> Event:
    if isinstance(event, Started):
        return msgspec.structs.replace(event, generation_id=generation_id)
    return event


async def _refusal(reply: Reply) -> Failed:
    """What an answer with an error status says."""
    failed = anthropic.decode_error(reply.status, await _whole(reply))
    retry_after = reply.headers.get("retry-after", "")
    if not retry_after.isdecimal():
        return failed
    return msgspec.structs.replace(failed, retry_after_s=float(retry_after))


async def _whole(reply: Reply) -> bytes:
    """The body, cut off where it is longer than any reply of ours."""
    pieces: list[bytes] = []
    size = 0
    while size < _REPLY_BYTES_MAX and (piece := await reply.read()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
