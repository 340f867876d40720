"""From a conversation's path to the request that asks for its next message.

The prompt only ever grows at its end, so that the engine finds its beginning in the prefix
cache: nothing is put before or between the messages.
"""

from collections.abc import Iterable

from headrace.core.messages import Message, Part, Text, Thinking
from headrace.core.requests import Request
from headrace.store.messages import Begun, TreeMessage

_TITLE_CHARS = 60


def request_for(begun: Begun) -> Request:
    """The request for a reply; what a reply that is continued holds already is the prefill."""
    messages = _messages(begun.history)
    prefill = _sayable(begun.reply.parts)
    if prefill:
        messages.append(Message("assistant", prefill))
    return Request(model=begun.reply.model_id or "", messages=tuple(messages))


def title_for(text: str) -> str:
    """A title from the first line of a first message, at most 60 characters."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    title = " ".join(line.split())
    return title if len(title) <= _TITLE_CHARS else f"{title[: _TITLE_CHARS - 1].rstrip()}…"


def _messages(path: Iterable[TreeMessage]) -> list[Message]:
    """The path without replies that said nothing; what then stands side by side is one message.

    Templates of many models insist that people and model take turns.
    """
    messages: list[Message] = []
    for item in path:
        parts = _sayable(item.parts) if item.role == "assistant" else item.parts
        if messages and parts and messages[-1].role == item.role:
            messages[-1] = Message(item.role, messages[-1].parts + parts)
        elif parts:
            messages.append(Message(item.role, parts))
    return messages


def _sayable(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """What of a reply may be sent back: up to its last text, for a thought cut short is none.

    Calls of tools are left out, as the chat offers no tools and so has no results for them.
    """
    kept = [part for part in parts if isinstance(part, Thinking) or _has_text(part)]
    while kept and not isinstance(kept[-1], Text):
        kept.pop()
    return tuple(kept)


def _has_text(part: Part) -> bool:
    return isinstance(part, Text) and part.text != ""
