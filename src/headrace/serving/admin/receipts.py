"""Routes of receipts: what each call used, took and cost, and what was posted about it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger import receipts
from headrace.serving.admin.query import number, page_size
from headrace.store import generations, postings
from headrace.store.database import Database
from headrace.store.generations import Generation, Which

_DEFAULT = 50
_MOST = 500
_TEXTS = Which.__struct_fields__[2:]


class ReceiptPage(msgspec.Struct, frozen=True):
    """Receipts, newest first; `next` asks for those behind them as `before`, None at the end."""

    receipts: tuple[Generation, ...]
    next: str | None


class PostingView(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction about a call, such as a refund. Debits are positive."""

    id: str
    kind: str
    time_ns: int
    actor_id: str | None
    entries: tuple[tuple[str, int], ...]
    detail: msgspec.Raw


class ReceiptView(msgspec.Struct, frozen=True):
    """One receipt, its entries in the books, and what was posted about it since.

    `entries` are None while it runs, and where its journal does not have them about its time.
    """

    receipt: Generation
    entries: tuple[tuple[str, int], ...] | None
    postings: tuple[PostingView, ...]


def receipt_routes(database: Database, journals: Path) -> Sequence[RuledRoute]:
    """Receipts: members see their own.

    Args:
        database: Where they are projected.
        journals: The folder that tells of the newest ones.
    """

    async def listed(request: Request) -> Response:
        query = request.query_params
        limit = page_size(query, default=_DEFAULT, most=_MOST)
        texts = {name: query[name] for name in _TEXTS if name in query}
        which = Which(from_ns=number(query, "from_ns"), to_ns=number(query, "to_ns"), **texts)
        before = query.get("before")
        scope: Scope = request.state.scope
        found = await database.read(
            lambda connection: generations.recent(
                connection, scope, limit=limit + 1, before=before, which=which
            )
        )
        more = found[limit - 1].id if len(found) > limit else None
        return json_response(ReceiptPage(found[:limit], more))

    async def one(request: Request) -> Response:
        scope: Scope = request.state.scope
        identifier = request.path_params["id"]

        def work(connection: Connection) -> ReceiptView:
            receipt = receipts.find(connection, journals, scope, identifier)
            about = postings.of_generation(connection, scope, identifier)
            own = receipts.entries(journals, receipt)
            entries = None if own is None else tuple((one.account, one.amount_nano) for one in own)
            return ReceiptView(receipt, entries, tuple(map(_view, about)))

        return json_response(await database.read(work))

    return [
        route("/admin/receipts", listed, methods=["GET"], rule=Rule.SESSION),
        route("/admin/receipts/{id}", one, methods=["GET"], rule=Rule.SESSION),
    ]


def _view(one: postings.Posting) -> PostingView:
    return PostingView(
        id=one.id,
        kind=one.kind,
        time_ns=one.time_ns,
        actor_id=one.actor_id,
        entries=msgspec.json.decode(one.entries, type=tuple[tuple[str, int], ...]),
        detail=msgspec.Raw(one.detail.encode()),
    )
