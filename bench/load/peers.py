"""The gateways that are compared. Each is started as its users do, in front of one upstream.

Every gateway knows the models `DIALECT-MODE`: the upstream in that dialect and of that way to
stream. The bare relay and the upstream itself know paths instead.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from headrace.config.runfile import read_live
from headrace.net.operator import ask
from load import canned
from load.machine import Call, free_port, stop, wait_for
from load.upstream import MODES, Upstream

_HERE = Path(__file__).parent
_LITELLM = "litellm[proxy]"
_PLACES = 20_000


class Scenario(msgspec.Struct, frozen=True):
    """What is asked, and how: `connections` clients, each asking again and again."""

    name: str
    title: str
    connections: int
    stream: bool = False
    client: str = "openai_chat"
    upstream: str = "openai_chat"
    mode: str = "burst"

    @property
    def model(self) -> str:
        """The model's public name at the gateways."""
        return f"{self.upstream}-{self.mode}"


class Peer(msgspec.Struct):
    """A running gateway. `by_path` tells that it has paths where others have models."""

    name: str
    version: str
    pid: int
    port: int
    headers: dict[str, str] = {}
    by_path: bool = False

    def call(self, scenario: Scenario) -> Call:
        """What a client sends to it."""
        path = canned.PATHS[scenario.client]
        if self.by_path:
            path = MODES[scenario.mode] + path
        headers = dict(self.headers)
        if scenario.client == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
        body = canned.request(scenario.client, scenario.model, stream=scenario.stream)
        return Call(self.port, path, headers, body)

    def can(self, scenario: Scenario) -> bool:
        """Whether it can do this at all: who knows paths only cannot translate."""
        return not self.by_path or scenario.client == scenario.upstream


def _models() -> Generator[tuple[str, str, str]]:
    for dialect in canned.PATHS:
        for mode in MODES:
            yield f"{dialect}-{mode}", dialect, mode


@contextmanager
def direct(upstream: Upstream, folder: Path) -> Generator[Peer]:
    """The upstream itself, with nothing in front of it."""
    del folder
    yield Peer("direct", "", upstream.pid, upstream.port, by_path=True)


@contextmanager
def bare(upstream: Upstream, folder: Path) -> Generator[Peer]:
    """The floor: `relay.py` on uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "relay:app", "--app-dir", str(_HERE)]
    command += ["--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    environment = os.environ | {"BENCH_UPSTREAM": upstream.address()}
    log_file = folder / "bare.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-access-log"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(port, process, log_file)
        yield Peer("bare", "on uvicorn", process.pid, port, by_path=True)
    finally:
        stop(process)


def headrace(
    workers: int, *, ledger: bool = False
) -> Callable[[Upstream, Path], AbstractContextManager[Peer]]:
    """Headrace with so many API workers, keys and receipts on.

    With `ledger` each model has a price, the organisation a hard budget, and the key two limits.
    """

    @contextmanager
    def start(upstream: Upstream, folder: Path) -> Generator[Peer]:
        name = "headrace" if workers == 1 else f"headrace-{workers}"
        if ledger:
            name += "-ledger"
        data, config = folder / name, folder / f"{name}.toml"
        config.write_text(_headrace_config(upstream, workers))
        environment = os.environ | {"HEADRACE_CONFIG": str(config), "HEADRACE_DATA": str(data)}
        program = [sys.executable, "-m", "headrace"]
        options = ["--yes", "--no-browser", "--port", "0"]
        log_file = folder / f"{name}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*program, "up", *options], env=environment, stdout=log, stderr=log
            )
        try:
            port = int(_wait_for_run(data, process, log_file).rpartition(":")[2])
            made = subprocess.run(
                [*program, "keys", "create", "bench", "--json"],
                env=environment,
                check=True,
                capture_output=True,
            )
            made_key = msgspec.json.decode(made.stdout)
            key = made_key["secret"]
            if ledger:
                _turn_ledger_on(data, made_key["id"])
            said = subprocess.run([*program, "--version"], check=True, capture_output=True)
            version = said.stdout.decode().split()[-1]
            headers = {"authorization": f"Bearer {key}"}
            yield Peer(name, version, process.pid, port, headers)
        finally:
            stop(process)

    return start


def _turn_ledger_on(data: Path, key_id: str) -> None:
    """Nothing of it is ever reached, so that every call runs through all of it."""
    run = read_live(data)
    assert run is not None
    me = msgspec.json.decode(ask(run, "GET", "/admin/me"))
    for name, _, _ in _models():
        price = {"side": "price", "target": name, "rates": {"input": "0.15", "output": "0.60"}}
        ask(run, "POST", "/admin/prices", price)
    organisation = {"node_kind": "organisation", "node_id": me["organisation"]["id"]}
    budget = {"period": "month", "limit_nano": 10**18, "hard": True}
    ask(run, "POST", "/admin/budgets", organisation | budget)
    for kind in ("requests", "output_tokens"):
        limit = {"kind": kind, "period": "minute", "maximum": 10**9}
        ask(run, "PUT", "/admin/limits", {"node_kind": "key", "node_id": key_id} | limit)


def _headrace_config(upstream: Upstream, workers: int) -> str:
    lines = ['model = "none"', f"running_requests_max = {_PLACES}"]
    if workers > 1:
        lines.append(f"workers = {workers}")
    for name, dialect, mode in _models():
        lines += [
            f"[upstreams.{name}]",
            f'url = "{upstream.address(mode)}/v1"',
            f'dialect = "{dialect}"',
            f"running_max = {_PLACES}",
            "silence_s = 3600.0",
            f"[models.{name}]",
            f'targets = [{{ upstream = "{name}", model = "canned-1" }}]',
            "context_tokens = 131072",
        ]
    return "\n".join(lines) + "\n"


def _wait_for_run(data: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    while (run := read_live(data)) is None:
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise SystemExit(f"headrace up did not start:\n{log.read_text()}")
    return run.url


def litellm(cache: Path) -> Callable[[Upstream, Path], AbstractContextManager[Peer]]:
    """LiteLLM's proxy, without keys and database, in an environment of its own in `cache`."""

    @contextmanager
    def start(upstream: Upstream, folder: Path) -> Generator[Peer]:
        home = environment_of("litellm", [_LITELLM], cache)
        config, port = folder / "litellm.json", free_port()
        config.write_bytes(msgspec.json.encode(_litellm_config(upstream)))
        command = [str(home / "bin/litellm"), "--config", str(config), "--port", str(port)]
        # It reads the prices that it ships instead of asking the network, and tells nobody.
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
        # Its own paths first: it starts programs of its environment by name.
        quiet["PATH"] = f"{home / 'bin'}:{os.environ['PATH']}"
        options = ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
        log_file = folder / "litellm.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*command, *options], env=os.environ | quiet, stdout=log, stderr=log
            )
        try:
            wait_for(port, process, log_file)
            version = version_of("litellm", home)
            yield Peer("litellm", version, process.pid, port)
        finally:
            stop(process)

    return start


def _litellm_config(upstream: Upstream) -> object:
    providers = {"anthropic": "anthropic", "openai_chat": "openai", "openai_responses": "openai"}
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"{providers[dialect]}/canned-1",
                "api_base": upstream.address(mode) + ("" if dialect == "anthropic" else "/v1"),
                "api_key": "none",
            },
        }
        for name, dialect, mode in _models()
    ]
    settings = {"use_chat_completions_url_for_anthropic_messages": True}
    return {"model_list": models, "litellm_settings": settings}


def environment_of(name: str, packages: list[str], cache: Path) -> Path:
    """A virtual environment with these packages, made once in `cache` by uv."""
    home = cache / name
    if not (home / "bin/python").exists():
        print(f"installing {' '.join(packages)} into {home}", flush=True)
        python = str(Path(sys.executable).resolve())
        subprocess.run(["uv", "venv", "--quiet", "--python", python, str(home)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(home / "bin/python")]
        subprocess.run([*install, *packages], check=True)
    return home


def version_of(package: str, home: Path) -> str:
    """The version of a package in an environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    command = [str(home / "bin/python"), "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
