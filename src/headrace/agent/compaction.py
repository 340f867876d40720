"""Compaction: what is older becomes a summary that people can read, change and undo.

The model writes it, asked at the end of the very conversation, so that its cache serves. What the
user said stands beside it word for word, within a share of the window, and the newest part of the
conversation stays as it is.
"""

from collections.abc import Sequence

import msgspec

from headrace.agent import prompt_texts
from headrace.agent.entries import Answered, Compacted, Entry, Said, Used
from headrace.agent.prompt import begun_of, compaction_of, request_of
from headrace.core.messages import Message, Text
from headrace.core.requests import Request

_WINDOW_TOKENS = 32_768
_KEPT_SHARE = 5
_KEPT_TOKENS_MAX = 20_000
_PINNED_SHARE = 8
_BYTES_PER_TOKEN = 3
_BOUNDARIES = (Said, Answered)


class Plan(msgspec.Struct, frozen=True):
    """What a compaction keeps: entries from `keep_id` on, and the words of the user."""

    keep_id: str | None
    pinned: tuple[str, ...]


def plan(branch: Sequence[Entry], *, tail: bool) -> Plan | None:
    """What to keep; None where no answer would be summarised.

    Args:
        branch: The session.
        tail: Keep the newest part as it is.
    """
    window = begun_of(branch).context_tokens or _WINDOW_TOKENS
    start = _start(branch)
    room = min(window // _KEPT_SHARE, _KEPT_TOKENS_MAX) * _BYTES_PER_TOKEN if tail else 0
    keep = len(branch)
    for place in range(len(branch) - 1, start - 1, -1):
        room -= _bytes(branch[place])
        if room <= 0:
            break
        if isinstance(branch[place].body, _BOUNDARIES):
            keep = place
    if not any(isinstance(one.body, Answered) for one in branch[start:keep]):
        return None
    keep_id = branch[keep].id if keep < len(branch) else None
    pinned = _pinned(branch, branch[start:keep], window // _PINNED_SHARE * _BYTES_PER_TOKEN)
    return Plan(keep_id, pinned)


def request_for(branch: Sequence[Entry], instructions: str = "") -> Request:
    """The request for a summary: the conversation as it is, and what is wanted."""
    request = request_of(branch)
    text = prompt_texts.COMPACT + (f"\nAlso: {instructions}" if instructions else "")
    asked = Text(text)
    last = request.messages[-1]
    if last.role == "user":
        messages = (*request.messages[:-1], Message("user", (*last.parts, asked)))
    else:
        messages = (*request.messages, Message("user", (asked,)))
    return msgspec.structs.replace(request, messages=messages)


def edited(branch: Sequence[Entry], summary: str) -> Compacted | None:
    """The summary in effect with other words; None where there is none."""
    held = compaction_of(branch)
    if held is None:
        return None
    return Compacted(summary=summary, pinned=held.pinned, keep_id=_kept_from(branch, held))


def undone(branch: Sequence[Entry]) -> Compacted | None:
    """An entry that puts the whole conversation back; None where all of it is there."""
    if compaction_of(branch) is None:
        return None
    return Compacted(summary="", keep_id=branch[0].id)


def _kept_from(branch: Sequence[Entry], held: Compacted) -> str | None:
    """Where what is kept begins: behind the summary, where it kept nothing that was there."""
    if held.keep_id is not None:
        return held.keep_id
    places = [n for n, entry in enumerate(branch) if entry.body is held]
    behind = branch[places[-1] + 1 :]
    return behind[0].id if behind else None


def _start(branch: Sequence[Entry]) -> int:
    """Where the part begins that no summary stands for yet."""
    held = compaction_of(branch)
    if held is None:
        return 0
    kept = _kept_from(branch, held)
    return next((n for n, entry in enumerate(branch) if entry.id == kept), len(branch))


def _pinned(branch: Sequence[Entry], older: Sequence[Entry], room: int) -> tuple[str, ...]:
    """The first words of the user and the newest, those between only while there is room."""
    held = compaction_of(branch)
    words = list(held.pinned) if held is not None else []
    for entry in older:
        if isinstance(entry.body, Said) and entry.body.origin == "user":
            words.append(entry.body.message.text())
    order = [0, *range(len(words) - 1, 0, -1)] if words else []
    chosen: dict[int, str] = {}
    for place in order:
        text = _shortened(words[place], room)
        if text:
            chosen[place] = text
            room -= len(text.encode())
    return tuple(chosen[place] for place in sorted(chosen))


def _shortened(text: str, room: int) -> str:
    """Words as they are, or their two ends where they are longer than what is left."""
    if len(text.encode()) <= room:
        return text
    half = room // 8  # a character has up to four bytes
    return f"{text[:half]}\n[…]\n{text[-half:]}" if half > 100 else ""  # noqa: PLR2004 - words


def _bytes(entry: Entry) -> int:
    match entry.body:
        case Said(message=message) | Answered(message=message):
            return len(msgspec.json.encode(message))
        case Used(result=result):
            return len(msgspec.json.encode(result))
        case _:
            return 0
