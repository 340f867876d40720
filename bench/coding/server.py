"""The model under all agents: one `headrace up` on a data folder of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import msgspec

from headrace.config.runfile import read_live

HEADRACE = (sys.executable, "-m", "headrace")
UNASKED = ("--yes", "--no-browser", "--port", "0")
START_S_MAX = 300.0
RECEIPTS_MAX = 1000
END_S_MAX = 10.0


class Served(msgspec.Struct, frozen=True):
    """Where agents reach the model, and its name there; `key` is this run's own."""

    url: str
    key: str
    key_id: str
    model: str
    data: Path


class Spent(msgspec.Struct):
    """Tokens of all model calls of one run, from their receipts."""

    calls: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0


def _headrace(*words: str, data: Path) -> str:
    command = [*HEADRACE, *words, "--data", str(data)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _install(model: str, data: Path) -> str:
    """The model's id; a file is imported first, under its own name."""
    path = Path(model)
    if not path.is_file():
        return model
    if not (data / "models" / path.stem).is_dir():
        _headrace("models", "import", str(path), "--name", path.stem, data=data)
    return path.stem


@contextlib.contextmanager
def serving(model: str, data: Path, threads: int | None) -> Generator[Served]:
    """Serve a model, by id or path of a GGUF file, until the block ends.

    A Headrace that runs on the data folder already is used, and left running.
    """
    data.mkdir(parents=True, exist_ok=True)
    name = _install(model, data)
    process = None
    if (run := read_live(data)) is None:
        environment = {} if threads is None else {"HEADRACE_ENGINE_THREADS": str(threads)}
        process = subprocess.Popen(
            [*HEADRACE, "up", *UNASKED, "--model", name, "--data", str(data)],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + START_S_MAX
        while (run := read_live(data)) is None:
            if process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit("headrace up did not start")
            time.sleep(0.1)
    try:
        made = _headrace("keys", "create", "bench", "--purpose", "bench", "--json", data=data)
        key = msgspec.json.decode(made)
        yield Served(run.url, key["secret"], key["id"], name, data)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait()


def complete(served: Served, prompt: str, *, max_tokens: int, s_max: float) -> str:
    """One greedy answer to one prompt.

    Raises:
        TimeoutError: It took longer than `s_max`.
    """
    body = {
        "model": served.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    request = urllib.request.Request(
        f"{served.url}/v1/chat/completions",
        msgspec.json.encode(body),
        {"content-type": "application/json", "authorization": f"Bearer {served.key}"},
    )
    with urllib.request.urlopen(request, timeout=s_max) as answer:
        return msgspec.json.decode(answer.read())["choices"][0]["message"]["content"] or ""


def spent(served: Served, begun_ns: int, ended_ns: int) -> Spent:
    """What the calls used that this run's key began in a span of time."""
    give_up = time.monotonic() + END_S_MAX
    while None in (each := _usages(served, begun_ns, ended_ns)) and time.monotonic() < give_up:
        time.sleep(0.2)  # an agent that was cut off left a call, which is about to end
    known = [usage for usage in each if usage is not None]
    return Spent(
        len(each),
        sum(usage["input"] for usage in known),
        sum(usage["cached"] for usage in known),
        sum(usage["output"] for usage in known),
    )


def _usages(served: Served, begun_ns: int, ended_ns: int) -> list[dict[str, int] | None]:
    shown = _headrace("receipts", "--json", "--limit", str(RECEIPTS_MAX), data=served.data)
    return [
        receipt["usage"]
        for receipt in msgspec.json.decode(shown)["receipts"]
        if receipt["key_id"] == served.key_id and begun_ns <= receipt["started_ns"] <= ended_ns
    ]
