"""`hf:` — a file on the Hugging Face Hub.

The hub's own library says which commit, size and digest the file has and which token, if any,
opens it. The bytes come through our own download: the library throws away what an interrupted
run has fetched.
"""

import msgspec

from headrace.catalog.card import DIGEST
from headrace.catalog.download import download, refusal
from headrace.catalog.fetching import Fetched, Order
from headrace.catalog.sources import HubSource, check_url
from headrace.core.errors import CatalogError
from headrace.core.version import __version__


class _Found(msgspec.Struct, frozen=True):
    """What the hub knows of a file; the digest is there for every large file."""

    commit: str | None
    digest: str | None
    size_bytes: int | None


def fetch(source: HubSource, order: Order) -> Fetched:
    """Download the file of the commit that the revision means now.

    The source of the result names that commit, and its digest is the hub's.

    Raises:
        CatalogError: The hub does not have it, does not give it, or has another file there
            than the one expected; what came so far stays for the next try.
    """
    url, headers, found = _look_up(source)
    if order.digest is not None and found.digest is not None and order.digest != found.digest:
        raise CatalogError(
            f"the hub has another file at {source}: {found.digest}, {order.digest} was expected",
            hint="the origin has changed the file: do not use it before you know why",
        )
    pinned = HubSource(source.repository, source.file, found.commit)
    sized = Order(
        order.folder, order.file, order.progress, found.digest or order.digest, found.size_bytes
    )
    download(url, sized, identity=sized.digest or url, headers=headers)
    return Fetched(order.target, str(pinned), found.digest)


def _look_up(source: HubSource) -> tuple[str, dict[str, str], _Found]:
    from huggingface_hub import (  # noqa: PLC0415 - heavy
        get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType] - a bare dict in it
        hf_hub_url,
    )
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - heavy
    from huggingface_hub.utils import (  # noqa: PLC0415 - heavy
        build_hf_headers,  # pyright: ignore[reportUnknownVariableType] - a bare dict in it
    )

    url = hf_hub_url(source.repository, source.file, revision=source.revision)
    check_url(url)
    try:
        headers = build_hf_headers(library_name="headrace", library_version=__version__)
        metadata = get_hf_file_metadata(url, headers=headers)
    except HfHubHTTPError as error:
        raise refusal(error.response.status_code, url) from None
    except Exception as error:  # noqa: BLE001 - the library lets its transport's errors through
        raise CatalogError(
            f"the hub cannot be asked for {source}: {type(error).__name__}: {error}",
            hint="check the connection, HF_ENDPOINT and HF_HUB_OFFLINE",
        ) from None
    digest = f"sha256:{metadata.etag}"
    found = _Found(
        metadata.commit_hash, digest if DIGEST.fullmatch(digest) else None, metadata.size
    )
    pinned = hf_hub_url(source.repository, source.file, revision=found.commit or source.revision)
    return pinned, headers, found
