"""Bodies of admin requests: JSON into a type, or an error that says what is wrong with it."""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from headrace.core.errors import InvalidRequest
from headrace.edge.bodies import read_body

_BYTES_MAX = 64 * 1024

Shape = TypeVar("Shape")


async def read_as(request: Request, shape: type[Shape], what: str) -> Shape:
    """The body as `shape`; `what` names it in errors, such as "a limit".

    Raises:
        InvalidRequest: It is something else.
    """
    body = await read_body(request.scope, request.receive, bytes_max=_BYTES_MAX)
    if b"\\u0000" in body:  # which no database can look for
        raise InvalidRequest("the body holds the character NUL")
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not {what}: {error}") from None
