"""Message and its parts: what people, models and tools say to each other.

Opaque provider data (signatures, encrypted reasoning) stays on its part and is echoed back.
"""

from typing import Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant"]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text, usually markdown."""

    text: str


class Thinking(msgspec.Struct, frozen=True, tag="thinking"):
    """Reasoning before the answer.

    `signature` is the provider's proof over visible reasoning; `redacted` is reasoning that
    only the provider can read. Both are echoed unchanged.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture: either base64 `data` with its `media_type`, or a `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class Document(msgspec.Struct, frozen=True, tag="document"):
    """An attached document: base64 `data`, plain `text`, or a `url`."""

    media_type: str | None = None
    data: str | None = None
    text: str | None = None
    url: str | None = None
    title: str | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """The model asks for a tool. `arguments` is JSON text exactly as it was written."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool answered; stands in a message of role `user`."""

    call_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False


Part = Text | Thinking | Image | Document | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation, its parts in order."""

    role: Role
    parts: tuple[Part, ...]

    def text(self) -> str:
        """All plain text of the message, joined without separators."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def user(text: str) -> Message:
    """A user message of plain text."""
    return Message("user", (Text(text),))
