"""An API worker: `python -m headrace.up.workers.main`, started by the control process alone.

It ends when its standard input does, which it does when the control process dies.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import uvloop
from starlette.types import ASGIApp

from headrace.config.routing import machines_of, resolve
from headrace.config.secrets import load_or_create
from headrace.config.settings import Settings, load_settings
from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import HeadraceError, StoreError
from headrace.edge.guard import Guard
from headrace.identity.epoch import EPOCH_FILE, Epoch
from headrace.identity.keys import KeyRing
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.terms import Process, Terms
from headrace.serving.app import authenticator, worker_endpoints
from headrace.serving.gateway import Gateway
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.store import accounts
from headrace.store.database import Database
from headrace.up.background import background, keep_flushing
from headrace.up.logs import start_logging
from headrace.up.routing import make_router
from headrace.up.server import (
    BACKLOG,
    Server,
    allow_connections,
    collect_rarely,
    keep_one_heap,
)
from headrace.up.traces import open_tracer
from headrace.up.upstreams import first_targets, make_upstreams, remote_only, running
from headrace.up.workers.front import Front
from headrace.up.workers.pass_on import PassOn
from headrace.up.workers.refresh import Refresh
from headrace.up.workers.start import FIGURES, Said, Start


class Worker(msgspec.Struct, frozen=True):
    """The parts of a running worker that its end and its figures have to do with."""

    app: ASGIApp
    gateway: Gateway
    pass_on: PassOn
    metrics: Metrics

    async def drain(self, wait_s: float) -> None:
        """Let what runs finish, here and behind, at most `wait_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await asyncio.gather(self.gateway.drain(wait_s), self.pass_on.drain())


@asynccontextmanager
async def open_worker(start: Start, settings: Settings, clock: Clock) -> AsyncGenerator[Worker]:
    """Join the parts of a worker; its predecessor's open calls are closed first."""
    async with AsyncExitStack() as stack:
        tracer = open_tracer(settings)
        stack.push_async_callback(tracer.close)
        database = Database.at(settings.data, settings.database_url)
        stack.callback(database.close)
        journal = Journal.open(settings.data / "journal", start.name, clock)
        stack.callback(journal.close)
        await Projector(database, journal).close_open()
        epoch = Epoch(settings.data / EPOCH_FILE)
        stack.callback(epoch.close)
        keys = KeyRing(database, load_or_create(settings.data, "pepper"), clock, epoch)
        terms = await _make_terms(stack, database, journal, clock, start=start, settings=settings)
        refresh = Refresh(epoch, (terms.reload, keys.reload))
        await terms.reload()
        await stack.enter_async_context(background(terms.reservations.run()))
        await stack.enter_async_context(background(refresh.keep()))
        await keys.reload()
        stack.push_async_callback(keys.flush)
        await stack.enter_async_context(background(keep_flushing(keys)))
        routing = remote_only(settings.routing)
        upstreams = make_upstreams(routing, {}, data=settings.data, clock=clock)
        await stack.enter_async_context(running(upstreams))
        router = make_router(
            (),
            settings,
            clock,
            upstreams=upstreams.engines,
            routes=upstreams.routes,
            share=start.share,
        )
        metrics = Metrics(settings.metrics_keys_max)
        gateway = Gateway(
            router,
            Pool((), memory_bytes_max=0, clock=clock),
            meter=terms.meter(charge_before_last_byte=settings.charge_before_last_byte),
            metrics=metrics,
            clock=clock,
            running_max=settings.running_requests_max,
            tracer=tracer,
        )
        hosts = frozenset(settings.allowed_hosts) | {settings.host}
        endpoints = worker_endpoints(
            gateway, find_key=keys.authenticate, settings=settings, clock=clock
        )
        pass_on = PassOn("127.0.0.1", start.control_port, start.secret)
        front = Front(
            {path: Guard(app, allowed_hosts=hosts) for path, app in endpoints.items()},
            frozenset(model.id for model in router.models()),
            refresh,
            authenticator(keys.authenticate),
            pass_on,
            settings=settings,
            clock=clock,
        )
        yield Worker(front, gateway, pass_on, metrics)


async def _make_terms(
    stack: AsyncExitStack,
    database: Database,
    journal: Journal,
    clock: Clock,
    *,
    start: Start,
    settings: Settings,
) -> Terms:
    home = await database.read(accounts.find_home)
    if home is None:
        raise StoreError("the database has lost its first organisation")
    routes = resolve(remote_only(settings.routing), {})
    terms = Terms.of(
        database,
        journal,
        clock,
        scope=home.owner,
        data=settings.data,
        machines=machines_of(settings.routing),
        first_targets=first_targets(routes),
        process=Process(start.number, start.share + 1),
        budget_wait_s=settings.budget_wait_s,
    )
    stack.push_async_callback(terms.close)
    return terms


async def _serve(start: Start, settings: Settings) -> None:
    listener = socket.socket(fileno=start.listener)
    async with open_worker(start, settings, SystemClock()) as worker:
        server = Server(
            worker.app, lambda: worker.drain(settings.drain_s), head_wait_s=settings.head_wait_s
        )
        listening = asyncio.create_task(_listen(worker))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            # The server takes in a moment what waits there.
            listener.listen(BACKLOG)
            _say(Said(ready=True))
            collect_rarely()
            await serving
        finally:
            listening.cancel()


async def _listen(worker: Worker) -> None:
    """Answer the control process's lines until there are no more, which ends the process."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with contextlib.suppress(OSError):  # nobody listens to the answer either
        while line := await reader.readline():
            if line == FIGURES:
                _say(Said(page=worker.metrics.page().decode()))
    os._exit(1)  # whatever runs has lost the process that it belongs to


def _say(said: Said) -> None:
    os.write(1, msgspec.json.encode(said) + b"\n")


def main() -> int:
    """Serve until told to stop."""
    # Unbuffered: what follows the first line is read by the event loop.
    start = msgspec.json.decode(_first_line(), type=Start)
    keep_one_heap()
    allow_connections()
    try:
        config = None if start.config is None else Path(start.config)
        settings = load_settings(start.flags, config)
        start_logging(settings, f"headrace-{start.name}")
        uvloop.run(_serve(start, settings))
    except HeadraceError as error:
        _say(Said(error=f"{error.message} ({error.hint})" if error.hint else error.message))
        return 1
    return 0


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return line


if __name__ == "__main__":
    sys.exit(main())
