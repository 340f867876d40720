"""The admin API: every part of the ledger and of the people, as its pages and commands use it."""

from headrace.config.routing import machines_of
from headrace.edge.routes import RuledRoute
from headrace.ledger.budgets import Budgets
from headrace.serving.admin.audit import audit_routes
from headrace.serving.admin.balances import balance_routes
from headrace.serving.admin.budgets import budget_routes
from headrace.serving.admin.limits import limit_routes
from headrace.serving.admin.machines import asset_routes, machine_routes
from headrace.serving.admin.models import model_routes
from headrace.serving.admin.prices import price_routes
from headrace.serving.admin.receipts import receipt_routes
from headrace.serving.admin.reports import report_routes
from headrace.serving.admin.traffic import traffic_routes
from headrace.serving.app import Pages
from headrace.serving.gateway import Gateway
from headrace.up.ground import Ground
from headrace.up.people import people_routes


def admin_routes(ground: Ground, gateway: Gateway, workers_pages: Pages | None) -> list[RuledRoute]:
    """All routes under /admin.

    Args:
        ground: What they change and show.
        gateway: Knows the models and what runs.
        workers_pages: The figures of API workers, where there are some.
    """
    database, clock, books = ground.database, ground.clock, ground.books
    terms, audit, changed = books.terms, books.audit, books.changed
    budgets = Budgets(database, ground.journal.directory, clock, audit, changed)
    return [
        *people_routes(ground),
        *budget_routes(budgets, books.refunds),
        *limit_routes(database, terms.limits, audit, clock, changed=changed),
        *price_routes(
            terms.prices,
            books.list_prices,
            audit,
            clock,
            models=lambda: {model.id for model in gateway.models()},
            changed=changed,
        ),
        *machine_routes(
            terms.machines,
            machines_of(ground.settings.routing),
            books.energy.source,
            audit,
            clock,
            changed=changed,
        ),
        *asset_routes(database, ground.journal, audit, clock, changed=changed),
        *report_routes(database, clock),
        *receipt_routes(database, ground.journal.directory),
        *audit_routes(database),
        *balance_routes(database),
        *traffic_routes(database, gateway, clock),
        *model_routes(gateway, workers_pages),
    ]
