from pathlib import Path

import pytest

from headrace.config.routing import LIMITS, Routing, machines_of, resolve
from headrace.config.settings import SETTINGS, load_settings
from headrace.core.errors import ConfigError
from headrace.core.models import Abilities, Model

WHOLE = """
[upstreams.anthropic]
dialect = "anthropic"
url = "https://api.anthropic.com/v1"
key = { env = "ANTHROPIC_API_KEY" }
silence_s = 30

[upstreams.vllm]
dialect = "openai_chat"
command = ["vllm", "serve", "Qwen/Qwen3-8B", "--port", "{port}"]

[models.claude-sonnet]
targets = [ { upstream = "anthropic", model = "claude-sonnet-5", weight = 3 },
            { upstream = "vllm", model = "Qwen/Qwen3-8B", timeout_s = 60 } ]
fallbacks = [ { model = "smollm2-135m-instruct" } ]
context_tokens = 200_000
abilities = { tools = true, thinking = true, vision = true }
"""
SMOLLM2 = Model("smollm2-135m-instruct", "SmolLM2", 8192, Abilities(tools=True))


@pytest.fixture(autouse=True)
def _empty_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.chdir(tmp_path)


def read(text: str) -> Routing:
    Path("headrace.toml").write_text(text)
    return load_settings({}).routing


def test_without_tables_nothing_is_routed():
    assert read("port = 1") == Routing()
    assert resolve(Routing(), {}) == ()


def test_a_route_names_its_targets_and_fallbacks_with_every_limit_decided():
    (route,) = resolve(read(WHOLE), {SMOLLM2.id: SMOLLM2})
    assert route.model.id == "claude-sonnet"
    assert route.model.context_tokens == 200_000
    assert route.model.abilities.vision
    first, second = route.targets
    assert (first.engine_id, first.upstream, first.weight) == (
        "anthropic/claude-sonnet-5",
        "anthropic",
        3,
    )
    assert (first.limits.silence_s, first.limits.timeout_s) == (30, LIMITS.timeout_s)
    assert (second.model, second.weight, second.limits.timeout_s) == ("Qwen/Qwen3-8B", 1, 60)
    (behind,) = route.fallbacks
    assert (behind.engine_id, behind.upstream) == (SMOLLM2.id, None)


def test_a_target_knows_the_machine_of_ours_that_it_runs_on():
    named = WHOLE.replace("silence_s = 30", 'silence_s = 30\nmachine = "gpu-1"')
    for text, machine in ((WHOLE, None), (named, "gpu-1")):
        (route,) = resolve(read(text), {SMOLLM2.id: SMOLLM2})
        assert [target.machine for target in route.targets] == [machine, "local"]
        assert route.fallbacks[0].machine == "local"
    assert machines_of(read(WHOLE)) == ("local",)
    assert machines_of(read(named)) == ("local", "gpu-1")
    own = WHOLE.replace("silence_s = 30", 'machine = "local"')
    assert machines_of(read(own)) == ("local",)
    with pytest.raises(ConfigError, match="machine must be a short name"):
        read(WHOLE.replace("silence_s = 30", 'machine = "gpu/1"'))


def test_an_installed_target_says_what_the_file_leaves_out():
    routing = read("[models.small]\ntargets = [ { model = 'smollm2-135m-instruct' } ]")
    (route,) = resolve(routing, {SMOLLM2.id: SMOLLM2})
    assert (route.model.context_tokens, route.model.abilities) == (8192, SMOLLM2.abilities)


def test_a_target_that_is_not_installed_is_told_with_the_command_that_gets_it():
    routing = read("[models.small]\ntargets = [ { model = 'smollm2-135m-instruct' } ]")
    with pytest.raises(ConfigError, match="not installed") as caught:
        resolve(routing, {})
    assert "headrace models pull smollm2-135m-instruct" in (caught.value.hint or "")


def test_limits_that_would_have_no_effect_are_refused():
    again = (
        WHOLE
        + """
[models.quick]
targets = [ { upstream = "anthropic", model = "claude-sonnet-5", timeout_s = 5 } ]
context_tokens = 200_000
"""
    )
    with pytest.raises(ConfigError, match=r"\[models.quick\]: anthropic/claude-sonnet-5") as caught:
        resolve(read(again), {SMOLLM2.id: SMOLLM2})
    assert "another name" in (caught.value.hint or "")
    resolve(read(again.replace("timeout_s = 5", "weight = 2")), {SMOLLM2.id: SMOLLM2})


@pytest.mark.parametrize(
    ("right", "wrong", "tells"),
    [
        ('dialect = "anthropic"', 'dialect = "claude"', "Invalid enum value 'claude'"),
        ('dialect = "anthropic"\n', "", "missing required field `dialect`"),
        ("silence_s = 30", "silence = 30", "unknown field `silence`"),
        ("silence_s = 30", "silence_s = -1", "silence_s must be a number of seconds"),
        ("silence_s = 30", "running_max = 0", "running_max must be at least 1"),
        ("silence_s = 30", "start_s = 0", "start_s must be"),
        ("silence_s = 30", "health = 'x'", "health must be a path"),
        ("silence_s = 30", "command = ['x', '{port}']", "either url or command"),
        ("silence_s = 30", "headers = { Authorization = 'x' }", "a credential"),
        ("silence_s = 30", 'headers = { x = "a\\nb" }', "cannot be set"),
        ("silence_s = 30", "headers = { 'a b' = 'x' }", "cannot be set"),
        ("silence_s = 30", "pass_environment = ['HEADRACE_DATA']", "not passed on"),
        ("https://api", "api", "not an address"),
        ("https://api", "ftp://api", "not an address"),
        ("anthropic.com/v1", "anthropic.com:x/v1", "not an address"),
        ("anthropic.com/v1", "anthropic.com/v1?key=1", "not an address"),
        ("https://api", "https://me:secret@api", "holds a user name"),
        ('{ env = "ANTHROPIC_API_KEY" }', "'sk-ant-1'", "key: Expected `object"),
        ('{ env = "ANTHROPIC_API_KEY" }', "{}", "one of env, file and command"),
        ('{ env = "ANTHROPIC_API_KEY" }', "{ env = 'A', file = 'b' }", "one of env, file"),
        ('{ env = "ANTHROPIC_API_KEY" }', "{ command = [] }", "command is empty"),
        ("{port}", "8000", "holds no {port}"),
        ("weight = 3", "weight = 0", "weight must be more than 0"),
        ("weight = 3", "wight = 3", "unknown field `wight`"),
        ('upstream = "vllm"', 'upstream = "vlm"', "no upstream is named 'vlm'"),
        ("context_tokens = 200_000", "", "context_tokens is missing"),
        ("context_tokens = 200_000", "context_tokens = 0", "at least 1"),
        ("vision = true", "visoin = true", "unknown field `visoin`"),
        ("[models.claude-sonnet]", "[models.claude-sonnet]\nx = 1", "unknown field `x`"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_table(right: str, wrong: str, tells: str):
    assert right in WHOLE
    with pytest.raises(ConfigError) as caught:
        read(WHOLE.replace(right, wrong, 1))
    assert tells in caught.value.message
    assert "headrace.toml: [" in caught.value.message
    assert "sk-ant" not in caught.value.message
    assert "secret" not in caught.value.message


def test_an_unknown_field_of_a_target_lists_those_that_are_known():
    with pytest.raises(ConfigError) as caught:
        read(WHOLE.replace("weight = 3", "wight = 3"))
    assert "weight" in (caught.value.hint or "")


def test_a_table_must_be_one():
    with pytest.raises(ConfigError, match="upstreams is not a table"):
        read("upstreams = 1")


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://10.1.2.3/v1", True),
        ("http://ollama:11434/v1", True),
        ("http://gpu.lan/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
    ],
)
def test_what_is_near_is_told_by_its_name(url: str, *, near: bool):
    routing = read(f"[upstreams.it]\ndialect = 'openai_chat'\nurl = '{url}'")
    assert routing.upstreams["it"].is_near() is near
