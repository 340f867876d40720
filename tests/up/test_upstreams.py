import asyncio
import re
import sys
from pathlib import Path

import pytest

from headrace.config.routing import read_routing
from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import ConfigError
from headrace.core.models import Abilities, Model
from headrace.serving.engines.process import ProcessEngine
from headrace.serving.engines.remote import RemoteEngine
from headrace.serving.pool import Place
from headrace.up import upstreams as module
from headrace.up.routing import make_router
from headrace.up.upstreams import Upstreams, first_targets, listed_targets, make_upstreams, running
from support.serving import scripted

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "support" / "foreign_engine.py"
GUIDE = ROOT / "docs" / "guides" / "upstreams.md"
INSTALLED = {"smollm2-135m-instruct": Model("smollm2-135m-instruct", "SmolLM2", 8192, Abilities())}
TWO = """
[upstreams.far]
dialect = "anthropic"
url = "https://api.anthropic.com/v1"

[upstreams.mine]
dialect = "openai_chat"
command = ["vllm", "serve", "--port", "{port}"]

[models.a]
targets = [ { upstream = "far", model = "x" }, { upstream = "mine", model = "y" } ]
context_tokens = 1000

[models.b]
targets = [ { upstream = "far", model = "x", weight = 2 } ]
fallbacks = [ { model = "smollm2-135m-instruct" } ]
context_tokens = 1000
"""


def made(folder: Path, text: str) -> Upstreams:
    file = folder / "headrace.toml"
    file.write_text(text)
    routing = load_settings({}, file).routing
    return make_upstreams(routing, INSTALLED, data=folder, clock=SystemClock())


def test_each_pair_of_upstream_and_model_is_one_engine(tmp_path: Path):
    upstreams = made(tmp_path, TWO)
    assert set(upstreams.engines) == {"far/x", "mine/y"}
    assert type(upstreams.engines["far/x"]) is RemoteEngine
    assert isinstance(upstreams.engines["mine/y"], ProcessEngine)
    assert [route.model.id for route in upstreams.routes] == ["a", "b"]
    for route in upstreams.routes:
        for target in (*route.targets, *route.fallbacks):
            assert target.engine_id in upstreams.engines or target.engine_id in INSTALLED


def test_list_prices_are_those_of_somebody_elses_servers(tmp_path: Path):
    upstreams = made(tmp_path, TWO)
    routing = load_settings({}, tmp_path / "headrace.toml").routing
    listed = listed_targets(routing, upstreams.routes)
    assert {name: (one.url, one.model) for name, one in listed.items()} == {
        "far/x": ("https://api.anthropic.com/v1", "x")
    }
    assert first_targets(upstreams.routes) == {"a": "far/x", "b": "far/x"}
    ours = made(tmp_path, TWO.replace('.com/v1"', '.com/v1"\nmachine = "gpu"'))
    routing = load_settings({}, tmp_path / "headrace.toml").routing
    assert listed_targets(routing, ours.routes) == {}


def test_targets_know_their_machine_and_their_upstream(tmp_path: Path):
    upstreams = made(tmp_path, TWO.replace('.com/v1"', '.com/v1"\nmachine = "gpu"'))
    local = scripted(tmp_path / "local.json", model={"id": "smollm2-135m-instruct"})
    router = make_router(
        [Place(local)],
        load_settings({}, tmp_path / "headrace.toml"),
        SystemClock(),
        upstreams=upstreams.engines,
        routes=upstreams.routes,
    )
    assert {one.id: (one.machine, one.upstream) for one in router.targets()} == {
        "smollm2-135m-instruct": ("local", None),
        "far/x": ("gpu", "far"),
        "mine/y": ("local", "mine"),
    }


async def test_what_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "_RETRY_S_FIRST", 0.01)
    program = f"ls {tmp_path}/free && exec {sys.executable} -P {FOREIGN} {{port}}"
    upstreams = made(
        tmp_path,
        "[upstreams.it]\ndialect = 'openai_chat'\n"
        f"command = ['/bin/sh', '-c', '{program}']\n"
        "[models.m]\ntargets = [ { upstream = 'it', model = 'm' } ]\ncontext_tokens = 9\n",
    )
    (engine,) = upstreams.engines.values()
    async with running(upstreams), asyncio.timeout(10):
        while "tried again" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not engine.ready()
        (tmp_path / "free").touch()
        while not engine.ready():
            await asyncio.sleep(0.01)
    assert not engine.ready()


def test_without_tables_there_is_nothing(tmp_path: Path):
    assert made(tmp_path, "port = 1") == Upstreams()


def test_a_model_that_is_not_installed_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="not installed"):
        made(tmp_path, "[models.a]\ntargets = [ { model = 'other' } ]\ncontext_tokens = 1")


def test_the_examples_of_the_guide_are_read(tmp_path: Path):
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    servers = "\n".join(block for block in blocks if "[upstreams" in block)
    for block in blocks:
        made(tmp_path, block if "[upstreams" in block else servers + block)


def test_the_guide_names_every_field():
    from headrace.config import routing  # noqa: PLC0415 - its structs are looked into here alone

    page = GUIDE.read_text(encoding="utf-8")
    kinds = (routing.Upstream, routing.ModelRoute, routing.Limits)
    names = {name for kind in kinds for name in kind.__struct_fields__}
    assert {name for name in names if f"| `{name}` |" not in page} == set()


def test_a_file_without_its_tables_says_nothing_of_them():
    assert read_routing({}, Path("headrace.toml")).models == {}
