"""Machines of our own, what they cost, and releases that were trained for money."""

from typing import Any

from headrace.edge.openapi import Error, Operation, Reply
from headrace.edge.routes import Rule
from headrace.serving.admin.machines import (
    AssetBody,
    AssetsShown,
    MachineBody,
    MachineShown,
    MachinesShown,
)
from headrace.store.assets import Asset


def operations() -> list[Operation]:
    """Machines and assets."""
    return [*_machines(), *_assets()]


def _machines() -> list[Operation]:
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    return [
        Operation(
            method="GET",
            path="/admin/machines",
            name="listMachines",
            summary="Machines of our own: their terms, what an hour costs, what measures energy.",
            rule=Rule.VIEWER,
            replies={200: Reply("The machines.", {"application/json": MachinesShown})},
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/machines",
            name="createMachineTerms",
            summary="Set what a machine costs from now or later on.",
            rule=Rule.ADMIN,
            body=MachineBody,
            example={
                "name": "local",
                "terms": {"purchase": "2400", "idle_watts": "40", "load_watts": "350"},
            },
            replies={201: Reply("The machine.", {"application/json": MachineShown})},
            faults=(400, 404, 408, 413),
            **shared,
        ),
    ]


def _assets() -> list[Operation]:
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    return [
        Operation(
            method="GET",
            path="/admin/assets",
            name="listAssets",
            summary="Releases that were trained for money.",
            rule=Rule.VIEWER,
            replies={200: Reply("The assets.", {"application/json": AssetsShown})},
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/assets",
            name="createAsset",
            summary="Enter what training a release cost; the tokens it serves pay it back.",
            rule=Rule.ADMIN,
            body=AssetBody,
            example={
                "release_digest": "upstream:gpu/my-model",
                "cost_nano": 1_500_000_000_000,
                "planned_tokens": 10_000_000_000,
            },
            replies={201: Reply("The asset.", {"application/json": Asset})},
            faults=(400, 408, 409, 413),
            **shared,
        ),
    ]
