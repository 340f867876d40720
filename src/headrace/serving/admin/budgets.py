"""Routes of budgets and refunds."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.ledger.budgets import BudgetChange, Budgets, BudgetTerms
from headrace.ledger.refunds import RefundReason, Refunds
from headrace.serving.admin.body import read_as


class RefundBody(msgspec.Struct, forbid_unknown_fields=True):
    """Money to give back for a call; `amount_nano` null means all that is left of its price.

    `id`, a UUIDv7, makes repeating safe: a second refund of the same id is the first one.
    """

    generation_id: str
    reason: RefundReason
    amount_nano: int | None = None
    id: str | None = None


def budget_routes(budgets: Budgets, refunds: Refunds) -> Sequence[RuledRoute]:
    """Budgets for viewers to see, but for their webhooks, and for admins to change; refunds."""

    async def show(request: Request) -> Response:
        found = await budgets.states(request.state.scope)
        if request.state.role == "viewer":  # such addresses are often secrets in themselves
            found = [msgspec.structs.replace(one, webhook_url=None) for one in found]
        return json_response({"budgets": found})

    async def make(request: Request) -> Response:
        terms = await read_as(request, BudgetTerms, "a budget")
        return json_response(await budgets.make(request.state.scope, terms), status=201)

    async def change(request: Request) -> Response:
        change = await read_as(request, BudgetChange, "a change of a budget")
        identifier = request.path_params["id"]
        return json_response(await budgets.change(request.state.scope, identifier, change))

    async def end(request: Request) -> Response:
        await budgets.end(request.state.scope, request.path_params["id"])
        return Response(status_code=204)

    async def give_back(request: Request) -> Response:
        body = await read_as(request, RefundBody, "a refund")
        given = await refunds.give(
            request.state.scope,
            body.generation_id,
            body.amount_nano,
            body.reason,
            identifier=body.id,
        )
        return json_response(given, status=201)

    return [
        route("/admin/budgets", show, methods=["GET"], rule=Rule.VIEWER),
        route("/admin/budgets", make, methods=["POST"], rule=Rule.ADMIN),
        route("/admin/budgets/{id}", change, methods=["PATCH"], rule=Rule.ADMIN),
        route("/admin/budgets/{id}", end, methods=["DELETE"], rule=Rule.ADMIN),
        route("/admin/refunds", give_back, methods=["POST"], rule=Rule.ADMIN),
    ]
