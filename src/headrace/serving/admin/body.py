"""Bodies of admin requests: JSON into a type, or an error that says what is wrong with it."""

import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from headrace.core.errors import InvalidRequest
from headrace.edge.bodies import read_body

_BYTES_MAX = 64 * 1024
_NO_CHOICE = re.compile(r"Invalid enum value .* - at `\$\.(?P<field>\w+)`", re.DOTALL)

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
        raise InvalidRequest(f"the body is not {what}: {error}{_choices(shape, error)}") from None


def _choices(shape: type[Any], error: Exception) -> str:
    """The words that the field may hold which the error is about, if it holds words."""
    found = _NO_CHOICE.fullmatch(str(error))
    if found is None:
        return ""
    schema = msgspec.json.schema(shape)["$defs"][shape.__name__]["properties"][found["field"]]
    words = [word for one in schema.get("anyOf", [schema]) for word in one.get("enum", ())]
    return f"; it is one of: {', '.join(words)}"
