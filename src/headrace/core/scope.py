"""Whose data: every owned row, file and cached prefix carries these two ids."""

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """The owner that each function of the store takes as a required argument."""

    organisation_id: str
    account_id: str
