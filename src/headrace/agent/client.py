"""Client: messages in, events out, over our own API, as any customer has it, or over another's."""

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from headrace.agent.endpoint import Endpoint
from headrace.agent.http import Reply, exchange
from headrace.core.errors import HeadraceError, InvalidRequest, of_kind
from headrace.core.events import Event, Failed, Finished, Started
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.ledger.prices import Rates

READ_TIMEOUT_S = 600.0
"""Silence after which an answer counts as lost; a long prompt on a slow machine is silent long."""

_ASK_S_MAX = 30.0
_REPLY_BYTES_MAX = 4 * 1024 * 1024
_OK = 200
_ON_BEHALF_OF = "headrace-on-behalf-of"
_GENERATION_ID = "headrace-generation-id"
_CONVERSATION_ID = "headrace-conversation-id"


class _Decoder(Protocol):
    def feed(self, chunk: bytes) -> list[Event]: ...
    def end(self) -> list[Event]: ...


class _Receipt(msgspec.Struct):
    price_nano: int = 0
    stop: str | None = None


class _ReceiptView(msgspec.Struct):
    receipt: _Receipt


class _Version(msgspec.Struct):
    side: str
    target: str
    rates: msgspec.Raw
    current: bool = False


class _Versions(msgspec.Struct):
    prices: list[_Version]
    unpriced: list[str] = []


class _ForeignModel(msgspec.Struct):
    """A model as local servers and others list it; where they tell its window, they do so here."""

    id: str
    context_length: int | None = None
    max_model_len: int | None = None
    context_window: int | None = None
    meta: dict[str, object] | None = None

    def context_tokens(self) -> int:
        known = self.max_model_len or self.context_length or self.context_window
        trained = (self.meta or {}).get("n_ctx")
        return known or (trained if isinstance(trained, int) else 0)


class _ForeignModels(msgspec.Struct):
    data: list[_ForeignModel]


class Client:
    """Speaks with one server.

    Args:
        endpoint: Where it is, and what it speaks.
        read_timeout_s: Seconds of silence after which an answer counts as lost.
    """

    def __init__(self, endpoint: Endpoint, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._headers = endpoint.credentials()
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
        if conversation_id is not None and self.endpoint.ours:
            headers[_CONVERSATION_ID] = conversation_id
        ended = False
        try:
            async with exchange(
                "POST",
                self.endpoint.url(),
                headers=headers,
                body=self.encode(request),
                read_s_max=self._read_timeout_s,
            ) as reply:
                if reply.status != _OK:
                    yield await self._refusal(reply)
                    return
                generation_id = reply.headers.get(_GENERATION_ID)
                decoder = self._decoder()
                while chunk := await reply.read():
                    for event in decoder.feed(chunk):
                        ended = isinstance(event, Finished | Failed)
                        yield _named(event, generation_id)
                        if ended:
                            return
                for event in decoder.end():
                    yield event
        except HeadraceError as error:
            if not ended:
                retry_after_s: float | None = getattr(error, "retry_after_s", None)
                yield Failed(error.kind, error.message, retry_after_s)

    def encode(self, request: Request) -> bytes:
        """The body that asks for a streamed answer.

        Raises:
            Unsupported: The dialect cannot carry the request.
        """
        ours = self.endpoint.ours
        match self.endpoint.dialect:
            case "anthropic":
                from headrace.wire import anthropic_call  # noqa: PLC0415 - one dialect is needed

                return anthropic_call.encode_request(request, stream=True, to_headrace=ours)
            case "openai_chat":
                from headrace.wire import openai_chat_call  # noqa: PLC0415

                strict = "api.openai.com" in self.endpoint.base_url
                return openai_chat_call.encode_request(request, stream=True, extensions=not strict)
            case "openai_responses":
                from headrace.wire import openai_responses_call  # noqa: PLC0415

                return openai_responses_call.encode_request(request, stream=True)

    async def models(self) -> tuple[Model, ...]:
        """The models that this key may ask for, the default one first.

        Those of other servers than ours come without abilities, and with a window of 0 where the
        server does not tell it.

        Raises:
            HeadraceError: The server refuses, or is not there.
        """
        query = "?limit=1000" if self.endpoint.dialect == "anthropic" else ""
        body = await self._get(self.endpoint.url("/models") + query)
        if self.endpoint.dialect == "anthropic":
            from headrace.wire import anthropic_reply  # noqa: PLC0415

            return anthropic_reply.decode_models(body)
        try:
            found = msgspec.json.decode(body, type=_ForeignModels).data
        except msgspec.MsgspecError:
            raise InvalidRequest("the server's list of models cannot be read") from None
        return tuple(Model(one.id, one.id, one.context_tokens()) for one in found)

    async def cost_nano(self, generation_id: str | None) -> int | None:
        """What our own ledger charged for a call, in nano-dollars.

        None where it is not ours to see: receipts are shown to who runs the server, not to keys.
        """
        if generation_id is None or not self.endpoint.ours:
            return None
        try:
            body = await self._get(f"{self._root()}/admin/receipts/{generation_id}")
            receipt = msgspec.json.decode(body, type=_ReceiptView).receipt
        except (HeadraceError, msgspec.MsgspecError):
            return None
        return None if receipt.stop is None else receipt.price_nano

    async def rates(self, model: str) -> Rates | None:
        """What a model's tokens cost by our own ledger; None where it is not ours to see."""
        if not self.endpoint.ours:
            return None
        from headrace.ledger.rate_texts import StatedRates, read  # noqa: PLC0415 - with a budget

        try:
            body = await self._get(f"{self._root()}/admin/prices")
            versions = msgspec.json.decode(body, type=_Versions)
            if model in versions.unpriced:
                return Rates()
            for one in versions.prices:
                if one.current and one.side == "price" and one.target == model:
                    return read(msgspec.json.decode(one.rates, type=StatedRates))
        except (HeadraceError, msgspec.MsgspecError):
            return None
        return None

    async def ready(self) -> bool:
        """Whether the server, which is ours, is there and would take a call now."""
        try:
            await self._get(f"{self._root()}/readyz", {})
        except HeadraceError:
            return False
        return True

    def _root(self) -> str:
        return self.endpoint.base_url.rstrip("/").removesuffix("/v1")

    def _decoder(self) -> _Decoder:
        match self.endpoint.dialect:
            case "anthropic":
                from headrace.wire import anthropic_reply  # noqa: PLC0415 - one dialect is needed

                return anthropic_reply.StreamDecoder()
            case "openai_chat":
                from headrace.wire import openai_chat_reply  # noqa: PLC0415

                return openai_chat_reply.StreamDecoder()
            case "openai_responses":
                from headrace.wire import openai_responses_reply  # noqa: PLC0415

                return openai_responses_reply.StreamDecoder()

    async def _get(self, url: str, headers: dict[str, str] | None = None) -> bytes:
        headers = self._headers if headers is None else headers
        async with exchange("GET", url, headers=headers, read_s_max=_ASK_S_MAX) as reply:
            if reply.status == _OK:
                return await _whole(reply)
            failed = await self._refusal(reply)
        raise of_kind(failed.kind, failed.message, retry_after_s=failed.retry_after_s)

    async def _refusal(self, reply: Reply) -> Failed:
        """What an answer with an error status says."""
        from headrace.wire import anthropic_reply, openai_errors  # noqa: PLC0415 - with a failure

        read = anthropic_reply if self.endpoint.dialect == "anthropic" else openai_errors
        failed = read.decode_error(reply.status, await _whole(reply))
        retry_after = reply.headers.get("retry-after", "")
        if not retry_after.isdecimal():
            return failed
        return msgspec.structs.replace(failed, retry_after_s=float(retry_after))


def _named(event: Event, generation_id: str | None) -> Event:
    if isinstance(event, Started):
        return msgspec.structs.replace(event, generation_id=generation_id)
    return event


async def _whole(reply: Reply) -> bytes:
    """The body, cut off where it is longer than any reply of ours."""
    pieces: list[bytes] = []
    size = 0
    while size < _REPLY_BYTES_MAX and (piece := await reply.read()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
