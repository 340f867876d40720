"""Key, in a file without SQL: commands that ask a running server show keys, too."""

from typing import Literal

import msgspec

RouteName = Literal[
    "chat",
    "responses",
    "messages",
    "embeddings",
    "moderations",
    "files",
    "batches",
    "models",
    "count_tokens",
    "outcomes",
]
"""What a key may be used for, as its scopes name it."""


class KeyScopes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may be used for; an empty list means everything of its kind.

    Attributes:
        models: Patterns of public names, `*` and `?` as in a shell.
        routes: Routes of the API.
        purposes: Words that receipts may show.
    """

    models: tuple[str, ...] = ()
    routes: tuple[RouteName, ...] = ()
    purposes: tuple[str, ...] = ()


class Key(msgspec.Struct, frozen=True):
    """What may be shown of a key. Times in nanoseconds since 1970.

    `former_until_ns` is when the secret before the last rotation stops to open, too.
    """

    id: str
    account_id: str
    name: str
    last4: str
    purpose: str
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    last_used_ns: int | None
    scopes: KeyScopes | None = None
    former_until_ns: int | None = None
