"""Admin routes in tests: a doorman who believes everybody, and what the audit log holds."""

import msgspec

from headrace.ledger.journal import Journal
from headrace.ledger.reader import read
from headrace.ledger.records import AUDITED, Audited
from headrace.store.accounts import Role
from headrace.store.sessions import Visitor
from support.people import People


class AsSaid:
    """Lets everybody in as who they say they are; `viewer` is the colleague in that role."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def session(self, cookie: str) -> Visitor | None:
        del cookie
        return None

    def operator(self, credential: str) -> Visitor | None:
        if credential == "viewer":
            return Visitor(self._people.colleague, "viewer")
        roles: dict[str, Role] = {"owner": "owner", "admin": "admin", "stranger": "owner"}
        return Visitor(getattr(self._people, credential), roles.get(credential, "member"))


def audited(journal: Journal) -> list[Audited]:
    """The changes that the journal holds, oldest first."""
    return [
        msgspec.json.decode(one.data, type=Audited)
        for one in read(journal.directory, "control")
        if one.kind == AUDITED
    ]
