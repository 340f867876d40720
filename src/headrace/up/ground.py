"""The ground that every part of a running Headrace stands on: store, journal, ledger, keys."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import msgspec
from sqlalchemy import Connection

from headrace.catalog.release import adopt
from headrace.config.secrets import load_or_create
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.identity.epoch import EPOCH_FILE, Epoch
from headrace.identity.keys import KeyRing
from headrace.identity.sessions import Sessions
from headrace.ledger import reader
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.tries import Tries
from headrace.serving.idempotency import Idempotency
from headrace.serving.tracing import Tracer
from headrace.store import budgets
from headrace.store.accounts import Home
from headrace.store.database import Database
from headrace.store.home import bootstrap
from headrace.up.background import background, keep_flushing, keep_forgetting
from headrace.up.books import Books, open_books
from headrace.up.models import Served
from headrace.up.traces import open_tracer
from headrace.up.upstreams import Upstreams, make_upstreams, running
from headrace.up.workers.supervisor import worker_names

_WORKER = "control"


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What every part stands on."""

    settings: Settings
    clock: Clock
    url: str
    pepper: bytes
    database: Database
    journal: Journal
    books: Books
    home: Home
    keys: KeyRing
    sessions: Sessions
    idempotency: Idempotency
    upstreams: Upstreams
    tracer: Tracer


async def lay_ground(
    stack: AsyncExitStack, settings: Settings, served: Served, clock: Clock, url: str
) -> Ground:
    """Open what everything stands on, recover what a crash left, and close it with the stack."""
    pepper = load_or_create(settings.data, "pepper")
    tracer = open_tracer(settings)
    stack.push_async_callback(tracer.close)
    database = Database.at(settings.data, settings.database_url)
    stack.callback(database.close)
    database.migrate(clock)
    home = await database.write(lambda connection: _settle_in(connection, served, clock))
    journal, projector = await _open_journal(stack, database, settings, clock)
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
        charged=Tries(database, journal.directory).charged,
    )
    await idempotency.release_left()
    await stack.enter_async_context(background(keep_forgetting(idempotency)))
    installed = {place.engine.model.id: place.engine.model for place in served.places}
    upstreams = make_upstreams(settings.routing, installed, data=settings.data, clock=clock)
    await stack.enter_async_context(running(upstreams))
    books = await open_books(
        stack,
        database,
        journal,
        projector,
        clock,
        settings=settings,
        home=home,
        upstreams=upstreams,
        epoch=epoch,
    )
    return Ground(
        settings=settings,
        clock=clock,
        url=url,
        pepper=pepper,
        database=database,
        journal=journal,
        books=books,
        home=home,
        keys=keys,
        sessions=Sessions(database, pepper, clock),
        idempotency=idempotency,
        upstreams=upstreams,
        tracer=tracer,
    )


async def _open_journal(
    stack: AsyncExitStack, database: Database, settings: Settings, clock: Clock
) -> tuple[Journal, Projector]:
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
        await database.write(partial(budgets.drop_grants, worker=name))
    # Runs late in the stop, when every call has written its record.
    stack.push_async_callback(projector.catch_up)
    await stack.enter_async_context(background(projector.run()))
    return journal, projector


def _settle_in(connection: Connection, served: Served, clock: Clock) -> Home:
    home = bootstrap(connection, clock)
    for card in served.cards:
        adopt(connection, home.owner, card, clock)
    return home
