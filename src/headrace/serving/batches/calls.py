"""Calls of batches: each line takes the road of any call, behind everybody who waits for one."""

import contextlib

import msgspec

from headrace.config.settings import Settings
from headrace.core.batches import Batch, Done, Line
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, InvalidRequest, Unsupported, of_kind
from headrace.core.events import Event, Failed
from headrace.core.ids import new_id
from headrace.core.models import Usage
from headrace.identity.keys import Caller
from headrace.ledger.charge import Once
from headrace.serving.ask import Ask
from headrace.serving.dialects import (
    AnthropicMessages,
    Dialect,
    Envelope,
    OpenAIChat,
    OpenAIResponses,
)
from headrace.serving.engine import Passed
from headrace.serving.gateway import Gateway
from headrace.serving.generate import read_ask
from headrace.wire import anthropic_batches, openai_batches, openai_embeddings

EMBEDDINGS = "openai_embeddings"
DIALECTS = {
    "/v1/chat/completions": OpenAIChat.name,
    "/v1/responses": OpenAIResponses.name,
    "/v1/embeddings": EMBEDDINGS,
    anthropic_batches.ENDPOINT: AnthropicMessages.name,
}
"""The dialect of each endpoint that batches may call."""

_NS_PER_S = 1_000_000_000


class _Answer(msgspec.Struct, frozen=True):
    body: bytes
    usage: Usage
    generation_id: str


class Calls:
    """Runs lines and spells how they ended.

    Args:
        gateway: The one road.
        settings: Limits.
        clock: The house's clock.
    """

    def __init__(self, gateway: Gateway, settings: Settings, clock: Clock) -> None:
        self._gateway = gateway
        self._depth_max = settings.json_depth_max
        self._clock = clock
        chat = OpenAIChat()
        self._dialects: dict[str, Dialect] = {
            OpenAIChat.name: chat,
            OpenAIResponses.name: OpenAIResponses(clock),
            EMBEDDINGS: chat,
            AnthropicMessages.name: AnthropicMessages(),
        }

    async def run(self, caller: Caller, batch: Batch, line: Line, once: Once) -> Done:
        """Make one call; a cancel stops its engine.

        Args:
            caller: Whose it is.
            batch: What the line belongs to.
            line: What is asked.
            once: The work of the line, which is charged once however often it is run.

        Raises:
            HeadraceError: It was refused or failed.
        """
        caller = msgspec.structs.replace(caller, purpose="batch")
        request_id = f"req_{new_id(self._clock)}"
        if batch.dialect == EMBEDDINGS:
            answer = await self._embed(caller, line, once)
        else:
            ask = self._ask(batch, line)
            ask.once = once
            answer = await self._generate(caller, ask, self._dialects[batch.dialect], request_id)
        if batch.dialect == AnthropicMessages.name:
            result = anthropic_batches.encode_answer(line, succeeded=True, body=answer.body)
        else:
            result = openai_batches.encode_answer(
                batch.id, line, status_code=200, request_id=request_id, body=answer.body
            )
        return Done(line.number, "succeeded", result, answer.usage, answer.generation_id)

    def refused(self, batch: Batch, line: Line, error: HeadraceError) -> Done:
        """How a line ends that the error ended."""
        dialect, request_id = self._dialects[batch.dialect], f"req_{new_id(self._clock)}"
        status_code = dialect.status(error.kind)
        param = error.param if isinstance(error, InvalidRequest) else None
        message = error.message if error.hint is None else f"{error.message} ({error.hint})"
        body = dialect.error(error.kind, message, param, request_id)
        if error.upstream is not None and error.upstream.dialect == dialect.name:
            # What stands before an upstream may answer with a page of its own.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                status_code, body = error.upstream.status, _one_line(error.upstream.body)
        if batch.dialect == AnthropicMessages.name:
            result = anthropic_batches.encode_answer(line, succeeded=False, body=body)
        else:
            result = openai_batches.encode_answer(
                batch.id, line, status_code=status_code, request_id=request_id, body=body
            )
        return Done(line.number, "errored", result)

    def _ask(self, batch: Batch, line: Line) -> Ask:
        dialect = self._dialects[batch.dialect]
        body = line.body.encode()
        ask = read_ask(self._gateway, dialect, body, batch.headers, "", depth_max=self._depth_max)
        if ask.stream:
            raise Unsupported("stream: Batches are not streamed", param="stream")
        return ask

    async def _generate(
        self, caller: Caller, ask: Ask, dialect: Dialect, request_id: str
    ) -> _Answer:
        events: list[Event] = []
        passed: list[bytes] = []
        async with self._gateway.generate(caller, ask, priority="batch") as generation:
            async for item in generation.items:
                if isinstance(item, Passed):
                    passed.append(item.data)
                else:
                    events.append(item)
            usage = generation.call.usage
        if passed:
            return _Answer(_one_line(b"".join(passed)), usage, generation.id)
        last = events[-1]
        if isinstance(last, Failed):
            raise of_kind(last.kind, last.message, retry_after_s=last.retry_after_s)
        created_s = self._clock.now_ns() // _NS_PER_S
        envelope = Envelope(ask.asked, generation.id, created_s, request_id)
        return _Answer(dialect.reply(envelope, events), usage, generation.id)

    async def _embed(self, caller: Caller, line: Line, once: Once) -> _Answer:
        asked = openai_embeddings.decode_request(line.body.encode(), depth_max=self._depth_max)
        with self._gateway.admit(
            caller, asked.model, ability="embeddings", dialect=EMBEDDINGS
        ) as call:
            call.once = once
            vectors = await self._gateway.embed(
                call, asked.texts, asked.dimensions, priority="batch"
            )
            body = openai_embeddings.encode_reply(
                vectors,
                model=asked.model,
                encoding=asked.encoding,
                input_tokens=call.usage.input,
            )
            return _Answer(body, call.usage, call.id)


def _one_line(body: bytes) -> bytes:
    """JSON without line breaks, as the lines of a file must be."""
    return msgspec.json.format(body, indent=-1)
