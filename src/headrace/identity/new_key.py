"""NewKey, in a file without SQL: commands that ask a running server make keys, too."""

import msgspec


class NewKey(msgspec.Struct, frozen=True):
    """A key just made; the only time its secret is seen."""

    id: str
    secret: str
    name: str
    purpose: str
    expires_ns: int | None = None

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r}, secret=hidden)"
