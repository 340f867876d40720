"""What the page sends, checked once: bodies, ids in paths, numbers in queries."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from headrace.core.errors import InvalidRequest, NotFound, TooLarge
from headrace.core.ids import is_id
from headrace.edge.bodies import read_body
from headrace.wire import strict_json

T = TypeVar("T")

TEXT_BYTES_MAX = 1024 * 1024
_BODY_BYTES_MAX = 6 * TEXT_BYTES_MAX + 64 * 1024  # a character may be written as six
_NUMBER_MAX = 2**31 - 1
_NUMBER_DIGITS_MAX = 10

ModelId = Annotated[str, Meta(min_length=1, max_length=200)]


class NewConversation(msgspec.Struct, forbid_unknown_fields=True):
    """POST /chat/conversations."""

    id: str
    model: ModelId


class ConversationChange(msgspec.Struct, forbid_unknown_fields=True):
    """PATCH /chat/conversations/{id}."""

    title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    model: ModelId | None = None


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """PUT /chat/conversations/{id}/head."""

    message_id: str


class NewMessage(msgspec.Struct, forbid_unknown_fields=True):
    """POST /chat/conversations/{id}/messages."""

    id: str
    reply_id: str
    parent_id: str | None
    text: Annotated[str, Meta(min_length=1)]
    model: ModelId


class Regeneration(msgspec.Struct, forbid_unknown_fields=True):
    """POST …/messages/{id}/regenerate."""

    reply_id: str
    model: ModelId | None = None


async def read(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of a request.

    Raises:
        InvalidRequest: It is not what the decoder makes; `param` names the field.
        TooLarge: It is too long or nested too deep.
    """
    body = await read_body(request.scope, request.receive, bytes_max=_BODY_BYTES_MAX)
    return strict_json.decode(body, decoder)


def check_new_id(identifier: str, param: str) -> str:
    """Pass on an id that the page chose.

    Raises:
        InvalidRequest: It is not a UUIDv7 as written in lower case.
    """
    if not is_id(identifier):
        raise InvalidRequest(f"{param}: Expected a UUID of version 7", param=param)
    return identifier


def check_text(text: str) -> str:
    """Pass on the text of a message.

    Raises:
        TooLarge: It is longer than a message may be.
        InvalidRequest: It is blank.
    """
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise TooLarge(
            f"a message may have {TEXT_BYTES_MAX} bytes", param="text", hint="send less at once"
        )
    if not text.strip():
        raise InvalidRequest("text: Expected more than spaces", param="text")
    return text


def path_id(request: Request, name: str) -> str:
    """An id in the path.

    Raises:
        NotFound: It is none.
    """
    return known_id(request.path_params[name], name)


def known_id(identifier: str, name: str) -> str:
    """Pass on an id of something that should exist.

    Raises:
        NotFound: Nothing can have this id.
    """
    if not is_id(identifier):
        raise NotFound(f"there is no such {name}")
    return identifier


def number(text: str, param: str) -> int:
    """A number from 0 to 2^31 - 1.

    Raises:
        InvalidRequest: `text` is none.
    """
    if text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX:
        value = int(text)
        if value <= _NUMBER_MAX:
            return value
    raise InvalidRequest(f"{param}: Expected a whole number", param=param)
