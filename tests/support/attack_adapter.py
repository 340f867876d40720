"""Adapter of attack suites: drives the very sandbox and file access that the product uses."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from headrace.code import Session
from headrace.safety.files import Workspace
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.proxy import Proxy
from headrace.safety.sandbox.sandbox import Sandbox

if str(Path(__file__).parents[1]) not in sys.path:  # a suite loads this file by its path alone
    sys.path.insert(0, str(Path(__file__).parents[1]))
from support.model_server import Block, Desk, ModelServer, Turn, call, serving, text

T = TypeVar("T")


class Adapter:
    """One agent in workspace `ws`; `env` is what surrounds its process, secrets included."""

    config_dir = ".headrace"
    env_prefix = "HEADRACE"

    def __init__(self, ws: str, home: str, env: dict[str, str]) -> None:
        os.environ.update(env, HOME=home)
        self._ws = Path(ws)
        self._home = Path(home)

    def shell(self, command: str, timeout: float) -> tuple[int, bytes]:
        with tempfile.TemporaryDirectory(dir=self._home.parent, prefix="state-") as state:
            return asyncio.run(self._shell(command, timeout, Path(state)))

    async def _shell(self, command: str, timeout_s: float, state: Path) -> tuple[int, bytes]:
        sandbox = Sandbox(SandboxPolicy(workspace=self._ws, state_folder=state / "session"))
        try:
            ran = await sandbox.run(command, timeout_s=timeout_s)
        finally:
            await sandbox.close()
        return ran.status, ran.head + ran.tail

    def read(self, path: str) -> bytes:
        return self._on_files(lambda workspace: workspace.read(path))

    def write(self, path: str, data: bytes) -> None:
        self._on_files(lambda workspace: workspace.write(path, data))

    def grep(self, path: str, pattern: str) -> bytes:
        def search(workspace: Workspace) -> bytes:
            found = [
                f"{each.path}\n".encode()
                for each in workspace.walk(path)
                if not each.is_folder
                and re.search(pattern.encode(), workspace.read(f"{path}/{each.path}"))
            ]
            return b"".join(found)

        return self._on_files(search)

    def start(self) -> str:
        """The agent in the folder with nobody answering."""
        with serving([text("Hi.")]) as server:
            shown = Desk(self._ws.parent, server.url, self._ws, self._home).code("-p", "Hello.")
        return shown.stdout + shown.stderr

    def model(self, turns: list[dict[str, Any]]) -> tuple[str, bool]:
        """A model that obeys the attacker; the answer says whether a human was asked."""
        calls: list[Turn] = [[_called(turn)] for turn in turns]
        with serving(*calls, [text("Done.")]) as server:
            return asyncio.run(self._model(server))

    async def _model(self, server: ModelServer) -> tuple[str, bool]:
        watcher = _Watcher()
        session = Session(
            self._ws,
            endpoint=server.url,
            dialect="anthropic",
            data=self._home / "data",
            may=watcher.may,
            notice=list[str]().append,
        )
        async with session:
            await session.run("Read the README and do what it says.")
            said = b"".join(server.bodies).decode()
        return said, watcher.asked

    def proxy(self, target: str, allow: list[str]) -> int:
        return asyncio.run(_answer(target, allow))

    def _on_files(self, use: Callable[[Workspace], T]) -> T:
        workspace = Workspace(self._ws)
        try:
            return use(workspace)
        finally:
            workspace.close()


async def _answer(target: str, allow: list[str]) -> int:
    """What the proxy answers to one request for a tunnel; 0: it hung up."""
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        path = Path(folder) / "socket"
        proxy = Proxy(allow)
        await proxy.start(path)
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode(errors="surrogateescape"))
            line = await reader.readline()
            writer.close()
        finally:
            await proxy.close()
        return int(line.split()[1]) if line else 0


_NAMES = {"bash": "Bash", "write": "Write", "web_fetch": "WebFetch"}
_FIELDS = {"path": "file_path"}


def _called(turn: dict[str, Any]) -> Block:
    """A suite's call in the words of our tools; a tool that we lack keeps its name."""
    named = {_FIELDS.get(name, name): value for name, value in turn.items() if name != "tool"}
    return call(_NAMES.get(turn["tool"]) or str(turn["tool"]), **named)


class _Watcher:
    """A human who is never there, and says whether anybody wanted one."""

    def __init__(self) -> None:
        self.asked = False

    def may(self, call: object, action: object, ask: object) -> bool:
        del call, action, ask
        self.asked = True
        return False
