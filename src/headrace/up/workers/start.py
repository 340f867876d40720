"""What the control process tells a worker at its start, and the lines between them."""

import msgspec


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker needs; it comes as one JSON line on its standard input.

    `listener` is an inherited descriptor, `control_port` is where the control process listens,
    `number` counts from 1, and `share` is how many workers divide an upstream's places among them.
    """

    name: str
    number: int
    flags: dict[str, str | None]
    config: str | None
    listener: int
    control_port: int
    secret: str
    share: int


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One JSON line of a worker: that it is ready, why it is not, or its figures."""

    ready: bool = False
    error: str | None = None
    page: str | None = None


FIGURES = b"figures\n"
"""The line by which the control process asks for figures."""
