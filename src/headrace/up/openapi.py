"""GET /openapi.json: the API's own description, made when somebody first asks for it."""

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from headrace.edge.routes import Rule, RuledRoute, route

if TYPE_CHECKING:
    from headrace.edge.openapi import Operation


def openapi_route() -> RuledRoute:
    """The route of the document; once made it is kept."""
    page: bytes | None = None

    async def show(_: Request) -> Response:
        nonlocal page
        if page is None:
            page = await asyncio.to_thread(make_document)
        return Response(page, media_type="application/json")

    return route("/openapi.json", show, methods=["GET"], rule=Rule.PUBLIC)


def make_document() -> bytes:
    """The document as JSON."""
    from headrace.edge.openapi import document  # noqa: PLC0415 - as in `operations`

    return document(operations())


def operations() -> "list[Operation]":
    """Every operation of every room."""
    # Describing all types costs time and memory, which a start should not.
    from headrace.chat import openapi as chat  # noqa: PLC0415
    from headrace.serving.openapi import (  # noqa: PLC0415
        accounts,
        anthropic,
        both,
        budgets,
        limits,
        machines,
        openai,
        operators,
        prices,
        reports,
        traffic,
    )

    rooms = (
        openai,
        anthropic,
        both,
        operators,
        accounts,
        reports,
        prices,
        machines,
        limits,
        budgets,
        traffic,
        chat,
    )
    return [operation for room in rooms for operation in room.operations()]
