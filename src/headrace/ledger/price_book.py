"""Price book: which rates hold for a model or an upstream's model, at any time.

A look-up is two dictionary reads and a comparison: each target's versions stand in a timeline
that keeps the stretch of time it was last asked for.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.ledger.prices import Price, Rates
from headrace.store import prices as rows
from headrace.store.database import Database
from headrace.store.prices import PriceVersion, Side

_ALWAYS_NS = 1 << 63


class Timeline:
    """The versions of one target, by their time."""

    __slots__ = ("_from_ns", "_now", "_until_ns", "versions")

    def __init__(self, versions: Sequence[Price]) -> None:
        # A stable sort: of two with one time the later one made holds.
        self.versions = tuple(sorted(versions, key=lambda price: price.effective_ns))
        self._from_ns = self._until_ns = 0
        self._now: Price | None = None

    def at(self, at_ns: int) -> Price | None:
        """The version that holds at a time."""
        if self._from_ns <= at_ns < self._until_ns:
            return self._now
        now, from_ns, until_ns = None, -_ALWAYS_NS, _ALWAYS_NS
        for version in self.versions:
            if version.effective_ns > at_ns:
                until_ns = version.effective_ns
                break
            now, from_ns = version, version.effective_ns
        self._now, self._from_ns, self._until_ns = now, from_ns, until_ns
        return now


class PriceBook:
    """All prices and costs of an organisation, in memory.

    Args:
        database: Where the versions are kept.
        clock: The house's clock.
        scope: Of the organisation that charges.
        first_targets: For each public model that an upstream answers first, that target's
            `UPSTREAM/MODEL`, whose list price is charged where no price is set.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        scope: Scope,
        first_targets: Mapping[str, str] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._scope = scope
        self._first_targets = dict(first_targets or {})
        self._prices: Mapping[str, Timeline] = {}
        self._costs: Mapping[str, Timeline] = {}

    async def reload(self) -> None:
        """Read all versions anew."""
        costs, charged = _by_target(await self.versions())
        self._costs = {target: Timeline(_unless_set(costs[target])) for target in costs}
        for model_id, target in self._first_targets.items():
            listed = [one for one in costs.get(target, []) if one.origin == "list"]
            charged[model_id] = [*listed, *charged.get(model_id, [])]
        self._prices = {target: Timeline(_unless_set(charged[target])) for target in charged}

    async def set(
        self, side: Side, target: str, rates: Rates, effective_ns: int | None = None
    ) -> PriceVersion:
        """Write a new version down; it is in use after the next `reload`.

        Args:
            side: Of a model, or of an upstream's model.
            target: Which one.
            rates: What holds from then on.
            effective_ns: From when; None: from now.

        Raises:
            InvalidRequest: That time has passed; what was called then has its price.
        """
        now_ns = self._clock.now_ns()
        if effective_ns is not None and effective_ns < now_ns:
            raise InvalidRequest(
                "a price cannot take effect in the past: calls keep the price they were made at",
                param="effective_ns",
            )
        version = PriceVersion(
            id=new_id(self._clock),
            side=side,
            target=target,
            rates=msgspec.json.encode(rates).decode(),
            origin="set",
            effective_ns=now_ns if effective_ns is None else effective_ns,
            created_ns=now_ns,
        )
        await self._database.write(lambda connection: rows.add(connection, self._scope, [version]))
        return version

    async def versions(self) -> tuple[PriceVersion, ...]:
        """All versions, each target's in the order of their effect."""
        return await self._database.read(lambda connection: rows.every(connection, self._scope))

    def price(self, model_id: str, at_ns: int) -> Price | None:
        """What a model's calls are charged; None: nothing, as nobody has said how much."""
        timeline = self._prices.get(model_id)
        return None if timeline is None else timeline.at(at_ns)

    def cost(self, target_id: str, at_ns: int) -> Price | None:
        """What an upstream charges for `UPSTREAM/MODEL`; None: unknown, or it is nobody's."""
        timeline = self._costs.get(target_id)
        return None if timeline is None else timeline.at(at_ns)


def _by_target(
    versions: Iterable[PriceVersion],
) -> tuple[dict[str, list[Price]], dict[str, list[Price]]]:
    """Costs and prices, each by target."""
    costs: dict[str, list[Price]] = {}
    prices: dict[str, list[Price]] = {}
    for one in versions:
        rates = msgspec.json.decode(one.rates, type=Rates)
        price = Price(one.id, one.target, rates, one.effective_ns, one.origin)
        (costs if one.side == "cost" else prices).setdefault(one.target, []).append(price)
    return costs, prices


def _unless_set(versions: Sequence[Price]) -> list[Price]:
    """Set ones, and list ones up to the first of them."""
    set_ns = min((one.effective_ns for one in versions if one.origin == "set"), default=_ALWAYS_NS)
    return [one for one in versions if one.origin == "set" or one.effective_ns < set_ns]
