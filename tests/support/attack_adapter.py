"""Adapter of attack suites: drives the very sandbox and file access that the product uses."""

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from headrace.safety.files import Workspace
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.proxy import Proxy
from headrace.safety.sandbox.sandbox import Sandbox

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
