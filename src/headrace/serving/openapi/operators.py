"""What operators' tools read, and the commands of the user who runs Headrace."""

from typing import Any, Literal

import msgspec

from headrace.edge.openapi import TEXT, Error, Operation, Parameter, Reply
from headrace.edge.routes import Rule
from headrace.identity.new_key import NewKey
from headrace.serving.admin.keys import NewKeyBody
from headrace.store.key import Key


class Health(msgspec.Struct):
    """That the process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct):
    """`ready`, or why not."""

    status: str


class Keys(msgspec.Struct):
    """All keys, without secrets."""

    keys: list[Key]


class Link(msgspec.Struct):
    """A path that signs in once."""

    path: str


def operations() -> list[Operation]:
    """Health, figures and keys."""
    return [*_looks(), *_admin()]


def _looks() -> list[Operation]:
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


def _admin() -> list[Operation]:
    shared: dict[str, Any] = {"family": "Admin", "fault": (Error,)}
    return [
        Operation(
            method="POST",
            path="/admin/keys",
            name="createKey",
            rule=Rule.MEMBER,
            summary="Make an API key; the only answer that holds its secret.",
            body=NewKeyBody,
            example={"name": "laptop"},
            replies={201: Reply("The key.", {"application/json": NewKey})},
            faults=(400, 408, 413),
            **shared,
        ),
        Operation(
            method="GET",
            path="/admin/keys",
            name="listKeys",
            rule=Rule.SESSION,
            summary="All keys, without secrets.",
            replies={200: Reply("The keys.", {"application/json": Keys})},
            **shared,
        ),
        Operation(
            method="DELETE",
            path="/admin/keys/{id}",
            name="revokeKey",
            rule=Rule.MEMBER,
            summary="Revoke a key at once.",
            parameters=(Parameter("id", "path", "A key."),),
            replies={204: Reply("It opens nothing any more.")},
            faults=(404,),
            **shared,
        ),
        Operation(
            method="POST",
            path="/admin/sign-in-links",
            name="createSignInLink",
            rule=Rule.OWNER,
            summary="A fresh sign-in link.",
            replies={201: Reply("The link.", {"application/json": Link})},
            **shared,
        ),
    ]
