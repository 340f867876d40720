"""Workers as the control process sees them: started, watched, started again, drained."""

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from headrace.core.errors import ConfigError
from headrace.up.workers.start import FIGURES, Said, Start

_START_S = 60.0
_FIGURES_S = 5.0
_STOP_SPARE_S = 10.0
_BACK_OFF_S, _BACK_OFF_S_MAX = 0.5, 30.0
_LINE_BYTES_MAX = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


def worker_names(count: int) -> tuple[str, ...]:
    """The names of so many workers, which are those of their journals."""
    return tuple(f"api{number}" for number in range(1, count + 1))


class Workers:
    """All API workers of one control process.

    Args:
        count: How many.
        flags: The command line's settings, for each worker to read anew.
        config: The configuration file, if one was named.
        listener: The public address, which they inherit.
        control_port: Where the control process itself listens.
        drain_s: How long they let answers finish.
    """

    def __init__(
        self,
        count: int,
        *,
        flags: dict[str, str | None],
        config: str | None,
        listener: socket.socket,
        control_port: int,
        drain_s: float,
    ) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._drain_s = drain_s
        self._listener = listener
        self._processes = [
            _Worker(
                Start(
                    name=name,
                    number=number,
                    flags=flags,
                    config=config,
                    listener=listener.fileno(),
                    control_port=control_port,
                    secret=self.secret,
                    share=count,
                )
            )
            for number, name in enumerate(worker_names(count), 1)
        ]
        self._watching: list[asyncio.Task[None]] = []

    def tell_ends(self, ended: Callable[[int], None]) -> None:
        """Call `ended` with the number of each worker that ends, from 1 on."""
        for worker in self._processes:
            worker.ended = ended

    async def start(self) -> None:
        """Start them all; returns when each of them takes requests.

        Raises:
            ConfigError: One does not start.
        """
        await asyncio.gather(*(worker.start() for worker in self._processes))
        self._watching = [asyncio.create_task(worker.watch()) for worker in self._processes]

    async def pages(self) -> Sequence[bytes]:
        """The figures of those that run."""
        found = await asyncio.gather(*(worker.figures() for worker in self._processes))
        return [page for page in found if page is not None]

    async def stop(self) -> None:
        """Let their answers finish, as long as that may take, then end them."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        wait_s = self._drain_s + _STOP_SPARE_S
        await asyncio.gather(*(worker.stop(wait_s) for worker in self._processes))


class _Worker:
    def __init__(self, start: Start) -> None:
        self._start = start
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self.ended: Callable[[int], None] = _nobody_asks

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headrace.up.workers.main",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._start.listener,),
            limit=_LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is for the control process, which drains first
        )
        self._process = process
        try:
            async with asyncio.timeout(_START_S):
                said = await self._ask(msgspec.json.encode(self._start) + b"\n")
        except TimeoutError:
            said = None
        if said is None or not said.ready:
            await self.stop(0)
            why = said.error if said is not None and said.error else "see its log"
            raise ConfigError(f"the API worker {self._start.name} does not start: {why}")

    async def watch(self) -> None:
        """Start it again whenever it dies, ever later if it keeps dying."""
        delay_s = _BACK_OFF_S
        while True:
            assert self._process is not None  # noqa: S101 - watched after its start
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            status = await self._process.wait()
            if loop.time() - began_s > _BACK_OFF_S_MAX:
                delay_s = _BACK_OFF_S
            _log.error("the API worker %s ended with %d", self._start.name, status)
            self.ended(self._start.number)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _BACK_OFF_S_MAX)
            try:
                await self.start()
            except (ConfigError, OSError) as error:
                _log.error("%s", error)

    async def figures(self) -> bytes | None:
        """Its page of figures, None while it is not there."""
        asking = asyncio.create_task(self._ask(FIGURES))
        # An answer that comes too late is read nevertheless, or it would be taken for the next.
        done, _ = await asyncio.wait({asking}, timeout=_FIGURES_S)
        said = asking.result() if done else None
        return None if said is None or said.page is None else said.page.encode()

    async def stop(self, wait_s: float) -> None:
        """Ask it to end, and end it if it does not."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(wait_s):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(self, line: bytes) -> Said | None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        async with self._asking:
            try:
                process.stdin.write(line)
                await process.stdin.drain()
                return msgspec.json.decode(await process.stdout.readline(), type=Said)
            except (ConnectionError, msgspec.MsgspecError):
                return None


def _nobody_asks(_: int) -> None:
    """Called where nobody wants to hear of the end of a worker."""
