"""Tool: what the model may ask for, as the loop knows it."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from headrace.core import requests
from headrace.core.messages import Document, Image, Text
from headrace.safety.actions import Action

ResultPart = Text | Image | Document


class Diff(msgspec.Struct, frozen=True, tag="diff"):
    """A file before and after, for people; None where it did not or does not exist."""

    path: str
    before: str | None
    after: str | None


class Output(msgspec.Struct, frozen=True, tag="output"):
    """What a command printed, shortened, and how it ended; `path` has all of it."""

    text: str
    status: int | None = None
    path: str | None = None


class Todo(msgspec.Struct, frozen=True):
    """One line of the list; `state` is pending, in_progress or completed."""

    text: str
    state: str


class Todos(msgspec.Struct, frozen=True, tag="todos"):
    """The whole list as it stands now."""

    items: tuple[Todo, ...]


Detail = Diff | Output | Todos


class Outcome(msgspec.Struct, frozen=True):
    """What a tool did: `parts` for the model, `detail` for people.

    `note` is one line for people, such as "read 40 lines"; empty: the first line of the text.
    """

    parts: tuple[ResultPart, ...]
    is_error: bool = False
    detail: Detail | None = None
    note: str = ""

    @classmethod
    def of(cls, text: str, *, detail: Detail | None = None, note: str = "") -> "Outcome":
        """A plain success."""
        return cls((Text(text),), detail=detail, note=note)

    @classmethod
    def error(cls, text: str, *, detail: Detail | None = None) -> "Outcome":
        """It could not be done; the text says why and what would have worked."""
        return cls((Text(text),), is_error=True, detail=detail)


class Use(msgspec.Struct, frozen=True):
    """One call of a tool, its arguments valid against the tool's schema.

    `progress` takes new output while it runs; it may be called at any time from the loop's thread.
    """

    id: str
    arguments: dict[str, Any]
    progress: Callable[[str], None]


class Tool(Protocol):
    """A tool. Being cancelled must stop what it started."""

    @property
    def spec(self) -> requests.Tool:
        """What the model is told; the same bytes in every session and folder."""
        ...

    def action(self, arguments: dict[str, Any]) -> Action:
        """What a call would do, for the permission rules and the screen. Changes nothing.

        Raises:
            InvalidRequest: The arguments make no sense; the text is for the model.
        """
        ...

    async def run(self, use: Use) -> Outcome:
        """Do it. Whatever goes wrong is an outcome with `is_error`, never raised."""
        ...
