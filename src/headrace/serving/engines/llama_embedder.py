"""LlamaEmbedder: a GGUF model that makes embeddings and cannot answer, in a child process.

Texts are read one after the other, each in one batch, which keeps all threads busy. A child
that died is started again by the next text: nobody else would miss it.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from headrace.core.errors import (
    ContextTooLong,
    EngineFailed,
    EngineUnavailable,
    HeadraceError,
    Unsupported,
)
from headrace.core.events import Event
from headrace.core.models import Model
from headrace.core.requests import Request
from headrace.serving.engine import EngineInfo
from headrace.serving.engines.llama_http import EngineRefused
from headrace.serving.engines.llama_model import (
    LlamaModel,
    LlamaOptions,
    child_config,
    library_version,
    promised,
)
from headrace.serving.engines.llama_process import LlamaProcess, launch

SLOTS = 1
"""Texts that are read at the same time."""

# llama.cpp computes, for nothing, the odds of every next token: 8 bytes for each token of the
# text and each of the vocabulary. At 2,048 tokens of SmolLM2 that is 0.8 GB, measured.
_CONTEXT_TOKENS_MAX = 2048
_TOO_LONG = re.compile(r"input \((\d+) tokens\) is too large to process")

_log = logging.getLogger(__name__)


class LlamaEmbedder:
    """Serves one GGUF model that makes embeddings only.

    Args:
        model: The model.
        options: Threads and context; a text is at most 2,048 tokens long in any case.
        data: The data folder; the engine keeps its log there.
    """

    def __init__(self, model: LlamaModel, options: LlamaOptions, data: Path) -> None:
        self._llama = model
        self._threads = options.threads
        context_tokens = min(options.context_tokens or _CONTEXT_TOKENS_MAX, _CONTEXT_TOKENS_MAX)
        self._model = promised(model.model, context_tokens)
        self._log_path = data / "logs" / f"engine-{model.model.id.replace('/', '_')}.log"
        self._turn = asyncio.Lock()
        self._process: LlamaProcess | None = None
        self._started = False

    @property
    def model(self) -> Model:
        """The model, with the context that one text may use here."""
        return self._model

    @property
    def info(self) -> EngineInfo:
        """Name, version and settings."""
        return EngineInfo(
            "llama.cpp",
            library_version(),
            self._llama.digest,
            self._threads,
            self._model.context_tokens,
            SLOTS,
        )

    @property
    def process(self) -> LlamaProcess | None:
        """The child, while there is one."""
        return self._process

    async def start(self) -> None:
        """Start the child.

        Raises:
            EngineUnavailable: The model cannot be loaded; the hint says why.
        """
        self._process = await self._launch()
        self._started = True

    async def stop(self) -> None:
        """End the child; texts that are being read fail."""
        self._started = False
        process, self._process = self._process, None
        if process is not None:
            await process.kill()

    def ready(self) -> bool:
        """Whether it is started."""
        return self._started

    def stream(self, request: Request) -> AsyncGenerator[Event]:
        """Answer nothing.

        Raises:
            Unsupported: Always.
        """
        del request
        raise self._cannot_answer()

    async def count_tokens(self, request: Request) -> int:
        """Count nothing: there is no template for a request.

        Raises:
            Unsupported: Always.
        """
        del request
        raise self._cannot_answer()

    async def embed(self, texts: tuple[str, ...]) -> tuple[tuple[tuple[float, ...], ...], int]:
        """One vector of length 1 for each text, and the input tokens used.

        Raises:
            ContextTooLong: A text does not fit.
            EngineUnavailable: It is not started, or cannot be started again.
            EngineFailed: The child died or broke.
        """
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        for text in texts:
            async with self._turn:  # for each text, so that a short call need not wait for a long
                made = await self._embed(text)
            vectors += (each.embedding for each in made.data)
            tokens += made.usage.prompt_tokens
        return tuple(vectors), tokens

    async def _embed(self, text: str) -> "_Embeddings":
        process = await self._serving()
        try:
            return await process.http.post("/v1/embeddings", {"input": [text]}, _Embeddings)
        except EngineRefused as error:
            raise self._explained(error) from error
        except EngineFailed as error:
            await process.kill()  # dead, or deaf for minutes
            if not self._started:
                raise EngineUnavailable("the engine was stopped", retry_after_s=5) from error
            raise

    async def _serving(self) -> LlamaProcess:
        """The child, started again if it died."""
        process = self._process
        if process is not None and process.alive():
            return process
        if not self._started:
            raise EngineUnavailable(f"the engine of {self._model.id} is not started")
        _log.error(
            "the engine of %s died; starting it again; see %s", self._model.id, self._log_path
        )
        process = await self._launch()
        if not self._started:
            await process.kill()
            raise EngineUnavailable("the engine was stopped", retry_after_s=5)
        self._process = process
        return process

    async def _launch(self) -> LlamaProcess:
        config = child_config(
            self._llama,
            threads=self._threads,
            slots=SLOTS,
            context_tokens=self._model.context_tokens,
            batch_tokens=self._model.context_tokens,
            embedding=True,
        )
        return await launch(config, self._log_path)

    def _cannot_answer(self) -> Unsupported:
        return Unsupported(
            f"the model {self._model.id} makes embeddings only and cannot answer", param="model"
        )

    def _explained(self, error: EngineRefused) -> HeadraceError:
        found = _TOO_LONG.search(error.reason)
        if found is None:
            return error
        return ContextTooLong(
            f"a text has {found[1]} tokens, "
            f"the context of this model holds {self._model.context_tokens}",
            param="input",
        )


class _Embedding(msgspec.Struct, frozen=True):
    embedding: tuple[float, ...]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int


class _Embeddings(msgspec.Struct, frozen=True):
    data: tuple[_Embedding]
    usage: _Usage
