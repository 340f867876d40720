"""Export: a session as Markdown to read, or as JSON with all that is in its log."""

import json
import re
import time
from collections.abc import Iterable

import msgspec

from headrace.agent.entries import (
    Answered,
    Begun,
    Broke,
    Compacted,
    Entry,
    Moved,
    Said,
    Set,
    Turned,
    Used,
)
from headrace.agent.terminal import neutral
from headrace.agent.tools import Diff, Output
from headrace.code.bill import bill_of, cost_text
from headrace.core.decisions import Deny
from headrace.core.messages import Document, Image, Message, Part, Text, Thinking, ToolCall

_FENCE = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
_RESULT_CHARS_MAX = 4_000


def to_markdown(entries: Iterable[Entry]) -> str:
    """The entries as a document: words, answers, calls with their results, what it cost.

    Characters that could command a terminal are made visible.
    """
    kept = tuple(entries)
    title = next(
        (e.body.value for e in kept if isinstance(e.body, Set) and e.body.name == "name"), ""
    )
    parts = [f"# {_line(title) or 'Coding session'}"]
    for entry in kept:
        parts.extend(_parts(entry))
    parts.append("## Cost\n\n" + _fenced(cost_text(bill_of(kept)), "text"))
    return neutral("\n\n".join(part for part in parts if part)) + "\n"


def to_json(entries: Iterable[Entry]) -> str:
    """The entries as one JSON object, as the log has them."""
    kept = msgspec.to_builtins(tuple(entries))
    return json.dumps({"version": 1, "entries": kept}, ensure_ascii=True, indent=1) + "\n"


def _parts(entry: Entry) -> list[str]:
    body = entry.body
    parts: list[str] = []
    match body:
        case Begun():
            began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(entry.time_ns // 10**9))
            facts = {"Folder": body.workspace, "Model": body.model, "Begun": began}
            parts = ["\n".join(f"- {name}: {_code(value)}" for name, value in facts.items())]
        case Said():
            who = "User" if body.origin == "user" else "Notice"
            parts = [f"## {who}", *_message(body.message)]
        case Answered():
            parts = ["## Assistant", *_message(body.message)]
        case Broke():
            parts = [f"*The model call failed ({_line(body.kind)}): {_line(body.text)}*"]
        case Used():
            parts = _used(body)
        case Compacted():
            parts = ["## Compacted", _quoted(body.summary)]
        case Turned():
            parts = [f"*The turn ended: {_line(body.why)}*"] * (body.why != "done")
        case Moved():
            files = ", files included" if body.snapshot is not None else ""
            parts = [f"*Went back to an earlier point{files}.*"]
        case Set():
            pass
    return parts


def _message(message: Message) -> list[str]:
    return [text for text in map(_part, message.parts) if text]


def _part(part: Part) -> str:
    match part:
        case Text():
            return part.text.strip()
        case Thinking():
            return _quoted(part.text)
        case ToolCall():
            return f"**{_line(part.name)}**\n\n{_fenced(_pretty(part.arguments), 'json')}"
        case Image():
            return f"*[image: {_line(part.media_type or part.url or '')}]*"
        case Document():
            return f"*[document: {_line(part.title or part.media_type or '')}]*"
        case _:
            return ""


def _used(used: Used) -> list[str]:
    failed = " (failed)" if used.result.is_error else ""
    parts = [f"Result of **{_line(used.tool)}**{failed}:"]
    if isinstance(used.decision, Deny):
        parts.append(f"*Denied: {_line(used.decision.why)}*")
    detail = used.detail
    if isinstance(detail, Diff):
        return [*parts, _fenced(_unified(detail), "diff")]
    shown = detail.text if isinstance(detail, Output) else _texts(used.result.parts)
    return [*parts, _fenced(_shortened(shown), "text")] if shown.strip() else parts


def _texts(parts: Iterable[Part]) -> str:
    return "\n".join(part.text if isinstance(part, Text) else _part(part) for part in parts)


def _unified(diff: Diff) -> str:
    from difflib import unified_diff  # noqa: PLC0415 - only when a session is exported

    before, after = ((side or "").splitlines() for side in (diff.before, diff.after))
    old, new = (
        _line(diff.path) if side is not None else "/dev/null" for side in (diff.before, diff.after)
    )
    return "\n".join(unified_diff(before, after, old, new, lineterm=""))


def _shortened(text: str) -> str:
    if len(text) <= _RESULT_CHARS_MAX:
        return text
    half = _RESULT_CHARS_MAX // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"


def _fenced(text: str, language: str) -> str:
    """A code block whose fence no line of the text can close."""
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())


def _code(text: str) -> str:
    plain = _line(text)
    ticks = "``" if "`" in plain else "`"
    return f"{ticks}{plain}{ticks}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _pretty(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments
