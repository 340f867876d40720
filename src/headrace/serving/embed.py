"""The endpoint that makes vectors of texts."""

from headrace.identity.keys import Caller
from headrace.serving.dialects import Headers
from headrace.serving.endpoint import Endpoint, Exchange
from headrace.wire import openai_embeddings

_EMBEDDINGS = "openai_embeddings"


class Embed(Endpoint[openai_embeddings.Decoded]):
    """The endpoint that makes vectors of texts; its errors are those of `dialect`."""

    def decode(self, body: bytes, headers: Headers, query: str) -> openai_embeddings.Decoded:
        """Read the request."""
        del headers, query  # the dialect has no versions
        return openai_embeddings.decode_request(body, depth_max=self.settings.json_depth_max)

    async def answer(
        self, exchange: Exchange, caller: Caller, asked: openai_embeddings.Decoded
    ) -> None:
        """Run the call and send its vectors."""
        with self.gateway.admit(
            caller, asked.model, ability="embeddings", dialect=_EMBEDDINGS
        ) as call:
            exchange.call, exchange.generation_id = call, call.id
            call.once = exchange.once
            vectors = await self.gateway.embed(call, asked.texts, asked.dimensions)
            exchange.price_nano = call.price_nano
            body = openai_embeddings.encode_reply(
                vectors,
                model=asked.model,
                encoding=asked.encoding,
                input_tokens=call.usage.input,
            )
            await self.whole(exchange, body)
