"""Where products and engines are put together; nowhere else do they meet."""

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.chat.app import Chat
from headrace.config import runfile
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import Unauthenticated
from headrace.edge.routes import RuledRoute, create_app
from headrace.identity.delegation import sign
from headrace.identity.keys import KeyRing, NewKey
from headrace.identity.sessions import Sessions
from headrace.ledger.tries import Tries
from headrace.serving.app import Pages, api_routes, authenticator, not_found
from headrace.serving.attachments import Attachments
from headrace.serving.batches.parts import Batches
from headrace.serving.gateway import Gateway
from headrace.serving.metrics import Metrics
from headrace.serving.outcomes import outcome_route
from headrace.serving.pool import Pool
from headrace.serving.responses.routes import Responses
from headrace.store.accounts import Home
from headrace.store.contents import Contents
from headrace.store.file_store import FileStore
from headrace.store.sessions import Visitor
from headrace.up.admin import admin_routes
from headrace.up.background import background
from headrace.up.ground import Ground, lay_ground
from headrace.up.models import Served
from headrace.up.openapi import openapi_route
from headrace.up.routing import make_router

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
    worker_ended: Callable[[int], None]
    keys: KeyRing

    async def drain(self, wait_s: float) -> None:
        """Let running answers finish, at most `wait_s` seconds, then mark what is left."""
        # Together: one after the other could take twice as long, and take calls meanwhile.
        async with asyncio.TaskGroup() as draining:
            draining.create_task(self.chat.drain(wait_s))
            draining.create_task(self.gateway.drain(wait_s))
            draining.create_task(self.batches.runner.drain(wait_s))
        await self.pool.stop()


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
        ground = await lay_ground(stack, settings, served, clock, url)
        house = await _join(ground, served, own_url or url, workers_pages)
        stack.push_async_callback(house.pool.stop)
        await house.batches.files.recover()
        await stack.enter_async_context(background(house.batches.files.keep_reaping()))
        stack.push_async_callback(house.batches.runner.drain, 0)
        await house.batches.runner.start()
        await stack.enter_async_context(house.responses.running())
        await stack.enter_async_context(house.chat.running())
        yield house


async def _join(ground: Ground, served: Served, own_url: str, workers_pages: Pages | None) -> House:
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
    batches = _make_batches(ground, gateway, files)
    responses = Responses(ground.database, settings, clock)
    first_key = await _first_key(keys, home)
    operator = await keys.rotate(home.owner, "commands of this machine", "terminal")
    chat = await _make_chat(ground, own_url)
    routes = (
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
        *admin_routes(ground, gateway, workers_pages),
        _outcomes(ground, gateway),
        openapi_route(),
        *chat.routes(),
    )
    app = create_app(
        routes,
        doorman=_Doorman(ground.sessions, keys, operator),
        allowed_hosts=frozenset(settings.allowed_hosts) | {settings.host},
        not_found=not_found(clock),
    )
    link_path = f"/signin?token={await ground.sessions.make_link(home.owner)}"
    return House(
        app,
        routes,
        _run_file(ground, operator),
        first_key,
        link_path,
        gateway,
        chat,
        pool,
        batches,
        responses,
        ground.books.terms.worker_ended,
        keys,
    )


def _make_batches(ground: Ground, gateway: Gateway, files: FileStore) -> Batches:
    return Batches(
        gateway,
        files,
        holder=ground.keys.holder,
        settings=ground.settings,
        clock=ground.clock,
        charged=Tries(ground.database, ground.journal.directory).charged,
    )


def _outcomes(ground: Ground, gateway: Gateway) -> RuledRoute:
    return outcome_route(
        ground.journal,
        authenticator(ground.keys.authenticate),
        ground.clock,
        models=lambda: [model.id for model in gateway.models()],
    )


def _run_file(ground: Ground, operator: NewKey) -> runfile.RunFile:
    return runfile.RunFile(
        url=ground.url,
        pid=os.getpid(),
        process_start=runfile.process_start(os.getpid()) or "",
        credential=operator.secret,
        started_ns=ground.clock.now_ns(),
    )


def _make_gateway(
    ground: Ground, served: Served, pool: Pool, metrics: Metrics, files: FileStore
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
        meter=ground.books.terms.meter(charge_before_last_byte=settings.charge_before_last_byte),
        metrics=metrics,
        clock=clock,
        running_max=settings.running_requests_max,
        tracer=ground.tracer,
        attachments=Attachments(files, bytes_max=settings.body_bytes_max),
    )


async def _make_chat(ground: Ground, own_url: str) -> Chat:
    clock = ground.clock
    key = await ground.keys.rotate(ground.home.chat, "chat", "chat")
    return Chat(
        ground.database,
        ground.sessions,
        Client(Endpoint(base_url=own_url, key=key.secret, ours=True)),
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
