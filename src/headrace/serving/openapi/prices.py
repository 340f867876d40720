"""Prices: every version, setting one, looking for new list prices."""

from typing import Any

from headrace.edge.openapi import Error, Operation, Reply
from headrace.edge.routes import Rule
from headrace.ledger.list_prices import Updated
from headrace.serving.admin.prices import PriceBody, Prices, PriceShown


def operations() -> list[Operation]:
    """What is charged, and what upstreams charge."""
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    return [
        Operation(
            method="GET",
            path="/admin/prices",
            name="listPrices",
            summary="All prices and costs in all their versions, and the models that have none.",
            rule=Rule.VIEWER,
            replies={200: Reply("The prices.", {"application/json": Prices})},
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/prices",
            name="createPrice",
            summary="Set what a model or an upstream costs from now or later on, never before.",
            rule=Rule.ADMIN,
            body=PriceBody,
            example={
                "side": "price",
                "target": "qwen3",
                "rates": {"input": "0.15", "cached": "0.015", "output": "0.6"},
            },
            replies={201: Reply("The version.", {"application/json": PriceShown})},
            faults=(400, 404, 408, 413),
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/prices/update",
            name="updatePrices",
            summary="Fetch the newest list prices of upstreams over the network.",
            rule=Rule.ADMIN,
            replies={200: Reply("How many there are and changed.", {"application/json": Updated})},
            faults=(503,),
            **shared,
        ),
    ]
