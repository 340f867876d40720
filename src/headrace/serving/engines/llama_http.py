"""HTTP with the llama.cpp child: JSON in and out, and streamed completions."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from headrace.core.errors import (
    ContextTooLong,
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    TimedOut,
)
from headrace.net.http_client import HttpClient, Reply, Timeouts, header_lines

_CONNECT_S = 10.0
_SHORT = Timeouts(_CONNECT_S, 300.0, 300.0, 300.0)
# An answer takes as long as it takes: a child that hangs is found by its health.
_LONG = Timeouts(_CONNECT_S, 86_400.0, 86_400.0, 7 * 86_400.0)
_ANSWER_BYTES_MAX = 256 << 20
_RETRY_AFTER_S = 1.0
_OK = 200
_CALLER_ERRORS = range(400, 500)

T = TypeVar("T")


class EngineRefused(EngineFailed):
    """The child lives and answers, and this it cannot do; `reason` is its own."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the engine failed: {reason}", retry_after_s=_RETRY_AFTER_S)
        self.reason = reason


class Timings(msgspec.Struct, frozen=True):
    """What llama.cpp measured; `prompt_n` excludes the `cache_n` tokens found in the cache."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Progress(msgspec.Struct, frozen=True):
    """How far the prompt is; `cache` of its `total` tokens were in the cache."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Probability(msgspec.Struct, frozen=True):
    """One token and its log probability."""

    token: str = ""
    bytes: tuple[int, ...] = ()
    logprob: float | None = None
    top_logprobs: tuple["Probability", ...] = ()


class Chunk(msgspec.Struct, frozen=True):
    """One event of a streamed completion.

    `cache_written` and `cache_written_long` are not llama.cpp's: `llama_prefill` tells so how
    many prompt tokens it saved because the caller had asked for it.
    """

    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    stop_type: str = ""
    stopping_word: str = ""
    timings: Timings = Timings()
    prompt_progress: Progress | None = None
    completion_probabilities: tuple[Probability, ...] = ()
    cache_written: int = 0
    cache_written_long: int = 0
    error: "_Problem | None" = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = "the engine gave no reason"
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Refusal(msgspec.Struct, frozen=True):
    error: _Problem = _Problem()


class LlamaHttp:
    """The child's listener at `address`, which answers only to `api_key`."""

    def __init__(self, address: str, api_key: str) -> None:
        self._client = HttpClient("the engine", address)
        self._headers = header_lines(
            {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
        )

    def close(self) -> None:
        """Drop the connections that nobody uses; those in use end with the child."""
        self._client.close()

    async def get(self, path: str, answer: type[T], *, timeout_s: float) -> T:
        """GET `path`.

        Raises:
            HeadraceError: The child does not answer as it should.
        """
        timeouts = Timeouts(timeout_s, timeout_s, timeout_s, timeout_s)
        return await self._exchange("GET", path, b"", timeouts, answer)

    async def post(self, path: str, body: dict[str, Any], answer: type[T]) -> T:
        """POST `body` as JSON.

        Raises:
            HeadraceError: The child refuses, or is gone.
        """
        return await self._exchange("POST", path, msgspec.json.encode(body), _SHORT, answer)

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """POST /completion, streamed. Closing the generator closes the connection.

        The last chunk has `stop`; if there is none, the engine broke off.

        Raises:
            ContextTooLong: The prompt does not fit.
            InvalidRequest: The child finds the request wrong.
            EngineFailed: The child broke off or is broken.
        """
        # `return_progress` makes the child write while it reads the prompt: only a failing
        # write tells it at once that nobody listens. Without, it looks once a second, and not
        # even that while other answers run.
        asked = msgspec.json.encode({**body, "stream": True, "return_progress": True})
        async with self._reply("POST", "/completion", asked, _LONG) as reply:
            if reply.status != _OK:
                raise _refusal(reply.status, await reply.read_all(_ANSWER_BYTES_MAX))
            held = b""
            while data := await reply.read():
                *events, held = (held + data).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: "):
                        yield _chunk(event)

    async def _exchange(
        self, method: str, path: str, body: bytes, timeouts: Timeouts, answer: type[T]
    ) -> T:
        async with self._reply(method, path, body, timeouts) as reply:
            return _decode(reply.status, await reply.read_all(_ANSWER_BYTES_MAX), answer)

    @asynccontextmanager
    async def _reply(
        self, method: str, path: str, body: bytes, timeouts: Timeouts
    ) -> AsyncGenerator[Reply]:
        try:
            reply = await self._client.send(method, path, self._headers, body, timeouts)
            try:
                yield reply
            finally:
                reply.release()
        except (EngineUnavailable, TimedOut) as error:
            raise EngineFailed(
                "the engine does not answer", retry_after_s=_RETRY_AFTER_S
            ) from error
        except EngineFailed as error:
            error.retry_after_s = _RETRY_AFTER_S  # another child is on its way
            raise


_CHUNK = msgspec.json.Decoder(Chunk)


def _chunk(event: bytes) -> Chunk:
    try:
        chunk = _CHUNK.decode(event[6:])
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"the engine answered what it should not: {error}") from error
    if chunk.error is not None:
        raise _error_of(500, chunk.error)
    return chunk


def _decode(status: int, body: bytes, answer: type[T]) -> T:
    if status != _OK:
        raise _refusal(status, body)
    try:
        return msgspec.json.decode(body, type=answer)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"the engine answered what it should not: {error}") from error


def _refusal(status: int, body: bytes) -> HeadraceError:
    try:
        problem = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        problem = _Problem()
    return _error_of(status, problem)


def _error_of(status: int, problem: _Problem) -> HeadraceError:
    if problem.type == "exceed_context_size_error":
        return ContextTooLong(
            f"the prompt has {problem.n_prompt_tokens} tokens, "
            f"the context of this model holds {problem.n_ctx}",
            param="messages",
        )
    if status in _CALLER_ERRORS and status not in (401, 404):
        return InvalidRequest(problem.message)
    return EngineRefused(problem.message)
