"""`https:` — a model file behind an address, pinned by `#sha256=` or at its first pull."""

from headrace.catalog.download import download
from headrace.catalog.fetching import Fetched, Order
from headrace.catalog.sources import WebSource


def fetch(source: WebSource, order: Order) -> Fetched:
    """Download the file, continuing an earlier try.

    Raises:
        CatalogError: It cannot be had; what came so far stays for the next try.
    """
    download(source.url, order, identity=source.digest or source.url, headers={})
    return Fetched(order.target, str(source), source.digest)
