"""Routes of what machines of our own cost, and of releases that were trained for money."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import Conflict, InvalidRequest, NotFound
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger.accrual import asset_posting
from headrace.ledger.assets import ASSETS_MAX
from headrace.ledger.audit import AuditLog
from headrace.ledger.energy import Source
from headrace.ledger.journal import Journal
from headrace.ledger.machines import Machines, Terms, decode_terms
from headrace.ledger.prices import half_even
from headrace.ledger.records import POSTED
from headrace.serving.admin.body import read_as
from headrace.store import assets as rows
from headrace.store.assets import Asset
from headrace.store.database import Database
from headrace.store.machines import MachineVersion

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|upstream:[^/]+/.+")
_NANO_MAX = 10**18
_TOKENS_MAX = 10**15


class MachineBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a machine costs from `effective_ns` on, or from now."""

    name: str
    terms: Terms
    effective_ns: int | None = None


class Measured(msgspec.Struct, frozen=True):
    """What measures its energy; `estimated` where nothing does but its watts are known."""

    energy: str | None


class MachineShown(msgspec.Struct, frozen=True):
    """A machine; without terms it costs nothing, as far as is known.

    The hour's costs are worked out of the terms that hold now: `idle` and `load` are those with its
    energy, when nobody uses it and under full load.
    """

    name: str
    terms: Terms | None
    effective_ns: int | None
    measured: Measured
    idle_nano_per_hour: int
    load_nano_per_hour: int


class MachinesShown(msgspec.Struct, frozen=True):
    """Every machine that the configuration knows, and older ones that have terms."""

    machines: list[MachineShown]


class AssetBody(msgspec.Struct, forbid_unknown_fields=True):
    """What training a release cost, and how many tokens shall pay it back."""

    release_digest: str
    cost_nano: Annotated[int, msgspec.Meta(ge=1, le=_NANO_MAX)]
    planned_tokens: Annotated[int, msgspec.Meta(ge=1, le=_TOKENS_MAX)]


class AssetsShown(msgspec.Struct, frozen=True):
    """All assets, oldest first."""

    assets: list[Asset]


def machine_routes(
    machines: Machines,
    names: Sequence[str],
    source: Source | None,
    audit: AuditLog,
    clock: Clock,
    *,
    changed: Callable[[], Awaitable[None]],
) -> Sequence[RuledRoute]:
    """Machines, for admins to change and viewers to see.

    Args:
        machines: Knows their terms.
        names: Of the machines that the configuration knows; the first is this one.
        source: What measures the energy of this machine.
        audit: Where changes are written down.
        clock: The house's clock.
        changed: Brings what has changed to every process.
    """

    def shown(name: str, version: MachineVersion | None) -> MachineShown:
        here = source if name == names[0] else None
        return _shown(name, version, machines, here, clock.now_ns())

    async def show(_: Request) -> Response:
        now_ns = clock.now_ns()
        holding: dict[str, MachineVersion | None] = dict.fromkeys(names)
        for version in await machines.versions():
            if version.effective_ns <= now_ns or holding.get(version.name) is None:
                holding[version.name] = version
        found = [shown(name, version) for name, version in holding.items()]
        return json_response(MachinesShown(found))

    async def create(request: Request) -> Response:
        body = await read_as(request, MachineBody, "a machine's terms")
        if body.name not in names:
            raise NotFound(
                f"no machine is named {body.name!r}; known: {', '.join(names)}",
                hint=f'name it where it serves: machine = "{body.name}" in [upstreams.NAME]',
            )
        version = await machines.set(body.name, body.terms, body.effective_ns)
        await audit.note(
            request.state.scope,
            "machine.set",
            version.id,
            name=body.name,
            terms=msgspec.to_builtins(body.terms),
            effective_ns=version.effective_ns,
        )
        await changed()
        return json_response(shown(body.name, version), status=201)

    return [
        route("/admin/machines", show, methods=["GET"], rule=Rule.VIEWER),
        route("/admin/machines", create, methods=["POST"], rule=Rule.ADMIN),
    ]


def asset_routes(
    database: Database,
    journal: Journal,
    audit: AuditLog,
    clock: Clock,
    *,
    changed: Callable[[], Awaitable[None]],
) -> Sequence[RuledRoute]:
    """Releases that were trained for money, for admins to enter and viewers to see.

    Args:
        database: Where they are kept.
        journal: Where their cost enters the books.
        audit: Where changes are written down.
        clock: The house's clock.
        changed: Brings what has changed to every process.
    """

    async def show(request: Request) -> Response:
        found = await database.read(lambda connection: rows.every(connection, request.state.scope))
        return json_response(AssetsShown(list(found)))

    async def create(request: Request) -> Response:
        scope = request.state.scope
        body = await read_as(request, AssetBody, "an asset")
        if not _DIGEST.fullmatch(body.release_digest):
            raise InvalidRequest(
                "release_digest is not that of a release",
                param="release_digest",
                hint="receipts name it: sha256:… of its files, or upstream:UPSTREAM/MODEL",
            )
        asset = Asset(body.release_digest, body.cost_nano, body.planned_tokens, clock.now_ns())

        def work(connection: Connection) -> None:
            known = rows.every(connection, scope)
            if any(one.release_digest == asset.release_digest for one in known):
                raise Conflict(f"{asset.release_digest} is an asset already")
            if len(known) >= ASSETS_MAX:
                raise Conflict(f"there are {ASSETS_MAX} assets, which is the most there can be")
            rows.add(connection, scope, asset)

        await database.write(work)
        # A process that dies here leaves the posting to the next start.
        await journal.durable(journal.append(POSTED, asset_posting(scope, asset)))
        await audit.note(
            scope,
            "asset.created",
            asset.release_digest,
            cost_nano=asset.cost_nano,
            planned_tokens=asset.planned_tokens,
        )
        await changed()
        return json_response(asset, status=201)

    return [
        route("/admin/assets", show, methods=["GET"], rule=Rule.VIEWER),
        route("/admin/assets", create, methods=["POST"], rule=Rule.ADMIN),
    ]


def _shown(
    name: str,
    version: MachineVersion | None,
    machines: Machines,
    source: Source | None,
    now_ns: int,
) -> MachineShown:
    now = machines.at(name, now_ns)
    idle_nano = load_nano = 0
    energy: str | None = source
    if now is not None:
        idle, load = now.idle_nano_per_hour, now.load_nano_per_hour
        idle_nano = half_even(idle.numerator, idle.denominator)
        load_nano = half_even(load.numerator, load.denominator)
        if energy is None and now.load_watts:
            energy = "estimated"
    return MachineShown(
        name=name,
        terms=None if version is None else decode_terms(version),
        effective_ns=None if version is None else version.effective_ns,
        measured=Measured(energy),
        idle_nano_per_hour=idle_nano,
        load_nano_per_hour=load_nano,
    )
