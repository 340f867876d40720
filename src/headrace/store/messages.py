"""Messages: the tree of a conversation, of which only each message's parent is stored.

The conversation's `head_id` names the leaf that is shown; the active path runs from it to the
root. Ids are chosen by clients, with the rules of `conversations.py`.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from headrace.core.errors import Conflict, InvalidRequest, NotFound, RateLimited, TooLarge
from headrace.core.messages import Part, Role
from headrace.core.scope import Scope
from headrace.store.conversations import (
    Conversation,
    get_conversation,
    owned,
    update_conversation,
)
from headrace.store.schema import generation, message

Status = Literal["running", "done", "interrupted", "stopped", "error"]
_RETRY_AFTER_S = 5.0


class Receipt(msgspec.Struct, frozen=True):
    """What the last model call behind a message used. Tokens; integer nano-dollars."""

    stop: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    first_token_ms: int | None = None
    duration_ms: int | None = None
    cost_nano: int = 0
    release_digest: str | None = None


class Fault(msgspec.Struct, frozen=True):
    """Why a reply failed, in the words of the error tree."""

    kind: str
    message: str
    hint: str | None = None


class TreeMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation's tree.

    `seq` is the last event of its stream that `parts` covers; `siblings` are the ids of all
    messages with the same parent, itself included, in order of creation.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    role: Role
    status: Status
    parts: tuple[Part, ...]
    created_ns: int
    model_id: str | None = None
    seq: int = 0
    generation_id: str | None = None
    receipt: Receipt | None = None
    error: Fault | None = None
    siblings: tuple[str, ...] = ()


_PARTS = msgspec.json.Decoder(tuple[Part, ...])
_RECEIPT = msgspec.json.Decoder(Receipt)
_FAULT = msgspec.json.Decoder(Fault)


class Limits(msgspec.Struct, frozen=True):
    """Replies of one account at the same time, and messages from root to leaf."""

    running_max: int = 8
    depth_max: int = 10_000


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message and the reply it asks for; `title` is for a conversation without one."""

    conversation_id: str
    message_id: str
    reply_id: str
    parent_id: str | None
    parts: tuple[Part, ...]
    model_id: str
    title: str


class Begun(msgspec.Struct, frozen=True):
    """A reply and what it answers.

    `history` runs from the root to the message before the reply, siblings left out; it is
    empty when the reply was there already, which `fresh` tells.
    """

    reply: TreeMessage
    history: tuple[TreeMessage, ...]
    fresh: bool


def active_path(
    connection: Connection, scope: Scope, shown: Conversation
) -> tuple[TreeMessage, ...]:
    """The messages from the root to the head."""
    if shown.head_id is None:
        return ()
    return path_to(connection, scope, shown.id, shown.head_id)


def path_to(
    connection: Connection, scope: Scope, conversation_id: str, leaf_id: str
) -> tuple[TreeMessage, ...]:
    """The messages from the root to `leaf_id`, none if that is not in the conversation."""
    path = _path(connection, scope, conversation_id, leaf_id)
    ancestors = _ancestors(scope, conversation_id, leaf_id)
    return _with_siblings(
        connection, scope, path, message.c.parent_id.in_(select(ancestors.c.parent_id))
    )


def get_message(
    connection: Connection, scope: Scope, conversation_id: str, message_id: str
) -> TreeMessage:
    """One message.

    Raises:
        NotFound: The account's conversation has none of that id.
    """
    row = connection.execute(
        _messages(scope).where(
            message.c.id == message_id, message.c.conversation_id == conversation_id
        )
    ).first()
    if row is None:
        raise NotFound("there is no such message")
    found = _message(row)
    among = message.c.parent_id == found.parent_id
    return _with_siblings(connection, scope, (found,), among)[0]


def add_turn(
    connection: Connection, scope: Scope, turn: Turn, *, limits: Limits, now_ns: int
) -> tuple[TreeMessage, Begun]:
    """Add a person's message and an empty running reply; the head moves to the reply.

    Raises:
        NotFound: No such conversation or parent.
        Conflict: An id is taken by something else, or the parent is still running.
        InvalidRequest: The parent is not a reply.
        RateLimited: Too many replies of the account are running.
        TooLarge: The conversation is too long.
    """
    held = get_conversation(connection, scope, turn.conversation_id)
    if _taken(connection, turn.message_id, turn.reply_id):
        return _same_turn(connection, scope, turn)
    history: tuple[TreeMessage, ...] = ()
    created_ns = now_ns
    if turn.parent_id is not None:
        history = _path(connection, scope, turn.conversation_id, turn.parent_id)
        _check_parent(history, limits)
        created_ns = max(now_ns, history[-1].created_ns + 1)
    _check_running(connection, scope, limits)
    asked = TreeMessage(
        id=turn.message_id,
        conversation_id=turn.conversation_id,
        parent_id=turn.parent_id,
        role="user",
        status="done",
        parts=turn.parts,
        created_ns=created_ns,
    )
    reply = _empty_reply(asked, turn.reply_id, turn.model_id, created_ns + 1)
    connection.execute(insert(message), [_row(scope, asked), _row(scope, reply)])
    change = {"head_id": reply.id, "model_id": turn.model_id, "updated_ns": now_ns}
    if held.title == "":
        change["title"] = turn.title
    update_conversation(connection, scope, turn.conversation_id, change)
    among = message.c.parent_id == asked.parent_id
    (asked,) = _with_siblings(connection, scope, (asked,), among)
    return asked, Begun(reply, (*history, asked), fresh=True)


def add_reply(
    connection: Connection,
    scope: Scope,
    conversation_id: str,
    message_id: str,
    *,
    reply_id: str,
    model_id: str | None,
    limits: Limits,
    now_ns: int,
) -> Begun:
    """Answer once more: an empty running reply beside the reply `message_id`.

    When `message_id` is a person's message, the new reply is one more to it. Without
    `model_id` the model of the message answers, or the conversation's.

    Raises:
        NotFound: No such message.
        Conflict: The id is taken by something else.
        RateLimited: Too many replies of the account are running.
    """
    held = get_conversation(connection, scope, conversation_id)
    given = get_message(connection, scope, conversation_id, message_id)
    asked_id = given.id if given.role == "user" else given.parent_id
    if asked_id is None:
        raise InvalidRequest("this message answers nothing")
    if _taken(connection, reply_id):
        found = _own_message(connection, scope, conversation_id, reply_id)
        same_model = model_id is None or found.model_id == model_id
        if found.parent_id != asked_id or found.role != "assistant" or not same_model:
            raise Conflict("this id belongs to another message")
        return Begun(found, (), fresh=False)
    _check_running(connection, scope, limits)
    history = _path(connection, scope, conversation_id, asked_id)
    model = model_id or given.model_id or held.model_id
    created_ns = max(now_ns, given.created_ns + 1)
    reply = _empty_reply(history[-1], reply_id, model, created_ns)
    connection.execute(insert(message).values(_row(scope, reply)))
    change = {"head_id": reply.id, "updated_ns": now_ns}
    update_conversation(connection, scope, conversation_id, change)
    among = message.c.parent_id == asked_id
    (reply,) = _with_siblings(connection, scope, (reply,), among)
    return Begun(reply, history, fresh=True)


def reopen_reply(
    connection: Connection,
    scope: Scope,
    conversation_id: str,
    message_id: str,
    *,
    limits: Limits,
    now_ns: int,
) -> Begun:
    """Let a reply that was cut short run on: what it holds stays, new text will be appended.

    Raises:
        NotFound: No such message.
        Conflict: It is whole, or answered already.
        InvalidRequest: It is not a reply.
        RateLimited: Too many replies of the account are running.
    """
    held = get_message(connection, scope, conversation_id, message_id)
    if held.role != "assistant" or held.parent_id is None:
        raise InvalidRequest("only a reply can be continued")
    if held.status == "running":
        return Begun(held, (), fresh=False)
    if held.status == "done" and (held.receipt is None or held.receipt.stop != "length"):
        raise Conflict("this reply is whole", hint="ask for another one instead")
    if connection.scalar(select(message.c.id).where(message.c.parent_id == held.id).limit(1)):
        raise Conflict("this reply has been answered already")
    _check_running(connection, scope, limits)
    connection.execute(
        update(message)
        .where(message.c.id == held.id, owned(message, scope))
        .values(status="running", generation_id=None, receipt=None, error=None)
    )
    update_conversation(
        connection, scope, conversation_id, {"updated_ns": now_ns, "head_id": held.id}
    )
    history = _path(connection, scope, conversation_id, held.parent_id)
    return Begun(get_message(connection, scope, conversation_id, held.id), history, fresh=True)


def show_branch(
    connection: Connection, scope: Scope, conversation_id: str, message_id: str
) -> Conversation:
    """Move the head to the newest message below `message_id`, or to itself.

    Raises:
        NotFound: No such message.
    """
    get_message(connection, scope, conversation_id, message_id)
    below = (
        select(message.c.id, message.c.created_ns)
        .where(message.c.id == message_id, owned(message, scope))
        .cte("below", recursive=True)
    )
    below = below.union_all(
        select(message.c.id, message.c.created_ns).join(below, message.c.parent_id == below.c.id)
    )
    # Children are created after their parents, so the newest of all is a leaf.
    newest = connection.scalar(
        select(below.c.id).order_by(below.c.created_ns.desc(), below.c.id.desc()).limit(1)
    )
    update_conversation(connection, scope, conversation_id, {"head_id": newest})
    return get_conversation(connection, scope, conversation_id)


def _messages(scope: Scope) -> Select[Any]:
    """Messages with the figures of the last model call behind each, where it is settled."""
    settled = and_(
        generation.c.id == message.c.generation_id,
        generation.c.organisation_id == message.c.organisation_id,
        generation.c.account_id == message.c.account_id,
        generation.c.stop.is_not(None),
    )
    return (
        select(
            message,
            generation.c.stop.label("call_stop"),
            generation.c.input_tokens,
            generation.c.cached_tokens,
            generation.c.output_tokens,
            generation.c.first_token_ms,
            generation.c.duration_ms,
            generation.c.cost_nano,
            generation.c.release_digest,
        )
        .select_from(message.outerjoin(generation, settled))
        .where(owned(message, scope))
    )


def _path(
    connection: Connection, scope: Scope, conversation_id: str, leaf_id: str
) -> tuple[TreeMessage, ...]:
    """The messages from the root to `leaf_id`, without their siblings."""
    path = _ancestors(scope, conversation_id, leaf_id)
    query = _messages(scope).join(path, path.c.id == message.c.id).order_by(path.c.depth.desc())
    return tuple(_message(row) for row in connection.execute(query))


def _with_siblings(
    connection: Connection,
    scope: Scope,
    items: tuple[TreeMessage, ...],
    among: ColumnElement[bool],
) -> tuple[TreeMessage, ...]:
    """The items with their siblings; `among` picks the children of all their parents."""
    if not items:
        return ()
    query = (
        select(message.c.parent_id, message.c.id)
        .where(
            owned(message, scope),
            message.c.conversation_id == items[0].conversation_id,
            or_(among, message.c.parent_id.is_(None)),
        )
        .order_by(message.c.created_ns, message.c.id)
    )
    children: dict[str | None, list[str]] = {}
    for parent_id, child_id in connection.execute(query):
        children.setdefault(parent_id, []).append(child_id)
    return tuple(
        msgspec.structs.replace(item, siblings=tuple(children[item.parent_id])) for item in items
    )


def _message(row: Row[Any]) -> TreeMessage:
    return TreeMessage(
        id=row.id,
        conversation_id=row.conversation_id,
        parent_id=row.parent_id,
        role=row.role,
        model_id=row.model_id,
        status=row.status,
        parts=decode_parts(row.parts),
        seq=row.seq,
        generation_id=row.generation_id,
        receipt=_receipt(row),
        error=None if row.error is None else _FAULT.decode(row.error),
        created_ns=row.created_ns,
    )


def decode_parts(text: str) -> tuple[Part, ...]:
    """The parts of a message as the column `parts` holds them."""
    return _PARTS.decode(text)


def _receipt(row: Row[Any]) -> Receipt | None:
    """What the journal says of the call; until it is projected, what the chat saw itself."""
    if row.status == "running":
        return None
    if row.call_stop is None:
        return None if row.receipt is None else _RECEIPT.decode(row.receipt)
    return Receipt(
        stop=row.call_stop,
        input_tokens=row.input_tokens or 0,
        cached_tokens=row.cached_tokens or 0,
        output_tokens=row.output_tokens or 0,
        first_token_ms=row.first_token_ms,
        duration_ms=row.duration_ms,
        cost_nano=row.cost_nano or 0,
        release_digest=row.release_digest,
    )


def _ancestors(scope: Scope, conversation_id: str, leaf_id: str) -> CTE:
    path = (
        select(message.c.id, message.c.parent_id, literal(0).label("depth"))
        .where(
            message.c.id == leaf_id,
            message.c.conversation_id == conversation_id,
            owned(message, scope),
        )
        .cte("path", recursive=True)
    )
    return path.union_all(
        select(message.c.id, message.c.parent_id, path.c.depth + 1).join(
            path, message.c.id == path.c.parent_id
        )
    )


def _check_parent(path: tuple[TreeMessage, ...], limits: Limits) -> None:
    """Refuse a message after the last of `path` where none can stand."""
    if not path:
        raise NotFound("there is no such parent")
    if path[-1].role != "assistant":
        raise InvalidRequest("parent_id: Expected a reply", param="parent_id")
    if path[-1].status == "running":
        raise Conflict("the reply before is still running", hint="wait for it or stop it")
    if len(path) + 2 > limits.depth_max:
        raise TooLarge(
            f"this conversation has {len(path)} messages, more than {limits.depth_max} do not fit",
            hint="start a new one",
        )


def _check_running(connection: Connection, scope: Scope, limits: Limits) -> None:
    running = connection.scalar(
        select(func.count())
        .select_from(message)
        .where(message.c.status == "running", owned(message, scope))
    )
    if (running or 0) >= limits.running_max:
        raise RateLimited(
            f"{running} replies are running already",
            retry_after_s=_RETRY_AFTER_S,
            hint="wait for one or stop one",
        )


def _taken(connection: Connection, *identifiers: str) -> bool:
    """Whether any message, of whatever account, has one of these ids."""
    query = select(message.c.id).where(message.c.id.in_(identifiers)).limit(1)
    return connection.scalar(query) is not None


def _own_message(
    connection: Connection, scope: Scope, conversation_id: str, message_id: str
) -> TreeMessage:
    """The message an id was given to before, if it is the caller's own."""
    try:
        return get_message(connection, scope, conversation_id, message_id)
    except NotFound:
        raise Conflict("this id belongs to another message") from None


def _same_turn(connection: Connection, scope: Scope, turn: Turn) -> tuple[TreeMessage, Begun]:
    """What an earlier call with the same ids made, if it asked for the same."""
    asked = _own_message(connection, scope, turn.conversation_id, turn.message_id)
    reply = _own_message(connection, scope, turn.conversation_id, turn.reply_id)
    before = (asked.role, asked.parent_id, asked.parts, reply.parent_id, reply.model_id)
    if before != ("user", turn.parent_id, turn.parts, asked.id, turn.model_id):
        raise Conflict("this id belongs to another message")
    return asked, Begun(reply, (), fresh=False)


def _empty_reply(asked: TreeMessage, reply_id: str, model_id: str, created_ns: int) -> TreeMessage:
    return TreeMessage(
        id=reply_id,
        conversation_id=asked.conversation_id,
        parent_id=asked.id,
        role="assistant",
        status="running",
        parts=(),
        created_ns=created_ns,
        model_id=model_id,
        siblings=(reply_id,),
    )


def _row(scope: Scope, item: TreeMessage) -> dict[str, Any]:
    """The columns of a message that nothing was answered to yet."""
    return {
        "id": item.id,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "conversation_id": item.conversation_id,
        "parent_id": item.parent_id,
        "role": item.role,
        "model_id": item.model_id,
        "status": item.status,
        "parts": msgspec.json.encode(item.parts).decode(),
        "seq": item.seq,
        "created_ns": item.created_ns,
    }
