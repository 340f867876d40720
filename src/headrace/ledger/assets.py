"""Assets: what training a release cost, paid back by the tokens that it serves."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.core.money import NanoDollars
from headrace.core.scope import Scope
from headrace.ledger.prices import half_even
from headrace.ledger.shared_page import SharedPage
from headrace.store import assets as rows
from headrace.store.assets import Asset
from headrace.store.database import Database

ASSETS_MAX = 512
"""How many the page has room for."""
_DIGEST, _LEFT, _FIELDS = range(3)


class _Known(msgspec.Struct, frozen=True):
    """An asset, and where the page says what is left of it."""

    asset: Asset
    place: int


class Assets:
    """The assets of an organisation, and what their tokens have not yet paid.

    What is left of each stands in a page that all processes share, so that no asset is ever
    written off by more than it cost.

    Args:
        database: Where the assets are kept.
        scope: Of the organisation that has them.
        path: The page's file.
        first: This process begins it anew from the books, which must hold all that earlier
            processes wrote off; the others open it later.
        alone: There are no others.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(
        self,
        database: Database,
        scope: Scope,
        path: Path,
        *,
        first: bool = True,
        alone: bool = True,
    ) -> None:
        self._database = database
        self._scope = scope
        self._known: Mapping[str, _Known] = {}
        self._page = SharedPage(path, ASSETS_MAX * _FIELDS, alone=alone)
        if first:
            with self._page as words:
                words[:] = memoryview(bytes(words.nbytes)).cast("q")

    @property
    def any(self) -> bool:
        """Whether there are assets at all."""
        return bool(self._known)

    async def reload(self) -> None:
        """Read the assets anew; of those that the page knows, it knows what is left."""
        found, left = await self._database.read(
            lambda connection: (
                rows.every(connection, self._scope),
                rows.unpaid_nano(connection, self._scope),
            )
        )
        known: dict[str, _Known] = {}
        with self._page as words:
            for asset in found:
                # One whose posting the books do not hold yet has served nothing.
                unpaid = max(0, left.get(asset.release_digest, asset.cost_nano))
                place = _place(words, asset.release_digest, unpaid)
                if place is not None:
                    known[asset.release_digest] = _Known(asset, place)
        self._known = known

    def write_off(self, release_digest: str, tokens: int) -> NanoDollars:
        """What so many tokens pay of their release, and have paid now."""
        known = self._known.get(release_digest)
        if known is None:
            return NanoDollars(0)
        asset, at = known.asset, known.place + _LEFT
        share = half_even(asset.cost_nano * tokens, asset.planned_tokens)
        with self._page as words:
            paid = min(share, words[at])
            words[at] -= paid
        return NanoDollars(paid)

    def close(self) -> None:
        """Let go of the file."""
        self._page.close()


def _place(words: memoryview, release_digest: str, unpaid_nano: int) -> int | None:
    """Where a release stands in the page, put there if it is new; None in a full page."""
    hashed = hashlib.sha256(release_digest.encode()).digest()
    mark = int.from_bytes(hashed[:8], signed=True) or 1
    for step in range(ASSETS_MAX):
        place = (mark + step) % ASSETS_MAX * _FIELDS
        if words[place + _DIGEST] == mark:
            return place
        if not words[place + _DIGEST]:
            words[place + _DIGEST], words[place + _LEFT] = mark, unpaid_nano
            return place
    return None
