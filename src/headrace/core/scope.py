"""Whose data: every owned row, file and cached prefix carries these two ids."""

from typing import Literal

import msgspec

NodeKind = Literal["organisation", "team", "account", "key"]
"""What a limit or a budget may stand at."""


class Scope(msgspec.Struct, frozen=True):
    """The owner that each function of the store takes as a required argument."""

    organisation_id: str
    account_id: str


class Lineage(msgspec.Struct, frozen=True):
    """Where a call hangs in the tree of accounts: organisation → team → account → key.

    Limits and budgets may stand at each of these; all of them bind the call.
    """

    organisation_id: str
    team_id: str | None
    account_id: str
    key_id: str

    def nodes(self) -> tuple[str, ...]:
        """Their ids, from the root to the key."""
        if self.team_id is None:
            return (self.organisation_id, self.account_id, self.key_id)
        return (self.organisation_id, self.team_id, self.account_id, self.key_id)
