import pytest

from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store import generations
from headrace.store.database import Database
from headrace.store.generations import Ending, Generation
from support.people import People, move_in


def _begun(identifier: str, scope: Scope) -> Generation:
    return Generation(
        id=identifier,
        organisation_id=scope.organisation_id,
        account_id=scope.account_id,
        worker="control",
        key_id="k",
        purpose="api",
        model_id="tiny",
        release_digest="sha256:0",
        engine="scripted",
        dialect="openai",
        started_ns=1,
    )


def _ended(identifier: str, stop: str = "end") -> Ending:
    return Ending(
        id=identifier,
        stop=stop,
        usage=Usage(5, 1, 7, 2),
        cost_nano=0,
        first_token_ms=3,
        duration_ms=9,
        error_kind=None,
    )


@pytest.fixture
def people(database: Database) -> People:
    found = database.write_now(move_in)
    begun = [_begun(f"of-{scope.account_id}", scope) for scope in (found.owner, found.member)]
    begun.append(_begun("of-stranger", found.stranger))
    database.write_now(lambda connection: generations.project(connection, begun, ()))
    return found


def _seen(database: Database, scope: Scope) -> set[str]:
    found = database.read_now(lambda c: generations.recent(c, scope, limit=10))
    single = {
        name
        for name in ("of-owner", "of-member", "of-stranger")
        if database.read_now(lambda c, name=name: generations.get(c, scope, name)) is not None
    }
    assert single == {one.id for one in found}
    return single


def test_each_sees_the_own_receipts_and_overseers_the_organisations(
    database: Database, people: People
):
    assert _seen(database, people.owner) == {"of-owner", "of-member"}
    assert _seen(database, people.admin) == {"of-owner", "of-member"}
    assert _seen(database, people.member) == {"of-member"}
    assert _seen(database, people.colleague) == set()
    assert _seen(database, people.stranger) == {"of-stranger"}
    assert _seen(database, Scope("other", "owner")) == set()


def test_projecting_twice_changes_nothing_and_the_first_ending_counts(
    database: Database, people: People
):
    begun = [_begun("of-member", people.member)]
    for stop in ("end", "interrupted"):
        database.write_now(
            lambda c, stop=stop: generations.project(c, begun, [_ended("of-member", stop)])
        )
    found = database.read_now(lambda c: generations.get(c, people.member, "of-member"))
    assert found is not None
    assert (found.stop, found.usage, found.duration_ms) == ("end", Usage(5, 1, 7, 2), 9)
    left = database.read_now(lambda c: generations.unfinished(c, "control"))
    assert left == ("of-owner", "of-stranger")
    assert database.read_now(lambda c: generations.unfinished(c, "other")) == ()


def test_recent_pages_backwards(database: Database, people: People):
    begun = [_begun(f"p{number}", people.colleague) for number in range(5)]
    database.write_now(lambda c: generations.project(c, begun, ()))

    def page(before: str | None) -> list[str]:
        found = database.read_now(
            lambda c: generations.recent(c, people.colleague, limit=2, before=before)
        )
        return [one.id for one in found]

    assert page(None) == ["p4", "p3"]
    assert page("p3") == ["p2", "p1"]
    assert page("p1") == ["p0"]


def test_a_projection_moves_only_from_where_it_was(database: Database):
    def move(before: str | None, after: str) -> bool:
        return database.write_now(lambda c: generations.move(c, "p", before, after))

    assert move(None, "1")
    assert not move(None, "2")
    assert not move("0", "2")
    assert move("1", "2")
    assert database.read_now(lambda c: generations.position(c, "p")) == "2"
