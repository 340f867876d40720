"""Where products and engines are put together; nowhere else do they meet."""

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Connection
from starlette.types import ASGIApp

from headrace.agent.client import Client
from headrace.catalog.release import adopt
from headrace.chat.app import Chat
from headrace.config import runfile
from headrace.config.secrets import load_or_create
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import Unauthenticated
from headrace.edge.routes import RuledRoute, create_app
from headrace.identity.delegation import sign
from headrace.identity.epoch import EPOCH_FILE, Epoch
from headrace.identity.keys import KeyRing, NewKey
from headrace.identity.sessions import Sessions
from headrace.ledger import reader
from headrace.ledger.journal import Journal
from headrace.ledger.meter import Meter
from headrace.ledger.projection import Projector
from headrace.serving.admin.keys import admin_routes
from headrace.serving.app import Pages, api_routes, not_found
from headrace.serving.attachments import Attachments
from headrace.serving.batches.parts import Batches
from headrace.serving.gateway import Gateway
from headrace.serving.idempotency import Idempotency
from headrace.serving.metrics import Metrics
from headrace.serving.pool import Pool
from headrace.serving.responses.routes import Responses
from headrace.serving.tracing import Tracer
from headrace.store.accounts import Home
from headrace.store.contents import Contents
from headrace.store.database import Database
from headrace.store.file_store import FileStore
from headrace.store.home import bootstrap
from headrace.store.sessions import Visitor
from headrace.up.background import background, keep_flushing, keep_forgetting
from headrace.up.models import Served
from headrace.up.openapi import openapi_route
from headrace.up.routing import make_router
from headrace.up.traces import open_tracer
from headrace.up.upstreams import Upstreams, make_upstreams, running
from headrace.up.workers.supervisor import worker_names

_log = logging.getLogger(__name__)
_WORKER = "control"
_NS_PER_S = 1_000_000_000
# A statement is used at once; the rest allows for a clock that is set back in between.
_SIGNED_FOR_S = 300


class House(msgspec.Struct, frozen=True):
    """All parts of one running Headrace that its start and stop have to do with."""

    app: ASGIApp
    routes: tuple[RuledRoute, ...]
    run: runfile.RunFile
    first_key: NewKey | None
    link_path: str
    gateway: Gateway
    chat: Chat
    pool: Pool
    batches: Batches
    responses: Responses

    async def drain(self, wait_s: float) -> None:
        """Let running answers finish, at most `wait_s` seconds, then mark what is left."""
        # Together: one after the other could take twice as long, and take calls meanwhile.
        async with asyncio.TaskGroup() as draining:
            draining.create_task(self.chat.drain(wait_s))
            draining.create_task(self.gateway.drain(wait_s))
            draining.create_task(self.batches.runner.drain(wait_s))
        await self.pool.stop()


class _Ground(msgspec.Struct, frozen=True):
    """What every part stands on."""

    settings: Settings
    clock: Clock
    url: str
    pepper: bytes
    database: Database
    journal: Journal
    home: Home
    keys: KeyRing
    sessions: Sessions
    idempotency: Idempotency
    upstreams: Upstreams
    tracer: Tracer


@asynccontextmanager
async def open_house(
    settings: Settings,
    served: Served,
    clock: Clock,
    url: str,
    *,
    own_url: str | None = None,
    workers_pages: Pages | None = None,
) -> AsyncGenerator[House]:
    """Open the store and the journal, recover what a crash left, and join all parts.

    Args:
        settings: All settings.
        served: The engines, not started yet.
        clock: The house's clock.
        url: Under which everybody reaches the API.
        own_url: Where this process itself listens, if workers have the address of the others.
        workers_pages: The figures of those workers.
    """
    async with AsyncExitStack() as stack:
        ground = await _lay_ground(stack, settings, served, clock, url)
        house = await _join(ground, served, own_url or url, workers_pages)
        stack.push_async_callback(house.pool.stop)
        await house.batches.files.recover()
        await stack.enter_async_context(background(house.batches.files.keep_reaping()))
        stack.push_async_callback(house.batches.runner.drain, 0)
        await house.batches.runner.start()
        await stack.enter_async_context(house.responses.running())
        await stack.enter_async_context(house.chat.running())
        yield house


async def _lay_ground(
    stack: AsyncExitStack, settings: Settings, served: Served, clock: Clock, url: str
) -> _Ground:
    """Open what everything stands on, recover what a crash left, and close it with the stack."""
    pepper = load_or_create(settings.data, "pepper")
    tracer = open_tracer(settings)
    stack.push_async_callback(tracer.close)
    database = Database.at(settings.data, settings.database_url)
    stack.callback(database.close)
    database.migrate(clock)
    home = await database.write(lambda connection: _settle_in(connection, served, clock))
    journal = await _open_journal(stack, database, settings, clock)
    epoch = Epoch(settings.data / EPOCH_FILE)
    stack.callback(epoch.close)
    keys = KeyRing(database, pepper, clock, epoch)
    await keys.reload()
    stack.push_async_callback(keys.flush)
    await stack.enter_async_context(background(keep_flushing(keys)))
    idempotency = Idempotency(
        database,
        pepper,
        clock,
        kept_s=settings.idempotency_kept_s,
        bytes_max=settings.idempotency_bytes_max,
    )
    await stack.enter_async_context(background(keep_forgetting(idempotency)))
    installed = {place.engine.model.id: place.engine.model for place in served.places}
    upstreams = make_upstreams(settings.routing, installed, data=settings.data, clock=clock)
    await stack.enter_async_context(running(upstreams))
    return _Ground(
        settings,
        clock,
        url,
        pepper,
        database,
        journal,
        home,
        keys,
        Sessions(database, pepper, clock),
        idempotency,
        upstreams,
        tracer,
    )


async def _open_journal(
    stack: AsyncExitStack, database: Database, settings: Settings, clock: Clock
) -> Journal:
    """This process's journal, its rows followed; calls that dead processes left are closed."""
    folder = settings.data / "journal"
    journal = Journal.open(folder, _WORKER, clock)
    stack.callback(journal.close)
    projector = Projector(database, journal)
    await projector.close_open()
    # Today's workers close what their predecessors left; there may have been more of those.
    own = {_WORKER, *worker_names(settings.workers if settings.workers > 1 else 0)}
    for name in set(await asyncio.to_thread(reader.workers, folder)) - own:
        left = Journal.open(folder, name, clock)
        try:
            await Projector(database, left).close_open()
        finally:
            left.close()
    # Runs late in the stop, when every call has written its record.
    stack.push_async_callback(projector.catch_up)
    await stack.enter_async_context(background(projector.run()))
    return journal


def _settle_in(connection: Connection, served: Served, clock: Clock) -> Home:
    home = bootstrap(connection, clock)
    for card in served.cards:
        adopt(connection, home.owner, card, clock)
    return home


async def _join(
    ground: _Ground, served: Served, own_url: str, workers_pages: Pages | None
) -> House:
    settings, clock, keys, home = ground.settings, ground.clock, ground.keys, ground.home
    files = FileStore(
        ground.database,
        Contents(settings.data / "files"),
        clock,
        total_bytes_max=settings.files_bytes_max,
    )
    metrics = Metrics(settings.metrics_keys_max)
    pool = Pool(served.places, memory_bytes_max=served.memory_bytes_max, clock=clock)
    gateway = _make_gateway(ground, served, pool, metrics, files)
    batches = Batches(gateway, files, holder=keys.holder, settings=settings, clock=clock)
    responses = Responses(ground.database, settings, clock)
    first_key = await _first_key(keys, home)
    operator = await keys.rotate(home.owner, "commands of this machine", "terminal")
    chat = await _make_chat(ground, own_url)
    routes = [
        *api_routes(
            gateway,
            find_key=keys.authenticate,
            metrics=metrics,
            settings=settings,
            clock=clock,
            idempotency=ground.idempotency,
            batches=batches,
            responses=responses,
            workers_pages=workers_pages,
        ),
        *admin_routes(keys, ground.sessions, clock),
        openapi_route(),
        *chat.routes(),
    ]
    app = create_app(
        routes,
        doorman=_Doorman(ground.sessions, keys, operator),
        allowed_hosts=frozenset(settings.allowed_hosts) | {settings.host},
        not_found=not_found(clock),
    )
    run = runfile.RunFile(
        url=ground.url,
        pid=os.getpid(),
        process_start=runfile.process_start(os.getpid()) or "",
        credential=operator.secret,
        started_ns=clock.now_ns(),
    )
    link_path = f"/signin?token={await ground.sessions.make_link(home.owner)}"
    return House(
        app, tuple(routes), run, first_key, link_path, gateway, chat, pool, batches, responses
    )


def _make_gateway(
    ground: _Ground, served: Served, pool: Pool, metrics: Metrics, files: FileStore
) -> Gateway:
    settings, clock = ground.settings, ground.clock
    router = make_router(
        served.places,
        settings,
        clock,
        upstreams=ground.upstreams.engines,
        routes=ground.upstreams.routes,
    )
    return Gateway(
        router,
        pool,
        meter=Meter(ground.journal),
        metrics=metrics,
        clock=clock,
        running_max=settings.running_requests_max,
        tracer=ground.tracer,
        attachments=Attachments(files, bytes_max=settings.body_bytes_max),
    )


async def _make_chat(ground: _Ground, own_url: str) -> Chat:
    clock = ground.clock
    key = await ground.keys.rotate(ground.home.chat, "chat", "chat")
    return Chat(
        ground.database,
        ground.sessions,
        Client(own_url, key.secret),
        sign=lambda account_id: sign(
            ground.pepper, key.id, account_id, clock.now_ns() // _NS_PER_S + _SIGNED_FOR_S
        ),
        clock=clock,
        heartbeat_s=ground.settings.heartbeat_s,
    )


async def _first_key(keys: KeyRing, home: Home) -> NewKey | None:
    """A key at the first start whose screen somebody may read; later ones are made by command."""
    if _nobody_reads():
        return None
    if any(key.purpose == "api" for key in await keys.list(home.owner)):
        return None
    return await keys.create(home.owner, "first")


def _nobody_reads() -> bool:
    return os.fstat(1).st_rdev == Path(os.devnull).stat().st_rdev


class _Doorman:
    """Tells the edge who a visitor is."""

    def __init__(self, sessions: Sessions, keys: KeyRing, operator: NewKey) -> None:
        self._sessions = sessions
        self._keys = keys
        self._credential = operator.secret

    async def session(self, cookie: str) -> Visitor | None:
        return await self._sessions.find(cookie)

    def operator(self, credential: str) -> Visitor | None:
        if not hmac.compare_digest(credential.encode(), self._credential.encode()):
            return None
        try:
            caller = self._keys.find(credential)
        except Unauthenticated:  # the owner it was made for is one no longer
            return None
        return Visitor(caller.scope, caller.role)
