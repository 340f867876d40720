"""LoRA adapters on the real default model, from the setting to the release of a receipt."""

import hashlib
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from headrace.catalog.card import Card
from headrace.catalog.library import Installed, Library
from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import CatalogError, ConfigError, EngineUnavailable
from headrace.core.events import Delta
from headrace.serving.engine import Engine
from headrace.store.database import Database
from headrace.store.schema import release
from headrace.up.house import open_house
from headrace.up.models import Served, get_ready
from headrace.up.screen import start_screen
from support.engines import ask
from support.gguf import Tensor, build

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="session")]

WIDTH = 576
"""Of the default model's embeddings, so of its queries."""


def adapter(value: float, *, width: int = WIDTH, architecture: str = "llama") -> bytes:
    """A LoRA adapter of rank 1 for the queries of the first layer, all its numbers `value`."""
    metadata = {
        "general.type": "adapter",
        "general.architecture": architecture,
        "adapter.type": "lora",
        "adapter.lora.alpha": 1.0,
    }
    tensors = (
        Tensor("blk.0.attn_q.weight.lora_a", (width, 1)),
        Tensor("blk.0.attn_q.weight.lora_b", (1, width), offset=4 * width),
    )
    data = struct.pack("<f", value) * (2 * width)
    return build(metadata, tensors, data_bytes=0) + data


@pytest.fixture(scope="module")
def data(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the default model in it, and another one to be served beside it."""
    folder = tmp_path_factory.mktemp("lora")
    library = Library(folder)
    library.import_file(installed.path, name=installed.card.model_id)
    library.import_file(installed.path, name="beside")
    return folder


def settings_of(data: Path, installed: Installed, *adapters: Path) -> Settings:
    return load_settings(
        {
            "data": data,
            "model": installed.card.model_id,
            "engine_threads": 1,
            "engine_slots": 1,
            "engine_context_tokens": 512,
            "engine_batch_tokens": 64,
            "engine_lora": adapters,
        }
    )


def ready(data: Path, installed: Installed, *adapters: Path) -> Served:
    return get_ready(settings_of(data, installed, *adapters), SystemClock(), ask=False)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@asynccontextmanager
async def started(engine: Engine) -> AsyncGenerator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def logprobs(served: Served) -> Sequence[tuple[str, float]]:
    """The first tokens of a greedy answer of the default model, and how likely they were."""
    async with started(served.places[0].engine) as engine:
        asked = ask("What is the capital of France?", logprobs=0, max_tokens=6)
        events = [event async for event in engine.stream(asked)]
    found = [one for event in events if isinstance(event, Delta) for one in event.logprobs]
    assert found
    return [(one.token, one.logprob) for one in found]


async def test_an_adapter_changes_answers_and_a_zero_one_does_not(
    data: Path, installed: Installed, tmp_path: Path
):
    plain = await logprobs(ready(data, installed))
    big = written(tmp_path / "big.gguf", adapter(1.0))
    zero = written(tmp_path / "zero.gguf", adapter(0.0))
    assert await logprobs(ready(data, installed, zero)) == plain
    changed = await logprobs(ready(data, installed, zero, big))
    assert changed[0][1] != pytest.approx(plain[0][1], abs=0.01)


async def test_adapters_make_another_release_of_the_default_model_alone(
    data: Path, installed: Installed, tmp_path: Path
):
    one, two = adapter(1.0), adapter(2.0)
    paths = (written(tmp_path / "one.gguf", one), written(tmp_path / "two.gguf", two))
    base = installed.card.digest
    served = ready(data, installed, *paths)
    lines = f"{base}\n{digest_of(one)}\n{digest_of(two)}\n"
    infos = [place.engine.info for place in served.places]
    assert [info.digest for info in infos] == [digest_of(lines.encode()), base]
    backwards = ready(data, installed, *reversed(paths))
    assert backwards.places[0].engine.info.digest not in {infos[0].digest, base}
    assert ready(data, installed).places[0].engine.info.digest == base


async def test_the_release_is_adopted_and_its_adapters_are_shown(
    data: Path, installed: Installed, tmp_path: Path
):
    path = written(tmp_path / "style\x1b.gguf", adapter(1.0))
    settings = settings_of(data, installed, path)
    served = ready(data, installed, path)
    engine = served.places[0].engine
    async with open_house(settings, served, SystemClock(), "http://127.0.0.1:1"):
        pass
    database = Database.at(data, None)
    try:
        chosen = select(release.c.card).where(release.c.digest == engine.info.digest)
        row = await database.read(lambda connection: connection.execute(chosen).one())
    finally:
        database.close()
    card = msgspec.json.decode(row.card)
    assert card["base_digest"] == installed.card.digest
    digest = digest_of(adapter(1.0))
    size = path.stat().st_size
    assert card["adapters"] == [{"file": path.name, "digest": digest, "bytes": size}]
    assert card["bytes"] == installed.card.bytes + size
    assert shown(served.default, engine, data).startswith(
        f"{installed.card.display_name} + style\\x1b.gguf · "
    )
    assert engine.info.digest[:19] in shown(served.default, engine, data)


def shown(card: Card | None, engine: Engine, data: Path) -> str:
    """The model line of the start screen."""
    screen = start_screen(card=card, engine=engine, url="", link_path="", key=None, data=data)
    lines = [line.split(maxsplit=1) for line in screen.splitlines() if line.startswith("  model")]
    assert len(lines) == 1
    return lines[0][1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no adapter at all", "invalid magic"),
        (adapter(1.0)[:-100], "corrupted or incomplete"),
        (adapter(1.0, width=64), "incorrect shape"),
        (adapter(1.0, architecture="qwen3"), "arch mismatch"),
        (build(), "expect general.type to be 'adapter'"),
    ],
    ids=["text", "cut", "shape", "architecture", "model"],
)
async def test_a_file_that_is_no_adapter_of_this_model_is_refused_with_the_reason(
    data: Path, installed: Installed, tmp_path: Path, content: bytes, reason: str
):
    sound = written(tmp_path / "sound.gguf", adapter(0.0))
    wrong = written(tmp_path / "wrong.gguf", content)
    served = ready(data, installed, sound, wrong)
    with pytest.raises(EngineUnavailable, match=reason) as caught:
        await served.places[0].engine.start()
    assert f"cannot load {wrong} as a LoRA adapter" in caught.value.message


async def test_an_adapter_that_cannot_be_read_is_told_before_anything_is_fetched(
    installed: Installed, tmp_path: Path
):
    empty = tmp_path / "data"
    for path, reason in ((tmp_path / "gone.gguf", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"^engine_lora: .*{reason}"):
            ready(empty, installed, path)
    assert not (empty / "models").exists()


async def test_a_scripted_model_takes_no_adapter(tmp_path: Path):
    path = written(tmp_path / "style.gguf", adapter(1.0))
    flags = {"data": tmp_path, "model": "scripted:demo.json", "engine_lora": path}
    with pytest.raises(ConfigError, match=r"engine_lora .* scripted"):
        get_ready(load_settings(flags), SystemClock(), ask=False)


async def test_an_adapter_altered_since_the_start_is_not_loaded(
    data: Path, installed: Installed, tmp_path: Path
):
    path = written(tmp_path / "style.gguf", adapter(1.0))
    verify = ready(data, installed, path).places[0].verify
    assert verify is not None
    verify()
    path.write_bytes(adapter(2.0))
    with pytest.raises(CatalogError, match="engine_lora was altered"):
        verify()
