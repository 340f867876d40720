"""Budgets and refunds."""

from typing import Any

import msgspec

from headrace.edge.openapi import Error, Operation, Reply
from headrace.edge.routes import Rule
from headrace.ledger.budgets import BudgetChange, BudgetState, BudgetTerms
from headrace.ledger.refunds import Refund
from headrace.serving.admin.budgets import RefundBody
from headrace.serving.openapi.common import place

_ID = "01900000-0000-7000-8000-000000000000"


class BudgetStates(msgspec.Struct):
    """All budgets of the organisation that have not ended."""

    budgets: list[BudgetState]


def operations() -> list[Operation]:
    """What may be spent, and what is given back."""
    return [*_budgets(), _refund()]


def _budgets() -> list[Operation]:
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    state = {"application/json": BudgetState}
    return [
        Operation(
            method="GET",
            path="/admin/budgets",
            name="listBudgets",
            summary="All budgets, and how the present window of each stands.",
            rule=Rule.VIEWER,
            replies={200: Reply("The budgets.", {"application/json": BudgetStates})},
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/budgets",
            name="createBudget",
            summary="Make a budget. It binds the next call, and counts those that run.",
            rule=Rule.ADMIN,
            body=BudgetTerms,
            example={
                "node_kind": "organisation",
                "node_id": _ID,
                "period": "month",
                "limit_nano": 100_000_000_000,
            },
            replies={201: Reply("The budget.", state)},
            faults=(400, 404, 408, 413),
            **shared,
        ),
        Operation(
            method="PATCH",
            path="/admin/budgets/{id}",
            name="changeBudget",
            summary="Change a budget. Running calls keep what they hold.",
            rule=Rule.ADMIN,
            parameters=(place("id", "A budget."),),
            body=BudgetChange,
            example={"limit_nano": 200_000_000_000},
            replies={200: Reply("The budget.", state)},
            faults=(400, 404, 408, 413),
            **shared,
        ),
        Operation(
            method="DELETE",
            path="/admin/budgets/{id}",
            name="endBudget",
            summary="End a budget.",
            rule=Rule.ADMIN,
            parameters=(place("id", "A budget."),),
            replies={204: Reply("It binds nothing any more.")},
            faults=(404,),
            **shared,
        ),
    ]


def _refund() -> Operation:
    return Operation(
        method="POST",
        path="/admin/refunds",
        name="createRefund",
        family="Admin",
        summary="Give money back for a call, never more than it was charged in all.",
        rule=Rule.ADMIN,
        body=RefundBody,
        example={"generation_id": _ID, "reason": "failed"},
        replies={201: Reply("The refund.", {"application/json": Refund})},
        faults=(400, 404, 408, 409, 413),
        fault=(Error,),
    )
