"""What the coding assistant costs: the scripted read-edit-test-finish task, and `--version`.

    python bench/code_cost.py [--rounds 5]

A small server in this process plays the model; `headrace code -p` runs as a child. Told are its
CPU seconds, the peak of its memory (PSS, all its processes together), the bytes it sends, and the
tokens of its first request by cl100k, whose ranks are taken from the npm package js-tiktoken and
counted with tiktoken, both fetched into a cache folder once. Each figure stands beside its bar.
"""

import argparse
import http.server
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CACHE = Path.home() / ".cache" / "headrace-bench" / "cl100k"
STRONG, SMALL = "strong-70b", "small-1.5b"
TASK = "The test in test_calc.py fails. Fix calc.py."
FILES = {
    "calc.py": '"""Sums."""\n\n\ndef add(a, b):\n    """The sum."""\n    return a - b\n',
    "test_calc.py": "from calc import add\n\nassert add(1, 2) == 3\nprint('ok')\n",
}
WHOLE = FILES["calc.py"].replace("a - b", "a + b")
EDIT = {"file_path": "calc.py", "old_string": "return a - b", "new_string": "return a + b"}
CALLS: list[tuple[str, dict[str, str]]] = [
    ("Read", {"file_path": "calc.py"}),
    ("Edit", EDIT),
    ("Bash", {"command": "python3 test_calc.py"}),
]
BARS = {STRONG: 1_000, SMALL: 700}
COUNT = """
import base64, json, sys, tiktoken
text = open(sys.argv[1], encoding="utf-8").read()
ranks = {}
import re
found = re.search(r'"bpe_ranks":\\s*"((?:[^"\\\\\\\\]|\\\\\\\\.)*)"', text) or re.search(
    r'bpe_ranks:\\s*"((?:[^"\\\\\\\\]|\\\\\\\\.)*)"', text)
for line in json.loads('"' + found[1] + '"').split("\\n"):
    if line:
        _, offset, *tokens = line.split(" ")
        ranks.update((base64.b64decode(t), int(offset) + n) for n, t in enumerate(tokens))
pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
           r"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
coding = tiktoken.Encoding("cl100k", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
print(json.dumps([len(coding.encode_ordinary(each)) for each in json.load(sys.stdin)]))
"""


class Model(http.server.BaseHTTPRequestHandler):
    """Plays the task in the Messages dialect, by how many results it was sent."""

    bodies: list[bytes]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The models."""
        models = [
            {"type": "model", "id": each, "display_name": each, "max_input_tokens": 32_768}
            | {"created_at": "2026-01-01T00:00:00Z"}
            for each in (STRONG, SMALL)
        ]
        self.reply(json.dumps({"data": models, "has_more": False}).encode(), "application/json")

    def do_POST(self) -> None:
        """A model call."""
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).bodies.append(body)
        asked = json.loads(body)
        done = sum(
            block["type"] == "tool_result"
            for message in asked["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
        )
        tools = {tool["name"] for tool in asked.get("tools", ())}
        calls = list(CALLS)
        if "Edit" not in tools:
            calls[1] = ("Write", {"file_path": "calc.py", "content": WHOLE})
        self.reply(answer(asked["model"], done, calls), "text/event-stream")

    def reply(self, body: bytes, kind: str) -> None:
        """Answer, and close."""
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Say nothing."""
        del format, args


def answer(model: str, done: int, calls: list[tuple[str, dict[str, str]]]) -> bytes:
    usage = {"input_tokens": 700, "output_tokens": 1}
    message: dict[str, Any] = {"id": f"m{done}", "model": model, "content": [], "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    block: dict[str, Any]
    delta: dict[str, Any]
    if done < len(calls):
        name, arguments = calls[done]
        block = {"type": "tool_use", "id": f"call_{done}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        stop = "tool_use"
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": "add() adds now; the test passes."}
        stop = "end_turn"
    events += [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(home), "HEADRACE_DATA": str(home / "data")}


def tree_pss_kb(root: int) -> int:
    """PSS of a process and all below it, in KiB."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
            total += int(found[1]) if found else 0
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return total


def run_task(url: str, model: str, folder: Path, home: Path) -> tuple[float, float, str]:
    """CPU seconds, peak MB, and what was printed."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "headrace", "code", "-p", TASK, "--model", model]
    command += ["--endpoint", url, "--dialect", "anthropic", "--dangerously-skip-permissions"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak_kb, watching = 0, True

    def watch() -> None:
        nonlocal peak_kb
        while watching:
            peak_kb = max(peak_kb, tree_pss_kb(child.pid))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    shown, errors = child.communicate()
    watching = False
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if child.returncode or (folder / "calc.py").read_text() != WHOLE:
        raise SystemExit(f"the task failed:\n{shown}{errors}")
    return cpu_s, peak_kb / 1024, shown + errors


def cpu_of(command: list[str], rounds: int) -> float:
    """CPU seconds of one run, the least of some."""
    best = float("inf")
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, spent)
    return best


def counter() -> list[str]:
    """The command that counts tokens; what it needs is fetched once."""
    python = CACHE / "venv" / "bin" / "python"
    ranks = CACHE / "package" / "dist" / "ranks" / "cl100k_base.js"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "tiktoken"], check=True)
    if not ranks.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", "js-tiktoken"],
            cwd=CACHE,
            check=True,
            capture_output=True,
            text=True,
        )
        subprocess.run(["tar", "xzf", packed.stdout.split()[-1]], cwd=CACHE, check=True)
    return [str(python), "-c", COUNT, str(ranks)]


def texts_of(body: bytes) -> list[str]:
    """What a model reads of a request: system prompt, tools, words."""
    asked = json.loads(body)
    system = asked.get("system", "")
    words = [system if isinstance(system, str) else "".join(block["text"] for block in system)]
    words.append(json.dumps(asked.get("tools", []), separators=(",", ":")))
    for message in asked["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        words += [block.get("text", "") for block in blocks]
    return words


def tokens_of(command: list[str], texts: list[str]) -> list[int]:
    counted = subprocess.run(
        command, input=json.dumps(texts), check=True, capture_output=True, text=True
    )
    return json.loads(counted.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    command = counter()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(dir=Path.home()) as name:
        folder, home = Path(name) / "work", Path(name) / "home"
        folder.mkdir()
        home.mkdir()
        for model in (STRONG, SMALL):
            runs: list[tuple[float, float]] = []
            for _ in range(rounds):
                Model.bodies = []
                cpu_s, peak_mb, _ = run_task(url, model, folder, home)
                runs.append((cpu_s, peak_mb))
            system, tools, *words = tokens_of(command, texts_of(Model.bodies[0]))
            sent = sum(map(len, Model.bodies)) / 1000
            first = system + tools + sum(words)
            detail = f"{first} ({system} system, {tools} tools, {sum(words)} words)"
            rows += [
                (f"{model}: first request, tokens", detail, f"{BARS[model]}"),
                (f"{model}: sent in all, kB", f"{sent:.1f}", "20"),
                (f"{model}: CPU s, least of {rounds}", f"{min(runs)[0]:.3f}", "0.35"),
                (f"{model}: peak MB (PSS)", f"{max(mb for _, mb in runs):.1f}", "60"),
            ]
    bare = cpu_of([sys.executable, "-c", "pass"], 4 * rounds)
    version = cpu_of([sys.executable, "-m", "headrace", "code", "--version"], 4 * rounds)
    rows.append(("--version: CPU ms beyond Python", f"{(version - bare) * 1000:.1f}", "30"))
    server.shutdown()
    print("| figure | measured | bar |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
