"""What operators' tools read."""

from typing import Any, Literal

import msgspec

from headrace.edge.openapi import TEXT, Operation, Reply
from headrace.edge.routes import Rule


class Health(msgspec.Struct):
    """That the process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct):
    """`ready`, or why not."""

    status: str


def operations() -> list[Operation]:
    """Health and figures."""
    shared: dict[str, Any] = {"method": "GET", "family": "Operations", "rule": Rule.PUBLIC}
    ready = Reply("A call of the default model would be taken.", {"application/json": Readiness})
    not_ready = Reply("It would not; `status` says why.", {"application/json": Readiness})
    return [
        Operation(
            path="/healthz",
            name="getHealth",
            summary="200 while the process answers at all.",
            replies={200: Reply("It does.", {"application/json": Health})},
            **shared,
        ),
        Operation(
            path="/readyz",
            name="getReadiness",
            summary="200 when a call of the default model would be taken, else 503.",
            replies={200: ready, 503: not_ready},
            **shared,
        ),
        Operation(
            path="/metrics",
            name="getMetrics",
            summary="Figures for Prometheus. From other machines with an API key only.",
            replies={200: Reply("The figures.", {"text/plain": TEXT})},
            faults=(401,),
            **shared,
        ),
        Operation(
            path="/openapi.json",
            name="getOpenapi",
            summary="This API's own description, in OpenAPI 3.1.",
            replies={200: Reply("The document.", {"application/json": {"type": "object"}})},
            **shared,
        ),
    ]
