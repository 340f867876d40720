"""ProcessEngine: a model of a server that Headrace starts itself, as vLLM or llama-server is.

The server runs as a child process and is restarted when it dies; otherwise it is an upstream
like any other.
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace.config.routing import PORT, Limits
from headrace.core.clock import Clock
from headrace.core.errors import EngineFailed, EngineUnavailable, HeadraceError
from headrace.core.models import Model
from headrace.net.http_client import HttpClient, Reply, Timeouts
from headrace.serving.engines.process_log import ChildLog
from headrace.serving.engines.remote import Remote, RemoteEngine

_OK = 200
_HOST = "127.0.0.1"
_LOOK_S_FIRST, _LOOK_S_MAX = 0.05, 1.0
_TELL_EVERY_S = 15.0
_HEALTH_EVERY_S = 15.0
_HEALTH_MISSES_MAX = 2
_HEALTH = Timeouts(5.0, 60.0, 60.0, 60.0)
_RESTART_WAIT_S = 15.0
_EXIT_WAIT_S = 0.5
_STOP_WAIT_S = 15.0
_STEADY_S = 60.0
_BACK_OFF_S_MAX = 60.0
_NS_PER_S = 1_000_000_000
# By these vLLM and llama-server are told a key; others may ignore it.
_KEY_VARIABLES = ("VLLM_API_KEY", "LLAMA_API_KEY")
_VARIABLES = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|TZ|TMPDIR|(DY)?LD_LIBRARY_PATH|VIRTUAL_ENV|SSL_CERT_\w+"
    r"|HF_(HOME|HUB_CACHE|HUB_OFFLINE|ENDPOINT)|TRANSFORMERS_OFFLINE"
    r"|(LC|XDG|CUDA|NVIDIA|NCCL|ROCR|HIP|ROCM|GGML|LLAMA_ARG|VLLM|SGLANG|OMP|MKL|RAY|TRITON)_\w+"
    r"|(PY)?TORCH\w+"
)
_SECRET = re.compile(r"\w*(KEY|TOKEN|SECRET|PASSWORD)")

_log = logging.getLogger(__name__)


class ServerProcess:
    """A server as a supervised child process; all engines of its models share it.

    Args:
        remote: The upstream that it is once it runs; its address and key change with each start.
        command: What to run; `{port}` stands for the port it is to listen on.
        health: The path that answers 200 when it is ready.
        start_s: How long that may take.
        pass_environment: Variables that it gets beside the usual ones.
        log: Where it writes what it has to say.
        clock: The house's clock.
    """

    def __init__(
        self,
        remote: Remote,
        command: tuple[str, ...],
        *,
        health: str,
        start_s: float,
        pass_environment: tuple[str, ...],
        log: Path,
        clock: Clock,
    ) -> None:
        self.name = remote.name
        self._remote = remote
        self._command = command
        self._health = health
        self._start_s = start_s
        self._pass_environment = pass_environment
        self._log = ChildLog(log)
        self._clock = clock
        self._child: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._users = 0

    @property
    def pid(self) -> int | None:
        """The leader of its process group, for people and crash tests."""
        return None if self._child is None else self._child.pid

    def ready(self) -> bool:
        """Whether it runs and has said that it is ready."""
        return self._up.is_set()

    async def start(self) -> None:
        """Start it unless another engine has; returns when it is ready.

        Raises:
            EngineUnavailable: It does not get ready; the hint says where to look.
        """
        async with self._changing:
            if self._users == 0:
                await self._launch()
                self._supervisor = asyncio.create_task(self._supervise())
            self._users += 1

    async def stop(self) -> None:
        """End it when its last engine goes."""
        async with self._changing:
            if self._users == 0:
                return
            self._users -= 1
            if self._users == 0:
                supervisor, self._supervisor = self._supervisor, None
                if supervisor is not None:
                    supervisor.cancel()
                    await asyncio.wait([supervisor])
                self._up.clear()
                await self._end()

    async def serving(self) -> None:
        """Wait, but not long, while it starts again.

        Raises:
            EngineUnavailable: It does not run.
        """
        if self._up.is_set():
            return
        if self._supervisor is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESTART_WAIT_S):
                    await self._up.wait()
                    return
        raise EngineUnavailable(f"the process of {self.name} is not running", retry_after_s=5)

    async def died(self) -> bool:
        """Whether it is gone: to be asked when it has not answered."""
        child = self._child
        if child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_WAIT_S):
                    await child.wait()
            if child.returncode is None:
                return False
            if child is self._child:
                self._up.clear()  # its supervisor has not noticed yet
        return True

    async def _launch(self) -> None:
        port, key = _free_port(), secrets.token_urlsafe(32)
        command = [word.replace(PORT, str(port)) for word in self._command]
        try:
            descriptor = self._log.open()
            try:
                self._child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-m",
                    "headrace.serving.engines.process_child",
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=descriptor,
                    stderr=descriptor,
                    env=self._environment(key),
                    start_new_session=True,  # Ctrl-C is for the parent, which drains first
                )
            finally:
                os.close(descriptor)
        except OSError as error:
            raise EngineUnavailable(
                f"the process of {self.name} cannot be started: {error}"
            ) from None
        self._remote.key.set(key)
        self._remote.client.aim(f"http://{_HOST}:{port}/v1")
        try:
            await self._get_ready(f"http://{_HOST}:{port}")
        except BaseException:
            await self._end()
            raise
        self._up.set()

    async def _get_ready(self, url: str) -> None:
        """Ask for its health, ever more slowly, and say how it goes."""
        client = HttpClient(f"the process of {self.name}", url)
        loop = asyncio.get_running_loop()
        began_s = told_s = loop.time()
        pause_s = _LOOK_S_FIRST
        while not await self._is_healthy(client):
            child = self._child
            now_s = loop.time()
            if child is None or child.returncode is not None or now_s - began_s > self._start_s:
                ended = "ended" if now_s - began_s <= self._start_s else "is not ready in time"
                raise EngineUnavailable(
                    f"the process of {self.name} {ended}: {self._log.last_line()}",
                    hint=f"all that it said stands in {self._log.path}",
                )
            if now_s - told_s > _TELL_EVERY_S:
                told_s = now_s
                line = self._log.last_line()
                _log.info("%s starts since %d s: %s", self.name, now_s - began_s, line)
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LOOK_S_MAX)
        _log.info("%s is ready after %.1f s", self.name, loop.time() - began_s)

    async def _is_healthy(self, client: HttpClient) -> bool:
        try:
            reply = await client.send("GET", self._health, b"", b"", _HEALTH)
        except HeadraceError:
            return False
        reply.release()
        return reply.status == _OK

    async def _supervise(self) -> None:
        """Whenever it dies or hangs, start it again, ever later if it keeps dying."""
        delay_s = 0.0
        while True:
            began_ns = self._clock.monotonic_ns()
            await self._until_gone()
            self._up.clear()
            await self._end()
            if self._clock.monotonic_ns() - began_ns > _STEADY_S * _NS_PER_S:
                delay_s = 0.0
            _log.error("the process of %s died; it is started again", self.name)
            while not self._up.is_set():
                await asyncio.sleep(delay_s)
                delay_s = min(max(0.5, 2 * delay_s), _BACK_OFF_S_MAX)
                try:
                    await self._launch()
                except HeadraceError as error:
                    _log.error("%s (%s)", error.message, error.hint)

    async def _until_gone(self) -> None:
        """Wait until it ends, or answers no question about its health for long."""
        child = self._child
        assert child is not None  # noqa: S101 - it was launched
        client = HttpClient(f"the process of {self.name}", self._remote.client.origin)
        misses = 0
        try:
            while misses < _HEALTH_MISSES_MAX:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_HEALTH_EVERY_S):
                        await child.wait()
                        return
                self._log.bound()
                misses = 0 if await self._is_healthy(client) else misses + 1
        finally:
            client.close()

    async def _end(self) -> None:
        """End the whole process group: asked by the end of its input, then killed."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            await _gone(child)
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await _gone(child)

    def _environment(self, key: str) -> dict[str, str]:
        """No secrets but its own: what engines need, and what the configuration names."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in self._pass_environment
            or (_VARIABLES.fullmatch(name) and not _SECRET.fullmatch(name))
        }
        return kept | dict.fromkeys(_KEY_VARIABLES, key) | {"PYTHONUNBUFFERED": "1"}


async def _gone(child: asyncio.subprocess.Process) -> None:
    """Wait for its end, but not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_WAIT_S):
            await child.wait()


class ProcessEngine(RemoteEngine):
    """Serves one model of a server that Headrace starts.

    Args:
        process: The server.
        remote: The upstream that it is.
        upstream_model: What the server calls the model.
        model: What the model can do; its id names the engine.
        limits: Its time-outs, all of them decided.
        clock: The house's clock.
    """

    def __init__(  # noqa: PLR0917 - those of a remote engine, and its process
        self,
        process: ServerProcess,
        remote: Remote,
        upstream_model: str,
        model: Model,
        limits: Limits,
        clock: Clock,
    ) -> None:
        super().__init__(remote, upstream_model, model, limits, clock)
        self._process = process

    def ready(self) -> bool:
        """Whether its process runs and is ready."""
        return super().ready() and self._process.ready()

    async def start(self) -> None:
        """Start the process unless it runs.

        Raises:
            EngineUnavailable: It does not get ready; the hint says where to look.
        """
        await self._process.start()
        await super().start()

    async def stop(self) -> None:
        """End the process unless other engines use it."""
        if super().ready():
            await super().stop()
            await self._process.stop()

    async def _post(
        self, path: str, body: bytes, timeouts: Timeouts, headers: Mapping[str, str] | None = None
    ) -> Reply:
        await self._process.serving()
        try:
            return await super()._post(path, body, timeouts, headers)
        except (EngineUnavailable, EngineFailed):
            if not await self._process.died():
                raise
        # It died before it saw the request, or of it; one that kills twice is not sent again.
        await self._process.serving()
        return await super()._post(path, body, timeouts, headers)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((_HOST, 0))
        return taken.getsockname()[1]
