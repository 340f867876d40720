"""The real API over a real socket in this event loop, in front of any engines."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.edge.routes import create_app
from headrace.identity.keys import KeyRing
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.terms import Process, Terms
from headrace.ledger.tries import Tries
from headrace.serving.app import api_routes, authenticator, not_found
from headrace.serving.attachments import Attachments
from headrace.serving.batches.parts import Batches
from headrace.serving.engine import Engine
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.gateway import Gateway
from headrace.serving.idempotency import Idempotency
from headrace.serving.metrics import Metrics
from headrace.serving.outcomes import outcome_route
from headrace.serving.pool import Place, Pool
from headrace.serving.responses.routes import Responses
from headrace.store.accounts import Home
from headrace.store.contents import Contents
from headrace.store.database import Database
from headrace.store.file_store import FileStore
from headrace.store.generations import Generation
from headrace.store.home import bootstrap
from headrace.store.sessions import Visitor
from headrace.up.routing import make_router
from headrace.up.server import Server, bind, url_of
from headrace.up.traces import open_tracer

PEPPER = b"p" * 32


class Nobody:
    """No sessions and no operator: only keys open doors here."""

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        del credential
        return None


class Api(msgspec.Struct):
    """A served API and the parts that tests look into."""

    url: str
    key: str
    home: Home
    database: Database
    gateway: Gateway
    keys: KeyRing
    journal: Journal
    projector: Projector
    engines: tuple[Engine, ...]
    batches: Batches
    terms: Terms

    async def receipts(self) -> tuple[Generation, ...]:
        """Every receipt so far, oldest first."""
        await self.projector.catch_up()
        from headrace.store import generations  # noqa: PLC0415 - beside its one use

        found = await self.database.read(
            lambda connection: generations.recent(connection, self.home.owner, limit=100)
        )
        return tuple(sorted(found, key=lambda each: each.id))


@asynccontextmanager
async def served_api(
    database: Database,
    folder: Path,
    engines: Sequence[Engine],
    settings: Settings | None = None,
    memory_bytes: int = 0,
) -> AsyncGenerator[Api]:
    """The API for the length of the context; each engine is said to need `memory_bytes`."""
    clock = SystemClock()
    settings = settings or load_settings({"data": folder})
    home = await database.write(lambda connection: bootstrap(connection, clock))
    async with AsyncExitStack() as stack:
        journal = Journal.open(folder / "journal", "control", clock)
        stack.callback(journal.close)
        keys = KeyRing(database, PEPPER, clock)
        await keys.reload()
        made = await keys.create(home.owner, "test")
        places = [Place(engine, memory_bytes) for engine in engines]
        pool = Pool(places, memory_bytes_max=memory_bytes or 1, clock=clock)
        await pool.start_default()
        stack.push_async_callback(pool.stop)
        metrics = Metrics()
        tracer = open_tracer(settings)
        stack.push_async_callback(tracer.close)
        files = FileStore(
            database,
            Contents(folder / "files"),
            clock,
            total_bytes_max=settings.files_bytes_max,
        )
        terms = Terms.of(
            database,
            journal,
            clock,
            scope=home.owner,
            data=folder,
            machines=("local",),
            first_targets={},
            process=Process(),
        )
        await terms.reload()
        stack.push_async_callback(terms.close)
        gateway = Gateway(
            make_router(places, settings, clock),
            pool,
            meter=terms.meter(charge_before_last_byte=True),
            metrics=metrics,
            clock=clock,
            running_max=settings.running_requests_max,
            tracer=tracer,
            attachments=Attachments(files, bytes_max=settings.body_bytes_max),
        )
        tries = Tries(database, journal.directory)
        idempotency = Idempotency(
            database,
            PEPPER,
            clock,
            kept_s=settings.idempotency_kept_s,
            bytes_max=settings.idempotency_bytes_max,
            charged=tries.charged,
        )
        batches = Batches(
            gateway,
            files,
            holder=keys.holder,
            settings=settings,
            clock=clock,
            charged=tries.charged,
        )
        await batches.runner.start()
        stack.push_async_callback(batches.runner.drain, 0)
        responses = Responses(database, settings, clock)
        await stack.enter_async_context(responses.running())
        routes = [
            *api_routes(
                gateway,
                find_key=keys.authenticate,
                metrics=metrics,
                settings=settings,
                clock=clock,
                idempotency=idempotency,
                batches=batches,
                responses=responses,
            ),
            outcome_route(
                journal,
                authenticator(keys.authenticate),
                clock,
                models=lambda: [model.id for model in gateway.models()],
            ),
        ]
        app = create_app(
            routes, doorman=Nobody(), allowed_hosts=frozenset(), not_found=not_found(clock)
        )
        listener = bind("127.0.0.1", 0)
        server = Server(app, lambda: gateway.drain(0), head_wait_s=settings.head_wait_s)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0)
        try:
            yield Api(
                url_of(listener),
                made.secret,
                home,
                database,
                gateway,
                keys,
                journal,
                Projector(database, journal),
                tuple(engines),
                batches,
                terms,
            )
        finally:
            server.should_exit = True
            await serving
            listener.close()


def scripted(path: Path, *turns: object, **script: object) -> ScriptedEngine:
    """A scripted engine that plays these turns."""
    path.write_text(json.dumps({"turns": turns, **script}))
    return ScriptedEngine(path, SystemClock())
