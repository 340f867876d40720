"""Embeddings from a real model, in a child process of their own."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from headrace.catalog.library import Installed, Library
from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import ContextTooLong, EngineUnavailable, Unsupported
from headrace.serving.engines.llama_embedder import LlamaEmbedder
from headrace.store.database import Database
from headrace.up.models import get_ready
from support.engines import ask, make_embedder, with_mean_pooling
from support.serving import scripted, served_api

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedder(
    installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[LlamaEmbedder]:
    engine = make_embedder(installed, tmp_path_factory.mktemp("embedder"))
    await engine.start()
    yield engine
    await engine.stop()


def dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_vectors_tell_what_texts_have_in_common(embedder: LlamaEmbedder):
    assert embedder.ready()
    vectors, tokens = await embedder.embed(("a ship", "a boat", "the tax return of 1998"))
    assert [len(vector) for vector in vectors] == [576, 576, 576]
    assert [dot(vector, vector) for vector in vectors] == pytest.approx([1, 1, 1], abs=1e-4)
    assert tokens > 6
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2])


async def test_it_does_not_answer(embedder: LlamaEmbedder):
    with pytest.raises(Unsupported, match="makes embeddings only"):
        await anext(embedder.stream(ask("Hello")))
    with pytest.raises(Unsupported, match="makes embeddings only"):
        await embedder.count_tokens(ask("Hello"))


async def test_a_text_that_does_not_fit_is_the_callers_to_mend(embedder: LlamaEmbedder):
    with pytest.raises(ContextTooLong, match="holds 512") as refused:
        await embedder.embed(("short", "word " * 600))
    assert refused.value.param == "input"
    await embedder.embed(("short",))


async def test_a_child_that_died_is_started_again(embedder: LlamaEmbedder):
    before = embedder.process
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    await before.exited()
    await embedder.embed(("again",))
    assert embedder.process is not None
    assert embedder.process.pid != before.pid


async def test_a_stopped_one_refuses(installed: Installed, tmp_path: Path):
    engine = make_embedder(installed, tmp_path)
    with pytest.raises(EngineUnavailable):
        await engine.embed(("early",))
    await engine.start()
    work = asyncio.ensure_future(engine.embed(("ship " * 300,) * 50))
    await engine.embed(("one of these was begun",))
    await engine.stop()
    with pytest.raises(EngineUnavailable):
        await work
    assert not engine.ready()


async def test_it_serves_the_official_client_and_hears_of_a_hang_up(
    installed: Installed, tmp_path: Path, sqlite_database: Database
):
    chat = scripted(tmp_path / "script.json", model={"id": "parrot"})
    engine = make_embedder(installed, tmp_path)
    async with (
        served_api(sqlite_database, tmp_path, [chat, engine]) as api,
        AsyncOpenAI(base_url=f"{api.url}/v1", api_key=api.key, max_retries=0) as client,
    ):
        model = engine.model.id
        assert [each.id async for each in client.models.list()] == ["parrot", model]
        made = await client.embeddings.create(model=model, input=["a ship", "a boat"])
        vectors, tokens = await engine.embed(("a ship", "a boat"))
        assert [each.embedding for each in made.data] == [
            pytest.approx(vector, abs=1e-6) for vector in vectors
        ]
        assert made.usage.prompt_tokens == tokens
        messages: list[Any] = [{"role": "user", "content": "Hello"}]
        with pytest.raises(openai.BadRequestError, match="makes embeddings only"):
            await client.chat.completions.create(model=model, messages=messages)
        many = client.embeddings.create(model=model, input=["many more of these"] * 2000)
        call = asyncio.ensure_future(many)
        while not any(receipt.stop is None for receipt in await api.receipts()):
            await asyncio.sleep(0.01)
        call.cancel()
        async with asyncio.timeout(10):
            while (last := (await api.receipts())[-1]).stop is None:
                await asyncio.sleep(0.01)
    assert last.stop == "cancelled"
    assert last.release_digest == installed.card.digest


async def test_an_installed_one_is_served_but_never_the_default(
    installed: Installed, tmp_path: Path
):
    pooled = tmp_path / "pooled.gguf"
    pooled.write_bytes(with_mean_pooling(installed.path.read_bytes()))
    library = Library(tmp_path / "data", SystemClock())
    library.import_file(pooled, name="a-pooled")
    library.import_file(installed.path, name="b-chat")
    settings = load_settings({"data": tmp_path / "data", "model": "b-chat"})
    served = get_ready(settings, SystemClock(), ask=False)
    models = [place.engine.model for place in served.places]
    assert [model.id for model in models] == ["b-chat", "a-pooled"]
    assert [model.abilities.embeddings for model in models] == [False, True]
    assert isinstance(served.places[1].engine, LlamaEmbedder)
    assert [card.model_id for card in served.cards] == ["b-chat", "a-pooled"]
