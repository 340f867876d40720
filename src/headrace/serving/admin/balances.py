"""Route of the books: what the entries of each account of the ledger come to."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.store import balances
from headrace.store.balances import Balance
from headrace.store.database import Database


class Balances(msgspec.Struct, frozen=True):
    """All accounts of the ledger, by name; their amounts sum to zero."""

    balances: tuple[Balance, ...]


def balance_routes(database: Database) -> Sequence[RuledRoute]:
    """The books, for owners, admins and viewers."""

    async def show(request: Request) -> Response:
        scope: Scope = request.state.scope
        found = await database.read(lambda connection: balances.every(connection, scope))
        return json_response(Balances(found))

    return [route("/admin/balances", show, methods=["GET"], rule=Rule.VIEWER)]
