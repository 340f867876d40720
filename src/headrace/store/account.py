"""Accounts and teams as they are shown, in a file without SQL: commands show them, too."""

from typing import Literal

import msgspec

Kind = Literal["person", "service"]
Role = Literal["owner", "admin", "member", "viewer"]


class ShownAccount(msgspec.Struct, frozen=True):
    """What lists show of an account. Times in nanoseconds since 1970.

    A person who was erased has no name and no address.
    """

    id: str
    kind: Kind
    role: Role
    name: str
    email: str | None
    team_id: str | None
    created_ns: int
    closed_ns: int | None


class ShownTeam(msgspec.Struct, frozen=True):
    """What lists show of a team; `members` counts its open accounts."""

    id: str
    name: str
    created_ns: int
    members: int
