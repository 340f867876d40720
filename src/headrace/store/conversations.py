"""Conversations without their messages: to list, name, change and delete.

Ids are chosen by clients, so that sending twice is safe: the same id with the same content
gives the same answer, with other content it is a Conflict. What belongs to another account is
not found.
"""

from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    exists,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from headrace.core.errors import Conflict, NotFound
from headrace.core.scope import Scope
from headrace.store.schema import conversation, message


class Conversation(msgspec.Struct, frozen=True):
    """A conversation without its messages; `running` says that some reply of it is."""

    id: str
    title: str
    model_id: str
    head_id: str | None
    created_ns: int
    updated_ns: int
    running: bool


def owned(table: Table, scope: Scope) -> ColumnElement[bool]:
    """The condition that a row is the caller's own."""
    return and_(
        table.c.organisation_id == scope.organisation_id, table.c.account_id == scope.account_id
    )


def create_conversation(
    connection: Connection, scope: Scope, conversation_id: str, *, model_id: str, now_ns: int
) -> Conversation:
    """A new conversation without messages, or the same one if it is there already.

    Raises:
        Conflict: The id is taken.
    """
    taken = connection.scalar(select(conversation.c.id).where(conversation.c.id == conversation_id))
    if taken is not None:
        found = _find_conversation(connection, scope, conversation_id)
        if found is None or found.model_id != model_id:
            raise Conflict("this id belongs to another conversation")
        return found
    row = {
        "id": conversation_id,
        "organisation_id": scope.organisation_id,
        "account_id": scope.account_id,
        "title": "",
        "model_id": model_id,
        "created_ns": now_ns,
        "updated_ns": now_ns,
    }
    connection.execute(insert(conversation).values(row))
    return get_conversation(connection, scope, conversation_id)


def get_conversation(connection: Connection, scope: Scope, conversation_id: str) -> Conversation:
    """One conversation.

    Raises:
        NotFound: The account has none of that id.
    """
    found = _find_conversation(connection, scope, conversation_id)
    if found is None:
        raise NotFound("there is no such conversation")
    return found


def list_conversations(
    connection: Connection, scope: Scope, *, before: tuple[int, str] | None, limit: int
) -> tuple[Conversation, ...]:
    """Up to `limit` conversations, the last used first.

    Args:
        connection: An open transaction.
        scope: Whose.
        before: `updated_ns` and id of the last conversation of the page before.
        limit: How many at most.
    """
    place = tuple_(conversation.c.updated_ns, conversation.c.id)
    query = _conversations(scope).order_by(
        conversation.c.updated_ns.desc(), conversation.c.id.desc()
    )
    if before is not None:
        query = query.where(place < tuple_(literal(before[0]), literal(before[1])))
    return tuple(_conversation(row) for row in connection.execute(query.limit(limit)))


def change_conversation(
    connection: Connection,
    scope: Scope,
    conversation_id: str,
    *,
    title: str | None = None,
    model_id: str | None = None,
) -> Conversation:
    """Give it another title or model; None leaves as it is.

    Raises:
        NotFound: The account has none of that id.
    """
    wanted = {"title": title, "model_id": model_id}
    values = {name: value for name, value in wanted.items() if value is not None}
    if values:
        update_conversation(connection, scope, conversation_id, values)
    return get_conversation(connection, scope, conversation_id)


def delete_conversation(connection: Connection, scope: Scope, conversation_id: str) -> None:
    """Delete it with all its messages and their events.

    Raises:
        NotFound: The account has none of that id.
    """
    result = connection.execute(
        delete(conversation).where(conversation.c.id == conversation_id, owned(conversation, scope))
    )
    if result.rowcount == 0:
        raise NotFound("there is no such conversation")


def _conversations(scope: Scope) -> Select[Any]:
    running = exists().where(
        message.c.conversation_id == conversation.c.id, message.c.status == "running"
    )
    return select(conversation, running.label("running")).where(owned(conversation, scope))


def _find_conversation(
    connection: Connection, scope: Scope, conversation_id: str
) -> Conversation | None:
    query = _conversations(scope).where(conversation.c.id == conversation_id)
    row = connection.execute(query).first()
    return None if row is None else _conversation(row)


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(
        row.id,
        row.title,
        row.model_id,
        row.head_id,
        row.created_ns,
        row.updated_ns,
        bool(row.running),
    )


def update_conversation(
    connection: Connection, scope: Scope, conversation_id: str, values: dict[str, Any]
) -> None:
    """Set columns of a conversation; without effect when the account has none of that id."""
    connection.execute(
        update(conversation)
        .where(conversation.c.id == conversation_id, owned(conversation, scope))
        .values(values)
    )
