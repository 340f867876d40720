"""Limits on what a part of the tree of accounts may use, and how one stands."""

from typing import Literal

import msgspec

LimitKind = Literal["requests", "input_tokens", "output_tokens", "concurrent"]
LimitPeriod = Literal["minute", "day", "now"]
"""`now` is that of `concurrent` and of no other kind."""


class LimitState(msgspec.Struct, frozen=True):
    """One limit at one moment.

    Attributes:
        kind: What is counted.
        maximum: How much of it may be used in a period.
        remaining: How much is left, never below zero.
        reset_s: Seconds until all of `maximum` is there again if nothing more is used.
    """

    kind: LimitKind
    maximum: int
    remaining: int
    reset_s: float
