"""The chat's routes, told for the API's own description."""

from typing import Any

import msgspec

from headrace.chat import bodies
from headrace.core.messages import Part
from headrace.edge.openapi import TEXT, Operation, Parameter, Reply
from headrace.edge.routes import Rule

_ALL = "/chat/conversations"
_ONE = f"{_ALL}/{{conversation}}"
_MESSAGE = f"{_ONE}/messages/{{message}}"
_FAULTS = (400, 404, 408, 409, 413, 429, 503)
_CONVERSATION = Parameter("conversation", "path", "A conversation.")
_OF_MESSAGE = (_CONVERSATION, Parameter("message", "path", "A message of it."))


class Conversation(msgspec.Struct):
    """A conversation in a list or at the head of its messages."""

    id: str
    title: str | None
    model: str
    updated_ms: int
    created_ms: int
    running: bool


class Conversations(msgspec.Struct):
    """A page of them; `next` is the `before` of the page after."""

    conversations: list[Conversation]
    next: str | None


class Message(msgspec.Struct):
    """One message of the tree; `seq` is the last event of its stream that `parts` cover."""

    id: str
    parent_id: str | None
    role: str
    model: str | None
    status: str
    parts: list[Part]
    seq: int
    error: dict[str, Any] | None
    generation_id: str | None
    receipt: dict[str, Any] | None
    siblings: list[str]
    created_ms: int


class Thread(msgspec.Struct):
    """A conversation with the branch that is shown."""

    conversation: Conversation
    messages: list[Message]


class Turn(msgspec.Struct):
    """A person's message, and the reply that begins."""

    message: Message
    reply: Message


class Begun(msgspec.Struct):
    """The reply that begins."""

    reply: Message


class Session(msgspec.Struct):
    """Who is signed in, and the models to talk to."""

    account: dict[str, Any]
    organisation: dict[str, Any]
    models: list[dict[str, Any]]
    default_model: str | None
    version: str


class ReplyEvent(msgspec.Struct):
    """`delta` events hold what was added; the last, `end`, the whole message."""

    v: int


def operations() -> list[Operation]:
    """Every operation of the chat and of its page."""
    return [*_session(), *_conversations(), *_messages(), *_pages()]


def _operation(
    method: str,
    path: str,
    name: str,
    summary: str,
    replies: dict[int, Reply],
    *,
    rule: Rule = Rule.SESSION,
    **more: Any,  # noqa: ANN401 - fields of Operation
) -> Operation:
    return Operation(
        method=method,
        path=path,
        name=name,
        family="Chat",
        rule=rule,
        summary=summary,
        replies=replies,
        faults=_FAULTS,
        **more,
    )


def _json(text: str, shape: type) -> Reply:
    return Reply(text, {"application/json": shape})


def _session() -> list[Operation]:
    return [
        _operation(
            "GET",
            "/chat/session",
            "getSession",
            "Who is signed in, and the models to talk to.",
            {200: _json("Who and what.", Session)},
        ),
        _operation(
            "POST", "/chat/sign-out", "signOut", "End the session.", {204: Reply("Signed out.")}
        ),
    ]


def _conversations() -> list[Operation]:
    one = (_CONVERSATION,)
    page = (
        Parameter("before", "query", "`next` of the page before."),
        Parameter("limit", "query", "How many.", {"type": "integer", "minimum": 1, "maximum": 200}),
    )
    thread = {200: _json("The conversation.", Thread)}
    return [
        _operation(
            "GET",
            _ALL,
            "listConversations",
            "A page of the list, newest first: `before`, `limit`.",
            {200: _json("A page.", Conversations)},
            parameters=page,
        ),
        _operation(
            "POST",
            _ALL,
            "createConversation",
            "Begin a conversation under an id that the page chose.",
            {201: _json("The conversation.", Conversation)},
            body=bodies.NewConversation,
            rule=Rule.MEMBER,
        ),
        _operation(
            "GET",
            _ONE,
            "getConversation",
            "A conversation with the branch that is shown.",
            thread,
            parameters=one,
        ),
        _operation(
            "PATCH",
            _ONE,
            "changeConversation",
            "Change title or model.",
            {200: _json("The conversation.", Conversation)},
            parameters=one,
            body=bodies.ConversationChange,
        ),
        _operation(
            "DELETE",
            _ONE,
            "deleteConversation",
            "Delete it with all its messages.",
            {204: Reply("It is gone.")},
            parameters=one,
        ),
        _operation(
            "PUT",
            f"{_ONE}/head",
            "showBranch",
            "Show another branch.",
            thread,
            parameters=one,
            body=bodies.Head,
        ),
    ]


def _messages() -> list[Operation]:
    after = Parameter("after", "query", "The last event seen.", {"type": "integer", "minimum": 0})
    return [
        _operation(
            "POST",
            f"{_ONE}/messages",
            "sendMessage",
            "Send a message; its reply begins.",
            {201: _json("Both.", Turn)},
            parameters=(_CONVERSATION,),
            body=bodies.NewMessage,
            rule=Rule.MEMBER,
        ),
        _operation(
            "POST",
            f"{_MESSAGE}/regenerate",
            "regenerateReply",
            "Another reply beside this one.",
            {201: _json("The reply.", Begun)},
            parameters=_OF_MESSAGE,
            body=bodies.Regeneration,
            rule=Rule.MEMBER,
        ),
        _operation(
            "POST",
            f"{_MESSAGE}/continue",
            "continueReply",
            "Go on with a reply that was cut.",
            {202: _json("The reply.", Begun)},
            parameters=_OF_MESSAGE,
            rule=Rule.MEMBER,
        ),
        _operation(
            "POST",
            f"{_MESSAGE}/stop",
            "stopReply",
            "Stop a running reply; its text is kept.",
            {202: Reply("It stops.")},
            parameters=_OF_MESSAGE,
        ),
        _operation(
            "GET",
            f"{_MESSAGE}/stream",
            "followReply",
            "Follow a reply as server-sent events, after any number.",
            {200: Reply("Its events.", events=ReplyEvent)},
            parameters=(*_OF_MESSAGE, after),
        ),
    ]


def _pages() -> list[Operation]:
    def page(path: str, name: str, summary: str, *parameters: Parameter) -> Operation:
        return Operation(
            method="GET",
            path=path,
            name=name,
            family="Chat",
            rule=Rule.PUBLIC,
            summary=summary,
            parameters=parameters,
            replies={
                200: Reply("The page.", {"text/html": TEXT}),
                503: Reply("It is not built.", {"text/html": TEXT}),
            },
        )

    return [
        page("/", "getPage", "The chat's page."),
        page("/c/{conversation}", "getPageAt", "The same page, at a conversation.", _CONVERSATION),
        page("/manage", "getManagePage", "The same page, at the ledger's first view."),
        page(
            "/manage/{page}",
            "getManagePageAt",
            "The same page, at a view of the ledger.",
            Parameter("page", "path", "The view, such as `spend` or `receipts/ID`."),
        ),
        page("/sign-in", "getSignInPage", "The same page, at the sign-in."),
        Operation(
            method="GET",
            path="/assets/{name}",
            name="getAsset",
            family="Chat",
            rule=Rule.PUBLIC,
            summary="Scripts and styles of the page.",
            parameters=(Parameter("name", "path", "A file."),),
            replies={200: Reply("The file.", {"*/*": {}})},
            faults=(404,),
        ),
    ]
