"""OpenAPI: what each route takes and gives, in the types that read and write it.

Every surface tells its routes as `Operation`s; `document` makes one OpenAPI 3.1 document of
them. Nothing here is imported before somebody asks for it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from headrace.core.version import __version__
from headrace.edge.routes import Rule

Schema = dict[str, Any]
Shape = Any
"""A type that msgspec can describe, a JSON Schema written out, or a tuple: any of these."""

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
TEXT: Schema = {"type": "string"}

_FORBIDDEN = 403
_REF = "#/components/schemas/"
_SECURITY: Mapping[Rule, list[dict[str, list[str]]]] = {
    Rule.PUBLIC: [],
    Rule.KEY: [{"bearer": []}, {"apiKey": []}],
    **{
        rule: [{"session": []}, {"operator": []}]
        for rule in (Rule.SESSION, Rule.MEMBER, Rule.VIEWER, Rule.ADMIN, Rule.OWNER)
    },
}
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer hr-...`.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key: `x-api-key: hr-...`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "headrace_session",
        "description": "The cookie that a sign-in link gives; where the address has a port, its"
        " name ends in `_` and the port. Changes must come from the chat's own pages.",
    },
    "operator": {
        "type": "http",
        "scheme": "bearer",
        "description": "The credential in the run file of the user who runs `headrace up`.",
    },
}


class Fault(msgspec.Struct):
    """What went wrong, outside the dialects; `hint` is what to do about it."""

    kind: str
    message: str
    hint: str | None


class Error(msgspec.Struct):
    """An error of the chat, of the admin routes, and of the door before every route."""

    error: Fault


class Parameter(msgspec.Struct, frozen=True):
    """Something in the path, behind the question mark, or among the headers."""

    name: str
    where: Literal["path", "query", "header"]
    text: str
    schema: Schema | None = None  # text


class Reply(msgspec.Struct, frozen=True):
    """What a status brings: the shape of its body by media type; None where there is none.

    `events` is the shape of one event where the body is a stream of them, `marks` are events that
    are no JSON.
    """

    text: str
    content: Mapping[str, Shape] = {}
    events: Shape = None
    marks: Sequence[str] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a route.

    Attributes:
        name: Unique among all; clients that are generated call their functions so.
        family: What it is listed under; also stands before the names of its own types.
        body: The shape of the request's body; None where it has none.
        example: A body that works.
        ignored: Fields of the body that change nothing.
        refused: Fields of the body that are refused, and what is said.
        faults: Statuses of errors besides those of the rule.
        fault: Shapes of an error, one for each dialect the route speaks.
    """

    method: str
    path: str
    name: str
    family: str
    rule: Rule
    summary: str
    parameters: Sequence[Parameter] = ()
    body: Shape = None
    media_type: str = JSON
    example: object = None
    ignored: Iterable[str] = ()
    refused: Mapping[str, str] = {}
    replies: Mapping[int, Reply]
    faults: Sequence[int] = ()
    fault: Sequence[Shape] = (Error,)


def document(operations: Iterable[Operation]) -> bytes:
    """The document as JSON, paths in the order of `operations`."""
    shapes = _Shapes()
    paths: dict[str, dict[str, Any]] = {}
    families: dict[str, None] = {}
    for each in operations:
        families[each.family] = None
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, shapes)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Headrace",
                "version": __version__,
                "description": "A model API that clients of OpenAI and Anthropic can use as it"
                " is, and the chat and admin routes beside it. Fields of requests that nobody"
                " knows are passed over, unless a schema says otherwise.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "tags": [{"name": name} for name in families],
            "paths": paths,
            "components": {"schemas": shapes.components, "securitySchemes": _SCHEMES},
        }
    )


class _Shapes:
    """The schemas of all types seen so far; equal names of different families do not clash."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, shape: Shape, family: str) -> Schema:
        """A schema that may be used in place."""
        if isinstance(shape, dict):
            return cast("Schema", shape)
        if isinstance(shape, tuple):
            return {"anyOf": [self.of(each, family) for each in cast("tuple[Shape, ...]", shape)]}
        (schema,), parts = msgspec.json.schema_components([shape], ref_template=_REF + "{name}")
        names = {name: _component(name, family) for name in parts}
        for name, part in parts.items():
            renamed = _renamed(part, names)
            renamed.pop("title", None)
            known = self.components.setdefault(names[name], renamed)
            if known != renamed:
                raise LookupError(f"two different types are called {names[name]}")
        return _renamed(schema, names)


def _component(name: str, family: str) -> str:
    """`openai_chat_request._Body` among Chat's types is `Chat.Body`."""
    module, _, last = name.rpartition(".")
    kept = module.rpartition(".")[2]
    words = [family.replace(" ", ""), *([kept] if kept else []), last.lstrip("_")]
    return re.sub(r"[^A-Za-z0-9._-]", "_", ".".join(words))


def _renamed(schema: Schema, names: Mapping[str, str]) -> Schema:
    """A copy whose references lead to the new names."""

    def name(match: re.Match[bytes]) -> bytes:
        return _REF.encode() + names[match[1].decode()].encode() + b'"'

    text = re.sub(_REF.encode() + rb'([^"]+)"', name, msgspec.json.encode(schema))
    return msgspec.json.decode(text, type=Schema)


def _operation(each: Operation, shapes: _Shapes) -> dict[str, Any]:
    replies = {
        str(status): _reply(reply, each.family, shapes) for status, reply in each.replies.items()
    }
    for status in _statuses(each):
        fault = _fault(status, each, shapes)
        # A page may say the same to people as an error does to programs.
        fault["content"] |= replies.get(str(status), {}).get("content", {})
        replies[str(status)] = fault
    told: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "tags": [each.family],
        "security": _SECURITY[each.rule],
        "responses": replies,
    }
    if each.parameters:
        told["parameters"] = [_parameter(one) for one in each.parameters]
    if each.body is not None:
        told["requestBody"] = {"required": True, "content": {each.media_type: _body(each, shapes)}}
    return told


def _statuses(each: Operation) -> list[int]:
    own = {403, 500} if each.rule is Rule.PUBLIC else {401, 403, 500}
    # The door of these refuses addresses that hold NUL.
    door = set[int]() if each.rule is Rule.KEY else {400}
    return sorted({*own, *door, *each.faults})


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": one.where,
        "required": one.where == "path",
        "description": one.text,
        "schema": one.schema or TEXT,
    }


def _body(each: Operation, shapes: _Shapes) -> dict[str, Any]:
    schema = shapes.of(each.body, each.family)
    notes = {name: f"Refused: {why}" for name, why in each.refused.items()}
    notes |= dict.fromkeys(each.ignored, "Taken, and changes nothing.")
    if notes:
        noted = {name: {"description": text} for name, text in sorted(notes.items())}
        schema = {"allOf": [schema, {"properties": noted}]}
    told: dict[str, object] = {"schema": schema}
    if each.example is not None:
        told["example"] = each.example
    return told


def _reply(reply: Reply, family: str, shapes: _Shapes) -> dict[str, Any]:
    content: dict[str, Any] = {
        media_type: {"schema": shapes.of(shape, family)}
        for media_type, shape in reply.content.items()
    }
    if reply.events is not None:
        json = {"contentMediaType": JSON, "contentSchema": shapes.of(reply.events, family)}
        data = {"type": "string", "anyOf": [json, *({"const": text} for text in reply.marks)]}
        content[EVENT_STREAM] = {
            "schema": {
                "description": "Server-sent events; each holds these.",
                "properties": {"event": TEXT, "id": TEXT, "data": data},
            }
        }
    return (
        {"description": reply.text, "content": content} if content else {"description": reply.text}
    )


def _fault(status: int, each: Operation, shapes: _Shapes) -> dict[str, Any]:
    # The door before every route refuses foreign hosts and origins in its own words.
    told = [*each.fault, *([Error] if status == _FORBIDDEN and Error not in each.fault else [])]
    schema = shapes.of(told[0] if len(told) == 1 else tuple(told), "Error")
    return {"description": _FAULTS[status], "content": {JSON: {"schema": schema}}}


_FAULTS = {
    400: "The request is wrong; the message says what.",
    401: "No credential, or one that nobody has.",
    402: "A hard budget has too little left for this call.",
    403: "Known, but not allowed; or a Host or Origin that is not taken.",
    404: "No such object, or none that the caller may know of.",
    408: "The body did not arrive in time.",
    409: "The object is in a state that forbids this.",
    413: "Over a limit of size, depth or count.",
    429: "Too many requests of this caller, and `retry-after` says when to come back; or a hard"
    " budget has too little left for this call.",
    500: "A mistake of Headrace; its log says more.",
    502: "The engine died or broke.",
    503: "No engine can answer now; `retry-after` says when to come back.",
    504: "A limit on time was reached.",
    529: "No engine can answer now; `retry-after` says when to come back.",
}
