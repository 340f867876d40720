"""RemoteEngine: a model of an upstream, spoken to in the upstream's dialect over HTTP.

A call of the same dialect is relayed: its bytes go through both ways. Any other is translated.
Upstream it is always streamed then, so that a hang-up always cancels.
"""

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial

import msgspec

from headrace.config.routing import Limits
from headrace.core.clock import Clock
from headrace.core.errors import (
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    Retryable,
    Unsupported,
    of_kind,
)
from headrace.core.events import Delta, Event, Failed, Finished
from headrace.core.ids import new_id
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.core.version import __version__
from headrace.net.http_client import HttpClient, Reply, Timeouts, header_lines
from headrace.serving import tracing
from headrace.serving.engine import EngineInfo, Passage, Passed
from headrace.serving.engines import remote_errors, remote_relay, remote_tokens
from headrace.serving.engines.remote_dialects import (
    Speech,
    credentials,
    for_upstream,
    forwarded,
    needed,
    speech_of,
)
from headrace.serving.engines.remote_key import Key
from headrace.serving.engines.remote_text import TextReader

_OK = 200
_UNAUTHORISED = 401
_VERSION = "anthropic-version"
_BODY_BYTES_MAX = 64 << 20
_ERROR_BYTES_MAX = 1 << 20
_log = logging.getLogger(__name__)


class Remote:
    """An upstream as all engines of its models share it: connections, key and headers.

    Args:
        name: Its name in the configuration.
        dialect: What it speaks: openai_chat, openai_responses or anthropic.
        url: Where it stands, up to the version: `https://api.openai.com/v1`.
        key: What it is paid with.
        headers: Added to each request.
        auth_header: Where the key goes; None: as the dialect does it.
        read_tool_calls: Whether its text may hold tool calls that it has not found itself.
        extensions: Whether it knows the fields that local servers add to Chat Completions.
    """

    def __init__(
        self,
        name: str,
        dialect: str,
        url: str,
        key: Key,
        *,
        headers: Mapping[str, str] | None = None,
        auth_header: str | None = None,
        read_tool_calls: bool = False,
        extensions: bool = True,
    ) -> None:
        self.name = name
        self.speech = speech_of(dialect, extensions=extensions)
        self.client = HttpClient(f"the upstream {name}", url)
        self.key = key
        self.read_tool_calls = read_tool_calls
        self._auth_header = auth_header
        configured = {name.lower(): value for name, value in (headers or {}).items()}
        self._version = configured.get(_VERSION)
        self._fixed = header_lines(
            {
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": f"headrace/{__version__}",
                **configured,
            }
        )

    async def post(
        self, path: str, body: bytes, timeouts: Timeouts, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a body; with a key that has changed meanwhile, once more.

        Args:
            path: Below the url, with its query; from the root of the server behind `//`.
            body: JSON.
            timeouts: How long it may take.
            headers: The client's own; those meant for upstreams are passed on.

        Raises:
            HeadraceError: No answer comes; one of any status is returned.
        """
        given = {**forwarded(self.speech, headers or {}), **tracing.onward()}
        if self._version is not None:
            given.pop(_VERSION, None)  # two of them would be none
        key = await self.key.get()
        reply = await self._post(path, body, timeouts, given, key)
        if reply.status == _UNAUTHORISED and await self._renewed(reply, key):
            key = await self.key.get()
            reply = await self._post(path, body, timeouts, given, key)
        return reply

    async def _renewed(self, reply: Reply, key: str | None) -> bool:
        try:
            renewed = await self.key.renewed(key)
        except BaseException:
            reply.release()
            raise
        if renewed:
            reply.release()
        return renewed

    async def _post(
        self,
        path: str,
        body: bytes,
        timeouts: Timeouts,
        headers: dict[str, str],
        key: str | None,
    ) -> Reply:
        if key is not None:
            version = self._version or headers.get(_VERSION, "")
            headers = headers | credentials(self.speech, self._auth_header, key, version)
        lines = self._fixed + header_lines(headers)
        base = self.client.base
        target = base.removesuffix("/v1") + path[1:] if path.startswith("//") else base + path
        try:
            return await self.client.send("POST", target, lines, body, timeouts)
        except HeadraceError as error:
            _log.warning("%s: %s", error.message, error.__cause__ or type(error).__name__)
            raise


class RemoteEngine:
    """Serves one model of one upstream.

    Args:
        remote: The upstream.
        upstream_model: What the upstream calls the model.
        model: What the model can do; its id names the engine.
        limits: Its time-outs, all of them decided.
        clock: The house's clock.
    """

    def __init__(
        self, remote: Remote, upstream_model: str, model: Model, limits: Limits, clock: Clock
    ) -> None:
        self._remote = remote
        self._speech: Speech = remote.speech
        self._upstream_model = upstream_model
        self._model = model
        self._clock = clock
        self._started = False
        self._info: EngineInfo | None = None
        connect_s, whole_s = limits.connect_s or 0.0, limits.timeout_s or 0.0
        first_s, silence_s = limits.first_token_s or 0.0, limits.silence_s or 0.0
        self._streamed = Timeouts(connect_s, first_s, silence_s, whole_s)
        self._unstreamed = Timeouts(connect_s, whole_s, whole_s, whole_s)

    @property
    def model(self) -> Model:
        """The model, under the name of this engine."""
        return self._model

    @property
    def dialect(self) -> str:
        """The upstream's dialect."""
        return self._speech.name

    @property
    def info(self) -> EngineInfo:
        """Which upstream answers, for receipts; what it runs is its own affair."""
        address = self._remote.client.address
        if self._info is None or self._info.address != address:
            name = self._remote.name
            digest = f"upstream:{name}/{self._upstream_model}"
            self._info = EngineInfo(name, self._speech.name, digest, address=address)
        return self._info

    async def start(self) -> None:
        """Take calls from now on."""
        self._started = True

    async def stop(self) -> None:
        """Take no more calls, and drop the kept connections."""
        self._started = False
        self._remote.client.close()

    def ready(self) -> bool:
        """Whether it was started; what the upstream can do shows in its answers."""
        return self._started

    def losses(self, request: Request) -> tuple[str, ...]:
        """The fields of a request that the upstream's dialect cannot carry."""
        return self._speech.losses(request)

    def relays(self, passage: Passage) -> bool:
        """Whether this call may pass unread.

        Not where calls must be found in the text of its answer, nor where a response is to be
        kept or builds on one: those are the gateway's own.
        """
        if self._speech.name == "openai_responses" and not remote_relay.is_stateless(passage.body):
            return False
        return not (self._remote.read_tool_calls and remote_relay.has_tools(passage.body))

    async def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Answer a request in the words of the core.

        Raises:
            HeadraceError: The upstream refuses, or cannot be reached, before its first event.
        """
        named = self._named(request)
        body = self._speech.encode(named, stream=True)
        headers = needed(self._speech, named)
        reply = await self._post(self._speech.path, body, self._streamed, headers)
        answer = _Answer(self._speech, self._text_reader(request))
        try:
            if reply.status != _OK:
                raise await self._refusal(reply)
            while not answer.ended:
                for event in answer.read(await reply.read()):
                    yield event
        except HeadraceError as error:
            if not answer.begun or answer.ended:
                raise
            retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
            for event in answer.events(Failed(error.kind, error.message, retry_after_s)):
                yield event
        finally:
            reply.release(done=answer.whole)

    async def relay(self, passage: Passage) -> AsyncGenerator[Passed]:
        """Pass a call of the upstream's own dialect on, and its answer back.

        Raises:
            HeadraceError: The upstream refuses, breaks off, or sends an error.
        """
        rewritten = remote_relay.rewrite(passage, self._speech, self._upstream_model)
        query = f"?{passage.query}" if passage.query else ""
        timeouts = self._streamed if passage.stream else self._unstreamed
        reply = await self._post(
            self._speech.path + query, rewritten.body, timeouts, passage.headers
        )
        strip_usage = rewritten.strip_usage
        del rewritten  # prompts are long, and so may answers be
        done = False
        try:
            if reply.status != _OK:
                raise await self._refusal(reply)
            if not passage.stream:
                yield await self._whole(reply)
                return
            watch = remote_relay.Watch(self._speech, strip_usage=strip_usage)
            while not done and (data := await reply.read()):
                for passed in watch.take(data):
                    done = watch.ended
                    yield passed
                    del passed  # nobody holds it while the next ones are awaited
                del data
                self._check(watch)
            if not done:
                for passed in watch.end():
                    yield passed
                self._check(watch)
            if not watch.ended:
                raise EngineFailed(f"the upstream {self._remote.name} broke off its answer")
        finally:
            reply.release(done=done)

    async def count_tokens(self, request: Request) -> int:
        """Prompt tokens of a request, as the upstream itself counts them.

        Raises:
            Unsupported: It does not count.
            HeadraceError: It refuses, or cannot be reached.
        """
        named = self._named(request)
        body = self._speech.encode(named, stream=False)
        headers = needed(self._speech, named)
        return await remote_tokens.count(
            self._speech.name, body, partial(self._ask, headers=headers)
        )

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        """One vector for each text, and the input tokens used.

        Raises:
            Unsupported: The upstream's dialect knows no embeddings.
            HeadraceError: It refuses, or cannot be reached.
        """
        if self._speech.name == "anthropic":
            raise Unsupported(f"the model {self._model.id} makes no embeddings", param="model")
        asked = {"model": self._upstream_model, "input": texts, "encoding_format": "float"}
        status, body = await self._ask("/embeddings", msgspec.json.encode(asked))
        if status != _OK:
            raise self._refused(status, body, None)
        try:
            made = msgspec.json.decode(body, type=_Embeddings)
        except msgspec.MsgspecError as error:
            raise EngineFailed(f"the upstream's embeddings cannot be read: {error}") from None
        if [each.index for each in made.data] != list(range(len(texts))):
            made.data.sort(key=lambda each: each.index)
        if len(made.data) != len(texts):
            raise EngineFailed("the upstream made another number of embeddings than asked for")
        return tuple(each.embedding for each in made.data), made.usage.prompt_tokens

    async def _ask(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a request that is not streamed."""
        reply = await self._post(path, body, self._unstreamed, headers)
        try:
            return reply.status, await reply.read_all(_BODY_BYTES_MAX)
        finally:
            reply.release()

    async def _whole(self, reply: Reply) -> Passed:
        body = await reply.read_all(_BODY_BYTES_MAX)
        read = remote_relay.whole(body, self._speech)
        if isinstance(read, Failed):
            raise remote_errors.broken_off(self._remote.name, read)
        return read

    async def _post(
        self, path: str, body: bytes, timeouts: Timeouts, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a body to a path below the upstream's base."""
        if not self._started:
            raise EngineUnavailable(f"the upstream {self._remote.name} is not started")
        return await self._remote.post(path, body, timeouts, headers)

    def _check(self, watch: remote_relay.Watch) -> None:
        if watch.failed is not None:
            raise remote_errors.broken_off(self._remote.name, watch.failed)

    async def _refusal(self, reply: Reply) -> HeadraceError:
        body = await reply.read_all(_ERROR_BYTES_MAX)
        return self._refused(reply.status, body, remote_errors.retry_after_s(reply, self._clock))

    def _refused(self, status: int, body: bytes, retry_after_s: float | None) -> HeadraceError:
        return remote_errors.refusal(self._speech, self._remote.name, status, body, retry_after_s)

    def _named(self, request: Request) -> Request:
        return for_upstream(self._speech, request, self._upstream_model, self._model.context_tokens)

    def _text_reader(self, request: Request) -> TextReader | None:
        return TextReader(request, self._new_call_id) if self._remote.read_tool_calls else None

    def _new_call_id(self) -> str:
        return f"call_{new_id(self._clock).replace('-', '')}"


class _Answer:
    """Turns the bytes of a streamed answer into events, deltas with a running count of tokens."""

    def __init__(self, speech: Speech, reader: TextReader | None) -> None:
        self._decoder = speech.decoder()
        self._reader = reader
        self._tokens = 0
        self.begun = self.ended = self.whole = False

    def read(self, data: bytes) -> Iterator[Event]:
        """What the next bytes say, none of them the end.

        Raises:
            HeadraceError: The upstream sends an error as its first event.
        """
        for event in self._decoder.feed(data) if data else self._decoder.end():
            yield from self.events(event)
            if self.ended:
                return

    def events(self, event: Event) -> Iterator[Event]:
        """What one event of the upstream amounts to."""
        if isinstance(event, Delta):
            self._tokens += 1
            event = Delta(event.index, event.part, self._tokens, event.logprobs)
        elif isinstance(event, Failed):
            self.ended = True
            event = remote_errors.mended(event)
            if not self.begun:
                raise of_kind(event.kind, event.message, retry_after_s=event.retry_after_s)
        elif isinstance(event, Finished):
            self.ended = self.whole = True
        self.begun = True
        if self._reader is None:
            yield event
        else:
            yield from self._reader.read(event)


class _Embedding(msgspec.Struct, frozen=True):
    embedding: tuple[float, ...]
    index: int = 0


class _Used(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Embedding]
    usage: _Used = _Used()
