"""Key, in a file without SQL: commands that ask a running server show keys, too."""

import msgspec


class Key(msgspec.Struct, frozen=True):
    """What may be shown of a key. Times in nanoseconds since 1970."""

    id: str
    account_id: str
    name: str
    last4: str
    purpose: str
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    last_used_ns: int | None
