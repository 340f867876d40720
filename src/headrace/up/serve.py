"""Serving, from the listening address to the last drained answer, with API workers or without."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvloop
from starlette.types import ASGIApp

from headrace.catalog.library import Library
from headrace.config import runfile
from headrace.config.settings import Settings
from headrace.core.clock import Clock, SystemClock
from headrace.store.database import Database
from headrace.up import browser
from headrace.up.house import House, open_house
from headrace.up.models import Served, get_ready
from headrace.up.screen import start_screen
from headrace.up.server import (
    BACKLOG,
    Server,
    allow_connections,
    bind,
    collect_rarely,
    keep_one_heap,
    url_of,
)
from headrace.up.workers.supervisor import Workers
from headrace.up.workers.visitor import Visitors


class Start(msgspec.Struct, frozen=True):
    """All settings, and what API workers read them from anew: flags and the file."""

    settings: Settings
    flags: dict[str, object]
    config: Path | None


class _Open(msgspec.Struct, frozen=True):
    """A house, and how it is reached: `listener` is its own, behind the workers if there are."""

    house: House
    app: ASGIApp
    listener: socket.socket
    workers: Workers | None = None

    async def drain(self, wait_s: float) -> None:
        """Let running answers finish; those that workers pass on need the house until then."""
        async with asyncio.TaskGroup() as draining:
            draining.create_task(self.house.drain(wait_s))
            if self.workers is not None:
                draining.create_task(self.workers.stop())


def serve(start: Start, *, ask: bool) -> int:
    """Serve until a signal; returns the exit code.

    Args:
        start: Settings and where they come from.
        ask: Whether a person can be asked which model to take.
    """
    settings, clock = start.settings, SystemClock()
    keep_one_heap()
    allow_connections()
    listener = bind(settings.host, settings.port)
    with contextlib.closing(listener), contextlib.ExitStack() as held:
        served = get_ready(settings, clock, ask=ask)
        with contextlib.closing(Database.at(settings.data, settings.database_url)) as database:
            database.upgrade_apart()
        library = Library(settings.data, clock)
        for card in served.cards:
            held.enter_context(library.hold(card.model_id))
        uvloop.run(_run(start, served, listener, clock))
    return 0


async def _run(start: Start, served: Served, listener: socket.socket, clock: Clock) -> None:
    settings = start.settings
    opened = _open if settings.workers == 1 else _open_behind_workers
    async with opened(start, served, listener, clock) as it:
        server = Server(
            it.app, lambda: it.drain(settings.drain_s), head_wait_s=settings.head_wait_s
        )
        serving = asyncio.create_task(server.serve([it.listener]))
        starting = asyncio.create_task(_start(it))
        try:
            await asyncio.wait({starting, serving}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
            if starting.done() and not serving.done():
                it.listener.listen(BACKLOG)  # what waits there is taken in a moment
                runfile.write(settings.data, it.house.run)
                # Commands that saw no run file may have made keys in the database meanwhile.
                await it.house.keys.announce()
                _greet(settings, served, it.house)
                if settings.open_browser and sys.stdout.isatty():
                    link = f"{it.house.run.url}{it.house.link_path}"
                    await asyncio.to_thread(browser.open_chat, settings.data, link)
                collect_rarely()
            await serving
        finally:
            starting.cancel()
            browser.forget(settings.data)
            runfile.remove(settings.data, it.house.run)
            server.should_exit = True
            await serving


async def _start(it: _Open) -> None:
    await it.house.pool.start_default()
    if it.workers is not None:
        await it.workers.start()


@asynccontextmanager
async def _open(
    start: Start, served: Served, listener: socket.socket, clock: Clock
) -> AsyncGenerator[_Open]:
    async with open_house(start.settings, served, clock, url_of(listener)) as house:
        yield _Open(house, house.app, listener)


@asynccontextmanager
async def _open_behind_workers(
    start: Start, served: Served, listener: socket.socket, clock: Clock
) -> AsyncGenerator[_Open]:
    settings = start.settings
    own = bind("127.0.0.1", 0)
    workers = Workers(
        settings.workers,
        flags={name: None if flag is None else str(flag) for name, flag in start.flags.items()},
        config=None if start.config is None else str(start.config),
        listener=listener,
        control_port=own.getsockname()[1],
        drain_s=settings.drain_s,
    )
    with contextlib.closing(own):
        async with open_house(
            settings,
            served,
            clock,
            url_of(listener),
            own_url=url_of(own),
            workers_pages=workers.pages,
        ) as house:
            workers.tell_ends(house.worker_ended)
            try:
                yield _Open(house, Visitors(house.app, workers.secret), own, workers)
            finally:
                await workers.stop()


def _greet(settings: Settings, served: Served, house: House) -> None:
    screen = start_screen(
        card=served.default,
        engine=served.places[0].engine if served.places else None,
        routed=tuple(settings.routing.models),
        url=house.run.url,
        link_path=house.link_path,
        key=house.first_key,
        data=settings.data,
    )
    print(screen, flush=True)
