import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from headrace.core.scope import Scope
from headrace.store import accounts, credentials
from headrace.store.database import Database
from support.people import People, move_in


@pytest.fixture
def people(database: Database) -> People:
    found = database.write_now(move_in)

    def add(connection: Connection) -> None:
        for scope, subject in ((found.member, "bob@x.example"), (found.stranger, "eve@x.example")):
            credentials.add(
                connection, scope, "password", subject, secret_hash=f"h-{subject}", created_ns=1
            )
        credentials.add(connection, found.member, "oidc", "i s", secret_hash=None, created_ns=1)

    database.write_now(add)
    return found


def _find(database: Database, subject: str) -> Scope | None:
    found = database.read_now(lambda connection: credentials.find(connection, "password", subject))
    return None if found is None else found.scope


def test_a_credential_leads_to_its_account_until_that_closes(database: Database, people: People):
    assert _find(database, "bob@x.example") == people.member
    assert _find(database, "nobody@x.example") is None
    database.write_now(lambda connection: accounts.close(connection, people.member, now_ns=2))
    assert _find(database, "bob@x.example") is None
    assert database.read_now(lambda each: credentials.is_known(each, "oidc", "i s"))
    assert database.read_now(lambda each: credentials.find(each, "oidc", "i s")) is None


def test_an_address_has_one_password(database: Database, people: People):
    with pytest.raises(IntegrityError):
        database.write_now(
            lambda connection: credentials.add(
                connection, people.owner, "password", "bob@x.example", secret_hash="h", created_ns=1
            )
        )


def test_changes_reach_the_own_account_only(database: Database, people: People):
    forged = Scope(people.stranger.organisation_id, people.member.account_id)

    def attempt(connection: Connection) -> None:
        for scope in (people.stranger, forged):
            credentials.replace_hash(connection, scope, "h-bob@x.example", "mine")
        credentials.move(connection, forged, "mallory@x.example")
        credentials.remove(connection, forged)

    database.write_now(attempt)
    kept = database.read_now(lambda connection: credentials.of_account(connection, people.member))
    assert kept is not None
    assert kept.secret_hash == "h-bob@x.example"
    assert "h-bob" not in repr(kept)
    assert _find(database, "bob@x.example") == people.member
    kinds = database.read_now(lambda connection: credentials.kinds(connection, people.member))
    assert kinds == {"password", "oidc"}
    database.write_now(lambda connection: credentials.remove(connection, people.member, "password"))
    kinds = database.read_now(lambda connection: credentials.kinds(connection, people.member))
    assert kinds == {"oidc"}
    assert _find(database, "eve@x.example") == people.stranger


def test_a_newer_hash_takes_the_place_of_the_one_it_was_made_from(
    database: Database, people: People
):
    def replace(old: str, new: str) -> None:
        database.write_now(
            lambda connection: credentials.replace_hash(connection, people.member, old, new)
        )

    replace("something else", "lost")
    replace("h-bob@x.example", "newer")
    kept = database.read_now(lambda connection: credentials.of_account(connection, people.member))
    assert kept is not None
    assert kept.secret_hash == "newer"
