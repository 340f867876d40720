"""The books of the control process: terms, list prices, what machines cost, who changed what."""

import asyncio
import logging
from contextlib import AsyncExitStack

import msgspec

from headrace.config.routing import machines_of
from headrace.config.secrets import load_or_create
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.identity.epoch import Epoch
from headrace.ledger.accrual import Accrual
from headrace.ledger.audit import AuditLog
from headrace.ledger.energy import LocalEnergy, find_energy
from headrace.ledger.journal import Journal
from headrace.ledger.list_prices import ListPrices
from headrace.ledger.notices import Notices
from headrace.ledger.projection import Projector
from headrace.ledger.refunds import Refunds
from headrace.ledger.terms import Process, Terms
from headrace.store.accounts import Home
from headrace.store.database import Database
from headrace.up.background import background
from headrace.up.upstreams import Upstreams, first_targets, listed_targets

_LOOK_UP_S = 24 * 3_600.0
_log = logging.getLogger(__name__)


class Books(msgspec.Struct, frozen=True):
    """What the gateway and the admin's pages need of the ledger."""

    audit: AuditLog
    terms: Terms
    projector: Projector
    list_prices: ListPrices
    refunds: Refunds
    notices: Notices
    energy: LocalEnergy
    epoch: Epoch

    async def changed(self) -> None:
        """Something was set anew: from now on it holds in every process."""
        # First, or this process might part with a new budget before others count their calls.
        self.epoch.rise()
        await self.terms.reload()
        await self.notices.reload()


async def open_books(
    stack: AsyncExitStack,
    database: Database,
    journal: Journal,
    projector: Projector,
    clock: Clock,
    *,
    settings: Settings,
    home: Home,
    upstreams: Upstreams,
    epoch: Epoch,
) -> Books:
    """Join them, and close them with the stack; the journals are in the rows already."""
    listed = ListPrices(
        database,
        clock,
        home.owner,
        settings.data,
        listed_targets(settings.routing, upstreams.routes),
    )
    # Before any call, or the first ones to a new upstream would have no price.
    await _look_up(listed, missing=True)
    terms = Terms.of(
        database,
        journal,
        clock,
        scope=home.owner,
        data=settings.data,
        machines=machines_of(settings.routing),
        first_targets=first_targets(upstreams.routes),
        process=Process(0, settings.workers + 1 if settings.workers > 1 else 1),
        budget_wait_s=settings.budget_wait_s,
    )
    stack.push_async_callback(terms.close)
    await terms.reload()
    audit = AuditLog(journal, clock)
    notices = Notices(database, clock, load_or_create(settings.data, "webhook"))
    await notices.reload()
    books = Books(
        audit=audit,
        terms=terms,
        projector=projector,
        list_prices=listed,
        refunds=Refunds(database, journal, clock, audit, terms.reservations),
        notices=notices,
        energy=await asyncio.to_thread(find_energy),
        epoch=epoch,
    )
    await stack.enter_async_context(background(notices.run()))
    await stack.enter_async_context(background(terms.reservations.run()))
    await stack.enter_async_context(background(_keep_looking_up(books)))
    accrual = Accrual(
        database,
        journal,
        clock,
        home.owner,
        machines=terms.machines,
        shares=terms.share_clock,
        energy=books.energy,
        data=settings.data,
        catch_up=projector.catch_up,
    )
    await accrual.start()
    stack.push_async_callback(accrual.stop)
    await stack.enter_async_context(background(accrual.run()))
    return books


async def _look_up(listed: ListPrices, *, missing: bool) -> bool:
    """Whether any list price is another one than before."""
    try:
        return (await listed.refresh(missing=missing)).changed > 0
    except HeadraceError as error:
        _log.warning("list prices are those known before: %s", error.message)
        return False


async def _keep_looking_up(books: Books) -> None:
    """Look again every day: some prices change on a known date."""
    while True:
        if await _look_up(books.list_prices, missing=False):
            await books.changed()
        await asyncio.sleep(_LOOK_UP_S)
