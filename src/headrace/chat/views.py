"""What the chat's HTTP contract shows: rows of the store as JSON for the page."""

from typing import Any

import msgspec

from headrace.chat.replies import Replies
from headrace.core.messages import Part
from headrace.core.models import Model
from headrace.store.conversations import Conversation
from headrace.store.messages import TreeMessage

_NS_PER_MS = 1_000_000


def show_conversation(conversation: Conversation) -> dict[str, Any]:
    """A conversation in a list or at the head of its messages."""
    return {
        "id": conversation.id,
        "title": conversation.title,
        "model": conversation.model_id,
        "updated_ms": conversation.updated_ns // _NS_PER_MS,
        "created_ms": conversation.created_ns // _NS_PER_MS,
        "running": conversation.running,
    }


def show_message(message: TreeMessage) -> dict[str, Any]:
    """A message as the store holds it."""
    return _message(message, message.parts, message.seq)


def show_live(message: TreeMessage, replies: Replies) -> dict[str, Any]:
    """A message; of one that runs all that has come so far.

    Text and `seq` are taken in one step, so a reader that goes on from `seq` misses nothing.
    """
    reply = replies.find(message.id) if message.status == "running" else None
    if reply is None:
        return show_message(message)
    return _message(message, *reply.snapshot())


def show_model(model: Model) -> dict[str, Any]:
    """A model to choose."""
    able: dict[str, bool] = msgspec.structs.asdict(model.abilities)
    return {
        "id": model.id,
        "display_name": model.display_name,
        "context_tokens": model.context_tokens or None,
        "abilities": [name for name, has in able.items() if has],
    }


def _message(message: TreeMessage, parts: tuple[Part, ...], seq: int) -> dict[str, Any]:
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "model": message.model_id,
        "status": message.status,
        "parts": parts,
        "seq": seq,
        "error": message.error,
        "generation_id": message.generation_id,
        "receipt": message.receipt,
        "siblings": message.siblings,
        "created_ms": message.created_ns // _NS_PER_MS,
    }
