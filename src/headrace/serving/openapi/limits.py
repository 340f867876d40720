"""Limits: how they stand, setting one and taking it away."""

from typing import Any

import msgspec

from headrace.edge.openapi import Error, Operation, Reply
from headrace.edge.routes import Rule
from headrace.serving.admin.limits import LimitBody, LimitUse
from headrace.serving.openapi.common import place


class LimitUses(msgspec.Struct):
    """All limits of the organisation."""

    limits: list[LimitUse]


def operations() -> list[Operation]:
    """Limits on requests, tokens and running calls."""
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    node = "An organisation, a team, an account or a key."
    return [
        Operation(
            method="GET",
            path="/admin/limits",
            name="listLimits",
            summary="All limits, and how much of each is used now.",
            rule=Rule.VIEWER,
            replies={200: Reply("The limits.", {"application/json": LimitUses})},
            **shared,
        ),
        Operation(
            method="PUT",
            path="/admin/limits",
            name="putLimit",
            summary="Set a limit; it binds the next call.",
            rule=Rule.ADMIN,
            body=LimitBody,
            example={
                "node_kind": "organisation",
                "node_id": "01900000-0000-7000-8000-000000000000",
                "kind": "requests",
                "period": "minute",
                "maximum": 600,
            },
            replies={200: Reply("The limit.", {"application/json": LimitUse})},
            faults=(400, 404, 408, 409, 413),
            **shared,
        ),
        Operation(
            method="DELETE",
            path="/admin/limits/{node_id}/{kind}/{period}",
            name="deleteLimit",
            summary="Take a limit away.",
            rule=Rule.ADMIN,
            parameters=(
                place("node_id", node),
                place("kind", "`requests`, `input_tokens`, `output_tokens` or `concurrent`."),
                place("period", "`minute`, `day`, or `now` for `concurrent`."),
            ),
            replies={204: Reply("It limits nothing any more.")},
            faults=(404,),
            **shared,
        ),
    ]
