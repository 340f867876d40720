"""Probe: whether a sandbox can be had on this machine, tried live."""

from typing import Literal

import msgspec

Kind = Literal["bubblewrap", "seatbelt", "none"]


class Probe(msgspec.Struct, frozen=True):
    """What a try found.

    Attributes:
        kind: Which sandbox holds; none where there is none.
        why: One line: which program and version, or why there is none and what to do.
        program: The program that makes it, absolute; None where there is none.
    """

    kind: Kind
    why: str
    program: str | None = None

    @property
    def ok(self) -> bool:
        """Whether commands can run in a sandbox here."""
        return self.kind != "none"


def probe() -> Probe:
    """Try it once in this process (about 10 ms), then tell what was found."""
    raise NotImplementedError
