"""LlamaEngine: llama.cpp in a supervised child process.

The life of an answer:

1. the request becomes template messages, every literal special token in them marked
2. the child renders the chat template; the prompt is tokenized, piece by piece where marked
3. its turn comes for a slot, if there is one for the slot that holds most of the prompt
4. a JSON Schema is tried once, because the child ignores one that it cannot compile
5. the child completes the prompt, always streamed, so that a hang-up always cancels
6. its text is read into thinking, text and tool calls, and sent on as events
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import (
    ContextTooLong,
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    Unsupported,
)
from headrace.core.events import Counted, Event
from headrace.core.ids import new_id
from headrace.core.models import Model
from headrace.core.requests import JsonSchema, Request
from headrace.serving.engine import EngineInfo
from headrace.serving.engines.llama_answer import Answer
from headrace.serving.engines.llama_breakpoints import breakpoints
from headrace.serving.engines.llama_calibration import (
    BATCH_TOKENS_FIRST,
    Calibration,
    batch_tokens,
)
from headrace.serving.engines.llama_constraint import (
    Constraint,
    arguments_of,
    calls_of,
    constraint_of,
    unenforceable,
)
from headrace.serving.engines.llama_http import Chunk, EngineRefused, Timings
from headrace.serving.engines.llama_late import decoded
from headrace.serving.engines.llama_model import (
    LlamaModel,
    LlamaOptions,
    child_config,
    library_version,
    promised,
)
from headrace.serving.engines.llama_prefill import Mark, Marks, Prefill
from headrace.serving.engines.llama_prefixes import (
    Prefixes,
    common,
    count,
    packed,
    prefix_folder,
)
from headrace.serving.engines.llama_process import LlamaProcess, launch
from headrace.serving.engines.llama_prompt import TemplateAbilities, shown_tools, template_body
from headrace.serving.engines.llama_shield import Shield, SpecialTokens
from headrace.serving.engines.llama_slots import Lease, Slots

_RESTART_WAIT_S = 15
_EXIT_WAIT_S = 0.5
_HEALTH_EVERY_S = 15
_HEALTH_MISSES_MAX = 2
_STEADY_S = 60
_BACK_OFF_S_MAX = 30.0
_MEASURE_PREFILL_TOKENS, _MEASURE_DECODE_TOKENS = 128, 16
_SCHEMAS_REMEMBERED = 256
_NS_PER_S = 1_000_000_000

_log = logging.getLogger(__name__)


class LlamaEngine:
    """Serves one GGUF model.

    Args:
        model: The model.
        options: Threads, slots, context.
        data: The data folder; the engine keeps its log and measured speeds there.
        clock: The house's clock.
    """

    def __init__(self, model: LlamaModel, options: LlamaOptions, data: Path, clock: Clock) -> None:
        self._llama = model
        self._options = options
        self._clock = clock
        self._model = promised(model.model, options.context_tokens)
        self._context_tokens = self._model.context_tokens
        self._version = library_version()
        self._calibration = Calibration(data, model.digest, options.threads, self._version)
        self._batch_tokens = options.batch_tokens or BATCH_TOKENS_FIRST
        self._log_path = data / "logs" / f"engine-{model.model.id.replace('/', '_')}.log"
        self._specials = SpecialTokens(model.special_tokens)
        self._template = TemplateAbilities()
        self._process: LlamaProcess | None = None
        self._up = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._prefixes = Prefixes(
            prefix_folder(data, model.model.id),
            (model.digest, self._version, str(options.slots)),
            bytes_max=options.prefix_bytes_max,
            bytes_per_token=model.kv_bytes_per_token,
        )
        self._slots = Slots(options.slots, self._prefixes)
        self._prefill = Prefill(self._slots, self._prefixes)
        self._running = 0
        self._late: dict[int, int] = {}
        self._schemas: dict[bytes, str | None] = {}
        self._schema_lock = asyncio.Lock()

    @property
    def model(self) -> Model:
        """The model, with the context that one request may use here."""
        return self._model

    @property
    def info(self) -> EngineInfo:
        """Name, version and settings."""
        return EngineInfo(
            "llama.cpp",
            self._version,
            self._llama.digest,
            self._options.threads,
            self._batch_tokens,
            self._options.slots,
        )

    @property
    def process(self) -> LlamaProcess | None:
        """The child, while there is one."""
        return self._process

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens computed since this engine was made, each as often as it was."""
        return self._prefill.computed_tokens

    def ready(self) -> bool:
        """Whether the child is up."""
        return self._up.is_set()

    async def start(self) -> None:
        """Start the child; the very first time also measure the model and fit the batch.

        Raises:
            EngineUnavailable: The model cannot be loaded; the hint says why.
        """
        chosen, speed = self._options.batch_tokens, self._calibration.speed
        if chosen is None and speed is not None:
            self._batch_tokens = batch_tokens(speed.prefill_tokens_per_s)
        await asyncio.to_thread(self._prefixes.open)
        process = await self._launch()
        try:
            if chosen is None and speed is None:
                process = await self._calibrate(process)
            props = await process.http.get("/props", _Props, timeout_s=_RESTART_WAIT_S)
        except BaseException:
            await process.kill()
            raise
        self._template = props.chat_template_caps
        self._process = process
        self._up.set()
        self._supervisor = asyncio.create_task(self._supervise(process))

    async def stop(self) -> None:
        """End the child; answers under way fail."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait([supervisor])
        self._up.clear()
        process, self._process = self._process, None
        if process is not None:
            await process.kill()
        await self._prefixes.close()
        self._calibration.write()

    async def stream(self, request: Request) -> AsyncGenerator[Event | Counted]:
        """Answer `request`.

        Raises:
            ContextTooLong: The prompt does not fit.
            InvalidRequest: The request cannot be honoured.
            EngineUnavailable: The child is not there.
            EngineFailed: It died before the first token.
        """
        asked = request
        sampling = request.sampling.over(self._llama.sampling)
        # llama.cpp cuts a longer number down to 32 bits, and so to another one.
        limit = request.max_tokens and min(request.max_tokens, self._context_tokens)
        request = msgspec.structs.replace(request, sampling=sampling, max_tokens=limit)
        constraint = constraint_of(request)
        prompt, opens_thinking = await self._fitting_prompt(request)
        async with self._slots.place(request.cache_scope, packed(prompt)) as lease:
            process = await self._serving()
            self._running += 1
            answer: Answer | None = None
            try:
                answer = Answer(
                    request,
                    prompt,
                    self._new_call_id,
                    constraint=constraint,
                    schema=await self._schema(process, constraint, lease),
                    arguments=await self._arguments(process, request, lease),
                    opens_thinking=opens_thinking,
                )
                marks = partial(self._marks, process, request, lease.tokens)
                chunks = self._completions(process, lease, answer, marks)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        for event in answer.events(chunk):
                            yield event
                        if answer.finished:
                            self._learn(chunk)
                            return
                raise EngineFailed("the engine broke off its answer", retry_after_s=1)  # noqa: TRY301 - as if the connection had broken
            except EngineFailed as error:
                mended = await self._account_for(process, error)
                if answer is None or not answer.begun():
                    raise mended from error
                yield answer.failed(mended)
            except ContextTooLong:
                if answer is None or not answer.begun():
                    raise
                for event in answer.context_full():
                    yield event
            except (GeneratorExit, asyncio.CancelledError):
                self._late[id(asked)] = await _late(process, lease, answer)
                raise
            finally:
                self._running -= 1

    def late_tokens(self, request: Request) -> int:
        """What the child still decoded for a request that was cancelled."""
        return self._late.pop(id(request), 0)

    async def _completions(
        self, process: LlamaProcess, lease: Lease, answer: Answer, marks: Marks
    ) -> AsyncGenerator[Chunk]:
        """The chunks of all the completions that an answer takes."""
        chunks = self._prefill.complete(process.http, lease, answer.body(), marks)
        while True:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
                    if answer.paused:
                        break
                else:
                    return
            chunks = process.http.complete(answer.body() | {"id_slot": lease.slot})

    async def count_tokens(self, request: Request) -> int:
        """Prompt tokens of `request`, exactly."""
        process = await self._serving()
        return len((await self._prompt(process, request))[0])

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        """Embed nothing; models for that are served by `LlamaEmbedder`.

        Raises:
            Unsupported: Always.
        """
        del texts
        raise Unsupported(f"the model {self._model.id} makes no embeddings", param="model")

    async def _launch(self) -> LlamaProcess:
        config = child_config(
            self._llama,
            threads=self._options.threads,
            slots=self._options.slots,
            context_tokens=self._context_tokens,
            batch_tokens=self._batch_tokens,
            slot_folder=str(self._prefixes.folder.absolute()) if self._prefixes.usable else "",
        )
        self._slots.new_child()
        return await launch(config, self._log_path)

    async def _calibrate(self, process: LlamaProcess) -> LlamaProcess:
        """Measure the speed; where another batch fits it, start again with that one."""
        await _measure(process, 2, 1)  # the first prompt also reads the weights from disk
        timings = await _measure(process, _MEASURE_PREFILL_TOKENS, _MEASURE_DECODE_TOKENS)
        prefill, decode = _speeds(timings)
        self._calibration.measured(prefill, decode)
        fitting = batch_tokens(prefill)
        if fitting == self._batch_tokens:
            return process
        self._batch_tokens = fitting
        await process.kill()
        return await self._launch()

    def _learn(self, chunk: Chunk) -> None:
        """Real answers tell the speed too, when they had the engine to themselves."""
        timings = chunk.timings
        if self._running != 1 or timings.predicted_n < _MEASURE_DECODE_TOKENS:
            return
        prefill, decode = _speeds(timings)
        long = timings.prompt_n >= _MEASURE_PREFILL_TOKENS
        self._calibration.measured(prefill if long else None, decode)

    async def _supervise(self, process: LlamaProcess) -> None:
        """Whenever the child dies or hangs, start another, ever later if it keeps dying."""
        delay_s = 0.0
        while True:
            began_ns = self._clock.monotonic_ns()
            await _until_gone(process)
            self._up.clear()
            await process.kill()
            if self._clock.monotonic_ns() - began_ns > _STEADY_S * _NS_PER_S:
                delay_s = 0.0
            _log.error(
                "the engine of %s died; starting it again; see %s", self._model.id, self._log_path
            )
            while True:
                await asyncio.sleep(delay_s)
                delay_s = min(max(0.5, 2 * delay_s), _BACK_OFF_S_MAX)
                try:
                    process = await self._launch()
                    break
                except HeadraceError as error:
                    _log.error("%s (%s)", error.message, error.hint)
                except OSError:  # no room for its log, or no file descriptor left
                    _log.exception("the engine of %s cannot be started", self._model.id)
            self._process = process
            self._up.set()

    async def _serving(self) -> LlamaProcess:
        """The child, waited for while it restarts."""
        if self._supervisor is None:
            raise EngineUnavailable(f"the engine of {self._model.id} is not started")
        if self._process is not None and not self._process.alive():
            self._up.clear()  # its supervisor has not noticed yet
        try:
            async with asyncio.timeout(_RESTART_WAIT_S):
                await self._up.wait()
        except TimeoutError:
            raise EngineUnavailable(
                f"the engine of {self._model.id} is starting again", retry_after_s=5
            ) from None
        assert self._process is not None  # noqa: S101 - set before `_up`
        return self._process

    async def _account_for(self, process: LlamaProcess, error: EngineFailed) -> HeadraceError:
        """Why an answer broke: the engine was stopped, or died, or failed and lives on."""
        if self._supervisor is None:
            return EngineUnavailable("the engine was stopped", retry_after_s=5)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_WAIT_S):
                await process.exited()
        return error

    async def _fitting_prompt(self, request: Request) -> tuple[list[int], bool]:
        """As `_prompt`, of a request that has not got its place yet; outlives one child."""
        process = await self._serving()
        try:
            prompt, opens_thinking = await self._prompt(process, request)
        except EngineFailed as error:
            mended = await self._account_for(process, error)
            if process.alive() or mended is not error:
                raise mended from error
            prompt, opens_thinking = await self._prompt(await self._serving(), request)
        if len(prompt) >= self._context_tokens:
            raise ContextTooLong(
                f"prompt is too long: {len(prompt)} tokens > {self._context_tokens} maximum",
                param="messages",
            )
        return prompt, opens_thinking

    async def _marks(self, process: LlamaProcess, request: Request, tokens: bytes) -> list[Mark]:
        """Where the prompt may be cut: it is the same up to there whatever follows."""
        marks: list[Mark] = []
        for point in breakpoints(request):
            if point.varied is None:
                marks.append(Mark(count(tokens), point.ttl_s))
                continue
            with contextlib.suppress(InvalidRequest):  # the template wants other turns
                varied, _ = await self._prompt(process, point.varied)
                marks.append(Mark(common(packed(varied), tokens), point.ttl_s))
        return marks

    async def _prompt(self, process: LlamaProcess, request: Request) -> tuple[list[int], bool]:
        """The token ids of the rendered prompt, and whether it opens thinking."""
        shield = Shield(self._specials)
        body = template_body(request, self._template, shield)
        try:
            rendered = await process.http.post("/apply-template", body, _Rendered)
        except EngineRefused as error:  # templates raise when turns do not come as they expect
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {error.reason}",
                param="messages",
            ) from error
        opens_thinking = rendered.prompt.rstrip().endswith("<think>")
        ids: list[int] = []
        for number, piece in enumerate(shield.cut(rendered.prompt)):
            ids += await _tokenize(process, piece, first=number == 0)
        return ids, opens_thinking

    async def _schema(
        self, process: LlamaProcess, constraint: Constraint | None, lease: Lease
    ) -> JsonSchema | None:
        """The schema that the child will enforce.

        Raises:
            Unsupported: It can enforce none of those that would do.
        """
        if constraint is None:
            return None
        reason = await self._why_not(process, constraint.schema, lease)
        if reason is None:
            return constraint.schema
        looser = constraint.looser
        if looser is None or await self._why_not(process, looser, lease) is not None:
            raise unenforceable(reason)
        return looser

    async def _arguments(
        self, process: LlamaProcess, request: Request, lease: Lease
    ) -> dict[str, JsonSchema]:
        """What the arguments of calls are held to that the model makes of its own accord.

        Raises:
            Unsupported: A strict tool's parameters cannot be enforced.
        """
        tools = shown_tools(request)
        if not tools or constraint_of(request) is not None:
            return {}
        held = {tool.name: arguments_of(tool) for tool in tools}
        if await self._why_not(process, calls_of(request), lease) is None:
            return {name: each.schema for name, each in held.items()}
        schemas = {name: await self._schema(process, each, lease) for name, each in held.items()}
        return {name: schema for name, schema in schemas.items() if schema is not None}

    async def _why_not(self, process: LlamaProcess, schema: JsonSchema, lease: Lease) -> str | None:
        """Why the child cannot enforce `schema`, None if it can; tried once for each schema."""
        encoded = msgspec.json.encode(schema)
        async with self._schema_lock:
            if encoded not in self._schemas:
                while len(self._schemas) >= _SCHEMAS_REMEMBERED:
                    del self._schemas[next(iter(self._schemas))]
                self._slots.emptied(lease)
                self._slots.plan(lease)
                self._schemas[encoded] = await _try_schema(process, encoded.decode(), lease.slot)
            return self._schemas[encoded]

    def _new_call_id(self) -> str:
        return f"call_{new_id(self._clock).replace('-', '')}"


async def _late(process: LlamaProcess, lease: Lease, answer: Answer | None) -> int:
    """What a cancelled answer went on to, once its slot has stopped."""
    if answer is None or not answer.begun():
        return 0
    made = await decoded(process.http, lease.slot, answer.prompt_tokens)
    return 0 if made is None else answer.late(made)


class _Props(msgspec.Struct, frozen=True):
    chat_template_caps: TemplateAbilities = TemplateAbilities()


class _Rendered(msgspec.Struct, frozen=True):
    prompt: str


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


async def _tokenize(process: LlamaProcess, text: str, *, first: bool) -> list[int]:
    body: dict[str, Any] = {"content": text, "parse_special": True, "add_special": first}
    return (await process.http.post("/tokenize", body, _Tokens)).tokens


async def _measure(process: LlamaProcess, prefill: int, decode: int) -> Timings:
    body: dict[str, Any] = {
        "prompt": list(range(100, 100 + prefill)),  # any tokens are as fast as any others
        "n_predict": decode,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    timings = Timings()
    async with aclosing(process.http.complete(body)) as chunks:
        async for chunk in chunks:
            timings = chunk.timings
    return timings


def _speeds(timings: Timings) -> tuple[float, float]:
    """Tokens per second of prefill and decoding."""
    return (
        1000 * timings.prompt_n / max(timings.prompt_ms, 1.0),
        1000 * timings.predicted_n / max(timings.predicted_ms, 1.0),
    )


async def _until_gone(process: LlamaProcess) -> None:
    """Return when the process is dead, or alive and deaf."""
    exited = asyncio.ensure_future(process.exited())
    misses = 0
    try:
        while misses < _HEALTH_MISSES_MAX:
            done, _ = await asyncio.wait([exited], timeout=_HEALTH_EVERY_S)
            if done:
                return
            misses = 0 if await process.healthy() else misses + 1
    finally:
        exited.cancel()


async def _try_schema(process: LlamaProcess, schema: str, slot: int) -> str | None:
    """Whether llama.cpp enforces a schema: it goes on without one that it cannot compile.

    So a grammar is tried that begins with a mark which is made all but impossible otherwise.
    """
    mark = "~"
    body: dict[str, Any] = {
        "prompt": "a",
        "n_predict": 1,
        "temperature": 0,
        "cache_prompt": False,
        "id_slot": slot,
        "grammar": f'%llguidance {{}}\nstart: "{mark}" answer\nanswer: %json {schema}',
        "logit_bias": [[mark, -1000]],
    }
    said = ""
    async with aclosing(process.http.complete(body)) as chunks:
        async for chunk in chunks:
            said += chunk.content
    if said.startswith(mark):
        return None
    _, _, tail = process.log_tail().rpartition("failed to compile JSON schema: ")
    return tail.partition("\n")[0].strip() or "unknown"
