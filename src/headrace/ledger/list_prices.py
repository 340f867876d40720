"""List prices: what upstreams say they charge, from the data of `genai-prices`.

A child process reads them; what it found is kept in the data folder and, where it is new, becomes a
version of the price book. Prices are only ever fetched from elsewhere when somebody asks for it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import EngineUnavailable
from headrace.core.scope import Scope
from headrace.ledger.list_prices_asking import ask
from headrace.ledger.list_prices_child import Question, Wanted
from headrace.ledger.prices import Rates
from headrace.store import prices as rows
from headrace.store.database import Database
from headrace.store.prices import PriceVersion

FILE = "list_prices.json"
"""Its name in the data folder."""
_NS_PER_DAY = 86_400_000_000_000


class Known(msgspec.Struct, frozen=True):
    """What the last child found: of which day, in which version of the data, by URL and model.

    `fetched_ns` is when the newest data was fetched, None where they came with the package.
    """

    package: str
    day_ns: int
    fetched_ns: int | None
    rates: dict[str, Rates | None]


class Updated(msgspec.Struct, frozen=True):
    """What a look at the list prices came to: how many targets have one, and how many changed."""

    targets: int
    listed: int
    changed: int
    package: str
    fetched_ns: int | None


class ListPrices:
    """Keeps the list prices of the configured upstreams in the price book's table.

    Args:
        database: Where versions go.
        clock: The house's clock.
        scope: Of the organisation that pays the upstreams.
        data: The data folder.
        targets: Every `UPSTREAM/MODEL` at a URL, and what it is called there.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        scope: Scope,
        data: Path,
        targets: Mapping[str, Wanted],
    ) -> None:
        self._database = database
        self._clock = clock
        self._scope = scope
        self._path = data / FILE
        self._targets = dict(targets)
        self._one_at_a_time = asyncio.Lock()

    async def refresh(self, *, newest: bool = False, missing: bool = False) -> Updated:
        """Bring the table up to date; costs a file's reading where nothing is due.

        Args:
            newest: Fetch the newest data over the network, where there are targets.
            missing: Look up only what was never looked up, and leave prices of another day.

        Raises:
            EngineUnavailable: The newest data cannot be fetched; what was known still holds.
            HeadraceError: The child failed.
        """
        async with self._one_at_a_time:
            known = await asyncio.to_thread(self._read)
            day_ns = self._clock.now_ns() // _NS_PER_DAY * _NS_PER_DAY
            if newest and self._targets:
                now = await self._look_up(list(self._targets.values()), day_ns, newest=True)
            else:
                now = await self._completed(known, day_ns, missing=missing)
            if now is not known:
                await asyncio.to_thread(self._write, now)
            rates = {
                target: now.rates.get(_name(wanted)) for target, wanted in self._targets.items()
            }
            changed = await self._store(rates)
            listed = sum(one is not None for one in rates.values())
            return Updated(len(rates), listed, changed, now.package, now.fetched_ns)

    async def _completed(self, known: Known | None, day_ns: int, *, missing: bool) -> Known:
        """What is known, and what the package's own data say of the rest."""
        package = version("genai-prices")
        if known is None or known.package != package:
            known = Known(package, day_ns, None, {})
        old = known.day_ns != day_ns and known.fetched_ns is None and not missing
        wanted = [one for one in self._targets.values() if old or _name(one) not in known.rates]
        if not wanted:
            return known
        more = await self._look_up(wanted, day_ns, newest=False)
        # The day stays an earlier one as long as any price is of that day.
        day_ns = known.day_ns if missing else day_ns
        return msgspec.structs.replace(known, day_ns=day_ns, rates=known.rates | more.rates)

    async def _look_up(self, wanted: list[Wanted], day_ns: int, *, newest: bool) -> Known:
        now_ns = self._clock.now_ns()
        found = await ask(Question(wanted, now_ns, newest))
        if found.error is not None:
            raise EngineUnavailable(
                f"the newest list prices cannot be fetched: {found.error}",
                hint="see that this machine reaches the internet; the known prices still hold",
            )
        rates = {_name(one): rate for one, rate in zip(wanted, found.rates, strict=True)}
        return Known(found.version, day_ns, now_ns if newest else None, rates)

    async def _store(self, rates: Mapping[str, Rates | None]) -> int:
        """New versions of what changed; how many there are."""
        now_ns = self._clock.now_ns()
        found = await self._database.read(lambda connection: rows.every(connection, self._scope))
        last = {one.target: one for one in found if one.side == "cost" and one.origin == "list"}
        versions = [
            made
            for target, rate in rates.items()
            if rate is not None
            and (made := _version(self._scope, target, rate, last.get(target), now_ns)) is not None
        ]
        await self._database.write(lambda connection: rows.add(connection, self._scope, versions))
        return len(versions)

    def _read(self) -> Known | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None  # it is only a copy

    def _write(self, known: Known) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(known))
        beside.replace(self._path)


def _name(wanted: Wanted) -> str:
    return f"{wanted.url} {wanted.model}"


def _version(
    scope: Scope, target: str, rates: Rates, last: PriceVersion | None, now_ns: int
) -> PriceVersion | None:
    """The version that follows `last`, None where nothing has changed.

    Its id is a hash of what it says and what it follows: two processes that find the same change
    write one row.
    """
    if last is not None and msgspec.json.decode(last.rates, type=Rates) == rates:
        return None
    text = msgspec.json.encode(rates).decode()
    before = "" if last is None else last.id
    said = f"{scope.organisation_id}\n{target}\n{before}\n{text}".encode()
    return PriceVersion(
        id=f"list-{hashlib.sha256(said).hexdigest()[:32]}",
        side="cost",
        target=target,
        rates=text,
        origin="list",
        # Whatever the wall clock did, it takes effect behind the one that it follows.
        effective_ns=now_ns if last is None else max(now_ns, last.effective_ns + 1),
        created_ns=now_ns,
    )
