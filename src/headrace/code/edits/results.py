"""What becomes of an edit: applied, or refused with what would work."""

import msgspec


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that took.

    Attributes:
        text: The whole new text.
        first_line: First changed line of the new text, counted from 1.
        last_line: Last changed line of the new text; before `first_line` where lines went.
        changes: How many places changed.
        notes: What was tolerated, each in a few words; empty for an exact match.
    """

    text: str
    first_line: int
    last_line: int
    changes: int = 1
    notes: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """An edit that was not applied; `why` tells the model what is there and what would work."""

    why: str


Result = Applied | Refused
