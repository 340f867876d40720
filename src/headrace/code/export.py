"""Export: a session as Markdown to read, or as JSON."""

from collections.abc import Iterable

from headrace.agent.entries import Entry


def to_markdown(entries: Iterable[Entry]) -> str:
    """The branch as a document: words, answers, calls with their results, what it cost."""
    raise NotImplementedError


def to_json(entries: Iterable[Entry]) -> str:
    """The branch as one JSON object with all its entries."""
    raise NotImplementedError
