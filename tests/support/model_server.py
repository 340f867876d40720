"""A model of our own making behind the Messages API, in a thread; it keeps every request.

Each request must hold together by itself and extend the one before it; `check` says so.
"""

import http.server
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headrace.agent import prompt
from headrace.core.requests import Request
from headrace.wire import anthropic
from support.running import clean_environment

MODEL = "scripted-70b"
Block = dict[str, Any]
Turn = list[Block] | int
"""Blocks of an answer, or the status of a refusal."""


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def call(name: str, **arguments: Any) -> Block:
    return {"type": "tool_use", "name": name, "input": arguments}


class ModelServer:
    """Plays turns in order; the last one again and again."""

    def __init__(self, *turns: Turn) -> None:
        self.turns: Sequence[Turn] = turns
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.hang = threading.Event()
        self.asked = threading.Semaphore(0)
        played = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                model = {"type": "model", "id": MODEL, "display_name": MODEL}
                model |= {"max_input_tokens": 32_768, "created_at": "2026-01-01T00:00:00Z"}
                self.send(200, json.dumps({"data": [model], "has_more": False}).encode())

            def do_POST(self) -> None:
                played.headers.append({name.lower(): v for name, v in self.headers.items()})
                body = self.rfile.read(int(self.headers["content-length"]))
                number = len(played.bodies)
                played.bodies.append(body)
                played.asked.release()
                turn = played.turn(number, body)
                if isinstance(turn, int):
                    kind = "invalid_request_error" if turn == 400 else "api_error"
                    error = {"type": kind, "message": "refused by the test"}
                    self.send(turn, json.dumps({"type": "error", "error": error}).encode())
                elif turn == [{"type": "hang"}]:
                    played.hang.wait(30)
                else:
                    self.send(200, stream(number, turn))

            def send(self, status: int, body: bytes) -> None:
                with suppress(ConnectionError):  # who asked may have been killed
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                del format, args

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def turn(self, number: int, body: bytes) -> Turn:
        """The answer to a request, of which `number` came before."""
        del body
        return self.turns[min(number, len(self.turns) - 1)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def play(self, *turns: Turn) -> None:
        """Begin anew, as another session does: what came so far is checked and forgotten."""
        self.check()
        self.bodies.clear()
        self.headers.clear()
        self.turns = turns or self.turns

    def requests(self) -> list[Request]:
        return [anthropic.decode_request(body).request for body in self.bodies]

    def last(self) -> dict[str, Any]:
        return json.loads(self.bodies[-1])

    def results(self) -> list[str]:
        """The texts of all tool results in the last request."""
        blocks = [
            block
            for message in self.last()["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        ]
        return [plain(block["content"]) for block in blocks]

    def check(self) -> None:
        """Every request holds together, and each extends the one before it."""
        for before, after in itertools.pairwise(self.check_each()):
            assert prompt.extends(before, after)

    def check_each(self) -> list[Request]:
        """Every request holds together; those of a guide share their beginning only."""
        requests = self.requests()
        for request in requests:
            assert prompt.invariants(request) == []
        return requests

    def close(self) -> None:
        self.hang.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(b.get("text", "") for b in content)


def stream(number: int, blocks: list[Block]) -> bytes:
    usage = {"input_tokens": 100 + number, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {"id": f"m{number}", "model": MODEL, "content": [], "usage": usage},
        }
    ]
    for index, block in enumerate(blocks):
        start: Block
        if block["type"] == "text":
            start, delta = text(""), {"type": "text_delta", "text": block["text"]}
        else:
            start = block | {"id": f"call_{number}_{index}", "input": {}}
            written = json.dumps(block["input"])
            delta = {"type": "input_json_delta", "partial_json": written}
        events += [
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
    ending = {"type": "message_delta", "delta": {"stop_reason": stop}}
    events += [ending | {"usage": {"output_tokens": 10}}, {"type": "message_stop"}]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


@contextmanager
def serving(*turns: Turn) -> Generator[ModelServer]:
    server = ModelServer(*turns)
    try:
        yield server
        server.check()
    finally:
        server.close()


class Desk:
    """A folder to work in, a home, and `headrace code` against one server."""

    def __init__(
        self, folder: Path, url: str, work: Path | None = None, home: Path | None = None
    ) -> None:
        self.folder = work or folder / "work"
        self.home = home or folder / "home"
        self.url = url
        self.folder.mkdir(exist_ok=True)
        self.home.mkdir(exist_ok=True)
        self.more: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        own = {"HEADRACE_DATA": str(self.home / "data")}
        return clean_environment(self.home) | own | self.more

    def command(self, *arguments: str) -> list[str]:
        where = ("--endpoint", self.url, "--dialect", "anthropic") if self.url else ()
        return [sys.executable, "-P", "-m", "headrace", "code", *arguments, *where]

    def code(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, *arguments: str, talks: bool = False) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, *arguments: str, given: str = "") -> dict[str, Any]:
        shown = self.code(*arguments, "--output-format", "json", given=given)
        assert shown.stdout, shown.stderr
        return json.loads(shown.stdout)

    def logs(self) -> list[Path]:
        return sorted((self.home / "data" / "code" / "sessions").rglob("*.jsonl"))
