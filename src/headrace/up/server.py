"""The HTTP server, and what a signal does to it: first drain, then stop."""

import asyncio
import ctypes
import gc
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from headrace.core.errors import ConfigError
from headrace.up.connection import HEAD_WAIT_S, Connection

BACKLOG = 1_024
_KEEP_ALIVE_S = 75
_CLOSE_S = 5
_FILES_MAX = 65_536
# Objects made since the last look of the collector before it looks again, by generation.
_COLLECT_AFTER = (20_000, 20, 20)
_M_ARENA_MAX = -8  # of glibc's malloc.h


def allow_connections() -> None:
    """Raise this process's limit of open files, each connection being one, as far as it may.

    Where the limit is reached neither connections nor files can be opened; 1,024 is common.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_one_heap() -> None:
    """Let all threads of this process share one heap of C, before any is started.

    glibc gives each thread its own, and what one has freed another cannot use: 10 MB under load.
    Only one thread runs Python at a time, so they hardly ever wait for each other. Other C
    libraries know no such setting, and need none.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Let the garbage collector look less often, and never at what was made until now.

    Calls leave no cycles behind, and reference counts free the rest; with Python's defaults
    the search for cycles took a sixth of the time of a short call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def register_no_generators() -> None:
    """Let this thread's event loop keep no list of the asynchronous generators that run.

    It only serves to close what is left of them when the loop ends, and each of ours is closed
    by whoever reads it. It cost a call 3 us, and each open stream 0.4 KB.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=hooks.finalizer)


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else is started.

    Raises:
        ConfigError: The address is in use or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, or asyncio would not take it for one whose small writes go out at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="name another port with --port; --port 0 takes any free one",
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The address under which this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves until the first signal, then lets `drain` finish what runs; a second one hurries.

    Args:
        app: What is served.
        drain: Lets what runs finish.
        head_wait_s: How long the head of a request may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain: Callable[[], Awaitable[None]],
        *,
        head_wait_s: float = HEAD_WAIT_S,
    ) -> None:
        connection: Any = partial(Connection, app=app, head_wait_s=head_wait_s)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                loop="uvloop",
                http=connection,
                ws="none",
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_CLOSE_S,
            )
        )
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        register_no_generators()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn on SIGINT and SIGTERM; it would stop at once, we drain first."""
        del sig, frame  # every signal means the same here
        if self._draining is None:
            self._loop.call_soon_threadsafe(self._begin)
        else:
            self._loop.call_soon_threadsafe(self._draining.cancel)

    def _begin(self) -> None:
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain_then_stop())

    async def _drain_then_stop(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True
