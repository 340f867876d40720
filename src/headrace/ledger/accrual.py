"""Accrual: what machines of our own cost by the hour, whoever used them.

While Headrace runs, each hour of a machine puts what it cost into `capacity:MACHINE`, out of which
calls have been paid by their share of its time. What is left there served nobody and goes to
`idle:MACHINE`, with the small difference between the energy that calls were reckoned with and what
was drawn. Time in which Headrace did not run is neither.

What has passed since the last posting stands in a file, written every minute, so that a process
that is killed loses a minute of it at most. A posting's id is a hash of the machine and the time
at which its part of the hour began: one that was written just before the end is not doubled by
the next start, as the first of an id counts.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path

import msgspec

from headrace.config.routing import LOCAL_MACHINE
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.scope import Scope
from headrace.ledger.energy import LocalEnergy
from headrace.ledger.journal import Journal
from headrace.ledger.machines import NS_PER_HOUR, Machines, Rated
from headrace.ledger.records import POSTED, Entry, Posted
from headrace.ledger.share_clock import ShareClock
from headrace.store import assets, balances, postings
from headrace.store.database import Database
from headrace.store.hardware_hours import HardwareHour

FILE = "accrual.json"
"""The name of the file in the data folder."""
_TICK_S = 60.0
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_log = logging.getLogger(__name__)


class _Passed(msgspec.Struct, frozen=True):
    """What passed since the last count; `drawn_mj` is None where nothing measures it."""

    up_ns: int
    busy_ns: int
    drawn_mj: int | None

    def split(self, share: Fraction) -> "tuple[_Passed, _Passed]":
        """A first share of it, and the rest."""
        up_ns, busy_ns = int(self.up_ns * share), int(self.busy_ns * share)
        rest_ns = (self.up_ns - up_ns, self.busy_ns - busy_ns)
        if self.drawn_mj is None:
            return _Passed(up_ns, busy_ns, None), _Passed(*rest_ns, None)
        drawn_mj = int(self.drawn_mj * share)
        return _Passed(up_ns, busy_ns, drawn_mj), _Passed(*rest_ns, self.drawn_mj - drawn_mj)


class _Part(msgspec.Struct):
    """What a machine did in a part of an hour, all of it under the same terms."""

    since_ns: int
    until_ns: int
    up_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    estimated_mj: int = 0

    def add(self, passed: _Passed, terms: Rated | None, until_ns: int) -> None:
        """Count what passed until then."""
        self.up_ns += passed.up_ns
        self.busy_ns += passed.busy_ns
        self.until_ns = max(self.until_ns, until_ns)
        if passed.drawn_mj is not None:
            self.energy_mj += passed.drawn_mj
        elif terms is not None:
            estimated_mj = terms.estimated_mj(passed.up_ns, passed.busy_ns)
            self.energy_mj += estimated_mj
            self.estimated_mj += estimated_mj


class Accrual:
    """Posts what machines cost; one process alone does it.

    Args:
        database: Holds the books.
        journal: Where postings are written.
        clock: The house's clock.
        scope: Of the organisation that has the machines.
        machines: Their terms.
        shares: Tells how long they were busy.
        energy: What this machine draws.
        data: The data folder.
        catch_up: Brings the books up to the journals' ends.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        scope: Scope,
        *,
        machines: Machines,
        shares: ShareClock,
        energy: LocalEnergy,
        data: Path,
        catch_up: Callable[[], Awaitable[object]],
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._scope = scope
        self._machines = machines
        self._shares = shares
        self._energy = energy
        self._path = data / FILE
        self._catch_up = catch_up
        # The last one of each machine goes on; those before it are to be posted.
        self._parts: dict[str, list[_Part]] = {}
        self._busy_ns: dict[str, int] = {}
        self._ticked_ns = 0

    async def start(self) -> None:
        """Post what the last process could not, and begin.

        Raises:
            StoreError: The journal or the database refuses.
        """
        for name, parts in (await asyncio.to_thread(self._read)).items():
            for part in parts:
                await self._post(name, part)
        await self._post_assets()
        now_ns = self._clock.now_ns()
        self._parts = {name: [_Part(now_ns, now_ns)] for name in self._shares.machines}
        self._busy_ns = {name: self._shares.busy_ns(name) for name in self._shares.machines}
        self._ticked_ns = self._clock.monotonic_ns()
        self._energy.read_mj()
        await asyncio.to_thread(self._write)

    async def run(self) -> None:
        """Count every minute and post every hour, until cancelled."""
        while True:
            to_hour_ns = NS_PER_HOUR - self._clock.now_ns() % NS_PER_HOUR
            await asyncio.sleep(min(_TICK_S, to_hour_ns / _NS_PER_S))
            try:
                await self.tick()
            except HeadraceError as error:
                _log.error("the hour of the machines is not written down: %s", error.message)

    async def tick(self) -> None:
        """Count what has passed; post parts whose hour is over or whose terms have changed.

        Raises:
            StoreError: The journal or the database refuses; it is tried again at the next tick.
        """
        self._count()
        try:
            for name, parts in self._parts.items():
                while len(parts) > 1:
                    await self._post(name, parts[0])
                    del parts[0]
        finally:
            await asyncio.to_thread(self._write)

    async def stop(self) -> None:
        """Post the rest, or leave it to the next start; nothing is counted from now on."""
        try:
            await self.tick()
            for name, (part,) in self._parts.items():
                await self._post(name, part)
        except HeadraceError as error:
            _log.error("the next start writes down the machines' last hour: %s", error.message)
        else:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _count(self) -> None:
        now_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        up_ns, self._ticked_ns = monotonic_ns - self._ticked_ns, monotonic_ns
        drawn_mj = self._energy.read_mj()
        for name, parts in self._parts.items():
            whole_ns = self._shares.busy_ns(name)
            busy_ns, self._busy_ns[name] = whole_ns - self._busy_ns[name], whole_ns
            passed = _Passed(up_ns, busy_ns, drawn_mj if name == LOCAL_MACHINE else None)
            self._go_on(name, parts, passed, now_ns)

    def _go_on(self, name: str, parts: list[_Part], passed: _Passed, now_ns: int) -> None:
        """Add what passed to a machine's last part, and begin another one where it is over."""
        part = parts[-1]
        terms, newer = self._machines.at(name, part.since_ns), self._machines.at(name, now_ns)
        over_ns, rest = now_ns, _Passed(0, 0, None)
        if newer != terms:
            if newer is not None and part.since_ns < newer.effective_ns:
                over_ns = newer.effective_ns
            passed, rest = passed.split(_share(part.until_ns, over_ns, now_ns))
        part.add(passed, terms, over_ns)
        if newer != terms or now_ns // NS_PER_HOUR != part.since_ns // NS_PER_HOUR:
            # Two parts that began at one time would have one id.
            fresh = _Part(over_ns + (over_ns == part.since_ns), now_ns)
            fresh.add(rest, newer, now_ns)
            parts.append(fresh)

    async def _post(self, name: str, part: _Part) -> None:
        """Write one part down, and bring the machine's capacity to zero."""
        terms = self._machines.at(name, part.since_ns)
        if terms is None and not part.busy_ns:
            return
        await self._catch_up()
        identifier = _identifier(part.since_ns, self._scope.organisation_id, name)
        if await self._database.read(lambda connection: postings.exists(connection, identifier)):
            return  # by a process that was killed before it could note that
        capacity = f"capacity:{name}"
        # Before a machine's first terms no call pays: what stands there is of the part after it.
        before_nano = 0 if terms is None else await self._balance_nano(capacity)
        fixed_nano, energy_nano = _costs(terms, part)
        cost_nano = fixed_nano + energy_nano
        idle_nano = before_nano + cost_nano
        hour = HardwareHour(
            machine=name,
            hour_ns=part.since_ns // NS_PER_HOUR * NS_PER_HOUR,
            up_ns=part.up_ns,
            busy_ns=part.busy_ns,
            energy_mj=part.energy_mj,
            estimated_mj=part.estimated_mj,
            cost_nano=cost_nano,
            idle_nano=idle_nano,
        )
        entries = (
            Entry(capacity, cost_nano),
            Entry(f"hardware:{name}", -fixed_nano),
            Entry(f"energy:{name}", -energy_nano),
            Entry(f"idle:{name}", idle_nano),
            Entry(capacity, -idle_nano),
        )
        await self._write_down(
            Posted(
                id=identifier,
                organisation_id=self._scope.organisation_id,
                kind="accrual",
                time_ns=part.until_ns,
                entries=tuple(entry for entry in entries if entry.amount_nano),
                detail=msgspec.structs.asdict(hour),
            )
        )

    async def _balance_nano(self, account: str) -> int:
        found = await self._database.read(
            lambda connection: balances.every(connection, self._scope)
        )
        return sum(one.amount_nano for one in found if one.name == account)

    async def _post_assets(self) -> None:
        """Assets whose posting a dead process left out."""
        found, booked = await self._database.read(
            lambda connection: (
                assets.every(connection, self._scope),
                assets.unpaid_nano(connection, self._scope),
            )
        )
        for asset in found:
            if asset.release_digest not in booked:
                await self._write_down(asset_posting(self._scope, asset))

    async def _write_down(self, posted: Posted) -> None:
        await self._journal.durable(self._journal.append(POSTED, posted))

    def _read(self) -> dict[str, list[_Part]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[_Part]])
        except (OSError, msgspec.MsgspecError):
            return {}  # there is none, or a power cut took it

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(self._parts))
        beside.replace(self._path)


def asset_posting(scope: Scope, asset: assets.Asset) -> Posted:
    """The transaction that puts what a release cost to train into the books."""
    digest, cost_nano = asset.release_digest, asset.cost_nano
    return Posted(
        id=_identifier(asset.created_ns, scope.organisation_id, digest),
        organisation_id=scope.organisation_id,
        kind="asset",
        time_ns=asset.created_ns,
        entries=(Entry(f"asset:{digest}", cost_nano), Entry(f"training:{digest}", -cost_nano)),
        actor_id=scope.account_id,
        detail={"release_digest": digest, "planned_tokens": asset.planned_tokens},
    )


def _share(from_ns: int, at_ns: int, to_ns: int) -> Fraction:
    """Which share of a span lies before a time."""
    if to_ns <= from_ns:
        return Fraction(1)
    return min(max(Fraction(at_ns - from_ns, to_ns - from_ns), Fraction(0)), Fraction(1))


def _costs(terms: Rated | None, part: _Part) -> tuple[int, int]:
    """What a part cost: the fixed part, and energy."""
    if terms is None:
        return 0, 0
    return terms.fixed_nano(part.up_ns), terms.energy_nano(part.energy_mj)


def _identifier(time_ns: int, *names: str) -> str:
    """A UUIDv7 of that time whose random bits are a hash: the same each time it is asked for."""
    hashed = hashlib.sha256("\n".join((str(time_ns), *names)).encode()).digest()
    random_12 = int.from_bytes(hashed[:2]) & 0xFFF
    random_62 = int.from_bytes(hashed[2:10]) & ((1 << 62) - 1)
    ms = time_ns // _NS_PER_MS
    value = (ms << 80) | (0x7 << 76) | (random_12 << 64) | (0b10 << 62) | random_62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
