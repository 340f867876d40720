"""Routes of prices: every version, set one, look for new list prices."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger import rate_texts
from headrace.ledger.audit import AuditLog
from headrace.ledger.list_prices import ListPrices
from headrace.ledger.price_book import PriceBook
from headrace.ledger.prices import Rates
from headrace.ledger.rate_texts import StatedRates
from headrace.serving.admin.body import read_as
from headrace.store.prices import Origin, PriceVersion, Side


class PriceBody(msgspec.Struct, forbid_unknown_fields=True):
    """Rates that hold from `effective_ns` on, or from now.

    `side` is `price` for what a model's calls are charged, and `cost` for what an upstream charges
    for `UPSTREAM/MODEL`.
    """

    side: Side
    target: str
    rates: StatedRates
    effective_ns: int | None = None


class PriceShown(msgspec.Struct, frozen=True):
    """One version. `current`: it holds now.

    A model whose upstream's list price is charged has one whose `origin` is `list`, with the id of
    that list price.
    """

    id: str
    side: Side
    target: str
    rates: StatedRates
    origin: Origin
    effective_ns: int
    created_ns: int
    current: bool


class Prices(msgspec.Struct, frozen=True):
    """All versions; `unpriced` are the models that are free because nobody has set a price."""

    prices: list[PriceShown]
    unpriced: list[str]


def price_routes(
    book: PriceBook,
    listed: ListPrices,
    audit: AuditLog,
    clock: Clock,
    *,
    models: Callable[[], Collection[str]],
    changed: Callable[[], Awaitable[None]],
) -> Sequence[RuledRoute]:
    """Prices, for admins to change and viewers to see.

    Args:
        book: Where they stand.
        listed: Knows what upstreams say they charge.
        audit: Where changes are written down.
        clock: The house's clock.
        models: The public models that are served.
        changed: Brings what has changed to every process.
    """

    async def show(_: Request) -> Response:
        return json_response(_shown(book, await book.versions(), models(), clock.now_ns()))

    async def create(request: Request) -> Response:
        body = await read_as(request, PriceBody, "a price")
        _check(body, models())
        version = await book.set(
            body.side, body.target, rate_texts.read(body.rates), body.effective_ns
        )
        await audit.note(
            request.state.scope,
            "price.set",
            version.id,
            side=version.side,
            target=version.target,
            rates=msgspec.to_builtins(body.rates, str_keys=True),
            effective_ns=version.effective_ns,
        )
        await changed()
        now_ns = clock.now_ns()
        return json_response(_one(version, current=_is_current(book, version, now_ns)), status=201)

    async def update(request: Request) -> Response:
        found = await listed.refresh(newest=True)
        await audit.note(request.state.scope, "price.updated", found.package, changed=found.changed)
        await changed()
        return json_response(found)

    return [
        route("/admin/prices", show, methods=["GET"], rule=Rule.VIEWER),
        route("/admin/prices", create, methods=["POST"], rule=Rule.ADMIN),
        route("/admin/prices/update", update, methods=["POST"], rule=Rule.ADMIN),
    ]


def _check(body: PriceBody, models: Collection[str]) -> None:
    if body.side == "price" and body.target not in models:
        known = ", ".join(models) or "none"
        raise NotFound(f"the model {body.target!r} is not served here; served: {known}")
    upstream, _, model = body.target.partition("/")
    if body.side == "cost" and not (upstream and model):
        raise InvalidRequest(
            "a cost is that of an upstream's model",
            param="target",
            hint="write UPSTREAM/MODEL, as [upstreams.UPSTREAM] and its target name them",
        )


def _shown(
    book: PriceBook, versions: Sequence[PriceVersion], models: Collection[str], now_ns: int
) -> Prices:
    found = [_one(one, current=_is_current(book, one, now_ns)) for one in versions]
    by_id: Mapping[str, PriceVersion] = {one.id: one for one in versions}
    unpriced: list[str] = []
    for model_id in models:
        price = book.price(model_id, now_ns)
        if price is None:
            unpriced.append(model_id)
        elif price.origin == "list" and price.id in by_id:
            version = msgspec.structs.replace(by_id[price.id], side="price", target=model_id)
            found.append(_one(version, current=True))
    return Prices(found, unpriced)


def _is_current(book: PriceBook, version: PriceVersion, now_ns: int) -> bool:
    look = book.price if version.side == "price" else book.cost
    now = look(version.target, now_ns)
    return now is not None and now.id == version.id


def _one(version: PriceVersion, *, current: bool) -> PriceShown:
    return PriceShown(
        id=version.id,
        side=version.side,
        target=version.target,
        rates=rate_texts.write(msgspec.json.decode(version.rates, type=Rates)),
        origin=version.origin,
        effective_ns=version.effective_ns,
        created_ns=version.created_ns,
        current=current,
    )
