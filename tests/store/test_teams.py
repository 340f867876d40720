from headrace.core.scope import Scope
from headrace.store import accounts, teams
from headrace.store.database import Database
from support.people import move_in


def test_a_team_is_its_organisations_alone(database: Database):
    people = database.write_now(move_in)
    ours, theirs = people.owner, people.stranger

    def add(scope: Scope, identifier: str, name: str) -> None:
        database.write_now(
            lambda connection: teams.add(connection, scope, identifier, name=name, created_ns=1)
        )

    add(ours, "t-1", "Research \x00")
    add(theirs, "t-2", "Research \x00")
    database.write_now(
        lambda connection: accounts.change(connection, people.member, role="member", team_id="t-1")
    )

    def shown(scope: Scope) -> list[tuple[str, str, int]]:
        found = database.read_now(lambda connection: teams.visible(connection, scope))
        return [(each.id, each.name, each.members) for each in found]

    assert shown(ours) == [("t-1", "Research \x00", 1)]
    assert shown(theirs) == [("t-2", "Research \x00", 0)]

    def by_name(scope: Scope, name: str) -> str | None:
        return database.read_now(lambda connection: teams.find_by_name(connection, scope, name))

    assert by_name(ours, "Research \x00") == "t-1"
    assert by_name(ours, "research") is None

    def change(scope: Scope) -> tuple[bool, bool, bool]:
        return database.write_now(
            lambda connection: (
                teams.is_open(connection, scope, "t-1"),
                teams.rename(connection, scope, "t-1", name="Science"),
                teams.close(connection, scope, "t-1", now_ns=2),
            )
        )

    assert change(theirs) == (False, False, False)
    assert shown(ours) == [("t-1", "Research \x00", 1)]
    assert change(ours) == (True, True, True)
    assert shown(ours) == []
    assert change(ours) == (False, False, False)
    member = database.read_now(lambda connection: accounts.get(connection, people.member))
    assert member is not None
    assert member.team_id is None
