"""Kill -9 a loaded Headrace with two workers, again and again, then prove its books.

Calls of a local model and of an upstream, streamed and whole, some of them hung up on, run under
prices, limits and a hard budget that they keep reaching. Workers are killed in mid-life, the
control process ends each life, alone or with everybody. After each life every charge that a client
was told of must be in the journals once, the budget must not be overshot, nobody may hold a place,
and the ledger must verify.

What it has done so far stands in `crashes.json` of its folder, so that a long run can be cut and
gone on with. Every so often it goes on with a fresh data folder: proving reads everything.
"""

import asyncio
import contextlib
import http.client
import json
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec

from headrace.ledger.reader import read, workers
from headrace.ledger.records import GenerationClosed, GenerationOpened, decode
from headrace.ledger.verify import verify
from headrace.store.database import Database
from support.running import Running, write_script
from support.upstream import replied, streamed

_CALLERS = 6
# So many calls end, or so much time passes, until the next kill.
_CALLS_MAX = 60
_WAIT_S_MAX = 2.0
_INSTANT_S_MAX = 0.02
_KILLED_WORKERS_MAX = 3
_POINTS_PER_FOLDER = 200
_GONE_S_MAX = 20.0
_SCRIPT = {"model": {"id": "parrot"}, "token_delay_ms": 1}
_INPUT_NANO, _OUTPUT_NANO = 3_000, 15_000  # for one token
_RATES = {"input": "3", "output": "15"}  # dollars for a million
_MODELS = ("parrot", "far-away")
_WORDS = [f" word{number}" for number in range(12)]
_STREAMED, _WHOLE = streamed("openai_chat", *_WORDS), replied("openai_chat", *_WORDS)
_PIECE_S = 0.002


class Crashes(msgspec.Struct):
    """What a run has come to: kills, charges that clients were told of, and its data folder."""

    points: int = 0
    lives: int = 0
    workers_killed: int = 0
    acknowledged: int = 0
    refused: int = 0
    folder: int = 1
    limit_nano: int = 0
    budget_id: str | None = None
    # By generation: what it must have been charged.
    charged: dict[str, int] = {}


def crash_again_and_again(
    folder: Path, points: int, seed: int, report: Callable[[str], None]
) -> Crashes:
    """Kill at `points` random instants and check what each life has left."""
    state_file = folder / "crashes.json"
    state = Crashes()
    if state_file.exists():
        state = msgspec.json.decode(state_file.read_bytes(), type=Crashes)
    with _upstream() as url:
        while state.points < points:
            if state.points >= state.folder * _POINTS_PER_FOLDER:
                _prove_the_last(folder / f"life-{state.folder}", url, state)
                state = msgspec.structs.replace(
                    state, folder=state.folder + 1, limit_nano=0, budget_id=None, charged={}
                )
            _one_life(folder / f"life-{state.folder}", url, state, seed)
            state_file.write_bytes(msgspec.json.encode(state))
            report(
                f"{state.points} kills ({state.workers_killed} of workers),"
                f" {state.acknowledged} charges acknowledged, {state.refused} calls refused"
            )
        _prove_the_last(folder / f"life-{state.folder}", url, state)
    return state


def _prove_the_last(folder: Path, url: str, state: Crashes) -> None:
    """Start once more, and stop as it should be."""
    running = _start(folder, url)
    try:
        prove(running, state)
    finally:
        code = running.stop()
    assert code == 0, running.screen


def _one_life(folder: Path, url: str, state: Crashes, seed: int) -> None:
    """Start, prove what the life before left, load, kill."""
    chance = random.Random(f"{seed} {state.lives}")
    running = _start(folder, url)
    try:
        prove(running, state)
        _set_terms(running, state, chance)
        load = _Load(running, random.Random(f"{seed} {state.lives} load"))
        load.start()
        for _ in range(chance.randint(0, _KILLED_WORKERS_MAX)):
            load.wait(chance)
            killed = _kill(_workers(running)[-1:])
            state.workers_killed += killed
            state.points += killed
        load.wait(chance)
        pids = [*_workers(running), running.process.pid]
        chance.shuffle(pids)
        if chance.random() < 0.5:
            _kill(pids)  # in any order, as when the machine goes down
        else:
            _kill([running.process.pid])
    finally:
        running.kill()
    _until_gone(pids)
    state.points += 1
    state.lives += 1
    told, refused = load.end()
    state.charged |= told
    state.acknowledged += len(told)
    state.refused += refused


def prove(running: Running, state: Crashes) -> None:
    """What a start has made of the life before must be right."""
    for limit in _admin(running, "GET", "/admin/limits")["limits"]:
        assert limit["kind"] != "concurrent" or limit["used"] == 0, limit
    charged: dict[str, int] = {}
    begun: set[str] = set()
    directory = running.data / "journal"
    for worker in workers(directory):
        for record in read(directory, worker):
            said = decode(record)
            if isinstance(said, GenerationOpened):
                begun.add(said.id)
            elif isinstance(said, GenerationClosed):
                assert said.id not in charged, f"{said.id} was charged twice"
                charged[said.id] = said.price_nano
    assert begun == charged.keys(), "calls are left open"
    wrong = {one: nano for one, nano in state.charged.items() if charged.get(one) != nano}
    assert not wrong, f"charges are lost or changed: {wrong}"
    assert sum(charged.values()) <= state.limit_nano, "the budget is overshot"
    database = Database.at(running.data, None)
    verdict = database.read_now(lambda connection: verify(connection, directory, lambda _: None))
    database.close()
    assert not verdict.problems, verdict.problems[:5]


def _set_terms(running: Running, state: Crashes, chance: random.Random) -> None:
    """Prices and limits once, and every time a budget that this life will spend."""
    if state.budget_id is None:
        for model in _MODELS:
            body = {"side": "price", "target": model, "rates": _RATES}
            _admin(running, "POST", "/admin/prices", body)
        node = {"node_kind": "organisation"}
        node["node_id"] = _admin(running, "GET", "/admin/me")["organisation"]["id"]
        for kind, period, maximum in (
            ("concurrent", "now", 5),
            ("requests", "minute", 100_000),
            ("output_tokens", "day", 10**9),
        ):
            limit = {"kind": kind, "period": period, "maximum": maximum}
            _admin(running, "PUT", "/admin/limits", node | limit)
        state.limit_nano = _drawn_nano(chance)
        budget = {"period": "once", "limit_nano": state.limit_nano, "hard": True}
        made = _admin(running, "POST", "/admin/budgets", node | budget)
        state.budget_id = made["id"]
        return
    (budget,) = _admin(running, "GET", "/admin/budgets")["budgets"]
    assert budget["spent_nano"] <= state.limit_nano
    more = budget["spent_nano"] + _drawn_nano(chance)
    state.limit_nano = max(state.limit_nano, more)
    path = f"/admin/budgets/{state.budget_id}"
    _admin(running, "PATCH", path, {"limit_nano": state.limit_nano})


def _drawn_nano(chance: random.Random) -> int:
    """Room for one call of the dearest, or for all that a life can make, or in between."""
    return round(10 ** chance.uniform(7, 10.5))


class _Load:
    """Callers that call until nobody answers."""

    def __init__(self, running: Running, chance: random.Random) -> None:
        self._address = running.url.removeprefix("http://")
        self._key = running.run_file.credential
        self._seeds = [chance.random() for _ in range(_CALLERS)]
        self._stopped = threading.Event()
        self._told: dict[str, int] = {}
        self._refused = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._call_on, args=(random.Random(seed),), daemon=True)
            for seed in self._seeds
        ]
        for thread in self._threads:
            thread.start()

    def wait(self, chance: random.Random) -> None:
        """Until some more calls have ended, and then an instant in the middle of others."""
        ended = len(self._told) + self._refused + chance.randrange(_CALLS_MAX)
        until = time.monotonic() + _WAIT_S_MAX
        while len(self._told) + self._refused < ended and time.monotonic() < until:
            time.sleep(_INSTANT_S_MAX / 4)
        time.sleep(chance.uniform(0, _INSTANT_S_MAX))

    def end(self) -> tuple[dict[str, int], int]:
        """What was told to be charged, and how many calls were refused."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self._told, self._refused

    def _call_on(self, chance: random.Random) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self._call(chance)

    def _call(self, chance: random.Random) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            for _ in range(chance.randint(1, 20)):
                stream = chance.random() < 0.5
                body: dict[str, Any] = {
                    "model": chance.choice(_MODELS),
                    "messages": [{"role": "user", "content": "say " * chance.randint(1, 20)}],
                    "stream": stream,
                }
                if stream:
                    body["stream_options"] = {"include_usage": True}
                if chance.random() < 0.5:
                    body["max_tokens"] = chance.randint(1, 50)
                headers = {"authorization": f"Bearer {self._key}"}
                connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                answer = connection.getresponse()
                if stream and answer.status == 200 and chance.random() < 0.1:
                    answer.read1(64)
                    return  # hangs up
                content = answer.read()
                if answer.status != 200:
                    self._refused += 1
                    time.sleep(0.05)
                    continue
                self._note(answer.headers["headrace-generation-id"], content, stream=stream)
        finally:
            connection.close()

    def _note(self, identifier: str, content: bytes, *, stream: bool) -> None:
        """Remember what a whole answer says that it used; an error in it is no charge."""
        if stream:
            if not content.endswith(b"data: [DONE]\n\n") or b'"error"' in content:
                return
            content = content.split(b"\n\n")[-3].removeprefix(b"data: ")
        usage = json.loads(content)["usage"]
        spent = usage["prompt_tokens"] * _INPUT_NANO + usage["completion_tokens"] * _OUTPUT_NANO
        self._told[identifier] = spent


def _start(folder: Path, url: str) -> Running:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "headrace.toml"
    config.write_text(
        f"""
        workers = 2
        [upstreams.far]
        dialect = "openai_chat"
        url = "{url}"
        read_tool_calls = false
        [models.far-away]
        targets = [{{ upstream = "far", model = "m" }}]
        context_tokens = 1000
        """
    )
    model = write_script(folder / "script.json", _SCRIPT)
    return Running(folder / "data", model, config=str(config))


@contextlib.contextmanager
def _upstream() -> Generator[str]:
    """An upstream in an event loop of its own that answers until the end; gives its address."""
    told: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(told.put)), daemon=True)
    thread.start()
    port, stop = told.get(timeout=10)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop()
        thread.join()


async def _serve(tell: Callable[[tuple[int, Callable[[], object]]], None]) -> None:
    """Serve, and tell at which port and how to end it."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        tell((port, lambda: loop.call_soon_threadsafe(over.set)))
        await over.wait()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer calls of one connection, piece by piece, so that kills come in between."""
    with (
        contextlib.closing(writer),
        contextlib.suppress(ConnectionError, asyncio.IncompleteReadError),
    ):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            made = _STREAMED if asked.get("stream") else _WHOLE
            kind = b"text/event-stream" if asked.get("stream") else b"application/json"
            size = sum(map(len, made.pieces))
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, size)
            )
            for piece in made.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(_PIECE_S)


def _workers(running: Running) -> list[int]:
    return [pid for pid in running.engine_pids() if b"up.workers.main" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    """What a process was started with; empty for one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _kill(pids: list[int]) -> int:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _until_gone(pids: list[int]) -> None:
    """Wait until those that lost their parent have ended as well."""
    until = time.monotonic() + _GONE_S_MAX
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "a worker outlives its control process"
        time.sleep(0.01)


def _admin(running: Running, method: str, path: str, body: object = None) -> Any:
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=60)
    headers = {"authorization": f"Bearer {running.run_file.credential}"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status < 300, content
    return json.loads(content) if content else None
