"""Live traffic, and models with their health."""

from typing import Any

import msgspec

from headrace.edge.openapi import Error, Operation, Reply
from headrace.edge.routes import Rule
from headrace.serving.admin.models import ModelHealth
from headrace.serving.admin.traffic import Traffic


class ModelsHealth(msgspec.Struct):
    """Every public model, the default one first."""

    models: list[ModelHealth]


def operations() -> list[Operation]:
    """What runs now, and who could answer."""
    shared: dict[str, Any] = {
        "method": "GET",
        "family": "Admin",
        "rule": Rule.VIEWER,
        "fault": (Error,),
    }
    return [
        Operation(
            path="/admin/traffic",
            name="getTraffic",
            summary="Calls that run, the newest receipts, and rates over the last minute.",
            replies={200: Reply("The traffic.", {"application/json": Traffic})},
            **shared,
        ),
        Operation(
            path="/admin/models",
            name="listModelHealth",
            summary="Models, who answers for each of them, how busy and how well.",
            replies={200: Reply("The models.", {"application/json": ModelsHealth})},
            **shared,
        ),
    ]
