import pytest
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.store import keys
from headrace.store.database import Database
from support.people import People, move_in


@pytest.fixture
def people(database: Database) -> People:
    found = database.write_now(move_in)

    def fill(connection: Connection) -> None:
        for scope in (found.owner, found.member, found.service, found.stranger):
            _add(connection, scope, f"key-of-{scope.account_id}")

    database.write_now(fill)
    return found


def _add(connection: Connection, scope: Scope, identifier: str, expires_ns: int | None = None):
    keys.add(
        connection,
        scope,
        identifier,
        name="laptop",
        secret_hash=f"hash-of-{identifier}",
        last4="wxyz",
        purpose="api",
        created_ns=1,
        expires_ns=expires_ns,
    )


def _seen(database: Database, scope: Scope) -> set[str]:
    found = database.read_now(lambda connection: keys.visible(connection, scope))
    return {key.id for key in found}


def test_each_sees_the_own_keys_and_overseers_the_organisations(database: Database, people: People):
    of_acme = {"key-of-owner", "key-of-member", "key-of-service"}
    assert _seen(database, people.owner) == of_acme
    assert _seen(database, people.admin) == of_acme
    assert _seen(database, people.member) == {"key-of-member"}
    assert _seen(database, people.colleague) == set()
    assert _seen(database, people.stranger) == {"key-of-stranger"}
    assert _seen(database, Scope("acme", "stranger")) == set()
    assert _seen(database, Scope("other", "owner")) == set()


def test_only_who_sees_a_key_revokes_it(database: Database, people: People):
    def revoke(scope: Scope) -> str | None:
        return database.write_now(
            lambda connection: keys.revoke(connection, scope, "key-of-member", now_ns=5)
        )

    assert revoke(people.stranger) is None
    assert revoke(people.colleague) is None
    assert revoke(people.service) is None
    live = database.read_now(lambda connection: keys.live(connection, now_ns=5))
    assert "key-of-member" in {key.id for key in live}
    assert revoke(people.owner) == "hash-of-key-of-member"
    live = database.read_now(lambda connection: keys.live(connection, now_ns=5))
    assert "key-of-member" not in {key.id for key in live}
    assert revoke(people.member) == "hash-of-key-of-member"


def test_a_secret_is_replaced_in_the_own_account_only(database: Database, people: People):
    def replace(scope: Scope) -> None:
        database.write_now(
            lambda connection: keys.replace_secret(
                connection, scope, "key-of-member", secret_hash="new", last4="4444"
            )
        )

    def hashes() -> set[str]:
        live = database.read_now(lambda connection: keys.live(connection, now_ns=5))
        return {key.hash for key in live}

    replace(people.owner)
    replace(people.stranger)
    assert "new" not in hashes()
    replace(people.member)
    assert "new" in hashes()
    assert "hash-of-key-of-member" not in hashes()


def test_a_key_is_found_by_purpose_in_the_own_account_only(database: Database, people: People):
    def find(scope: Scope) -> str | None:
        return database.read_now(lambda connection: keys.find_by_purpose(connection, scope, "api"))

    assert find(people.member) == "key-of-member"
    assert find(people.colleague) is None
    assert find(Scope("other", "member")) is None


def test_expired_keys_are_not_live(database: Database, people: People):
    database.write_now(lambda connection: _add(connection, people.colleague, "brief", 100))

    def live(now_ns: int) -> set[str]:
        found = database.read_now(lambda connection: keys.live(connection, now_ns=now_ns))
        return {key.id for key in found}

    assert "brief" in live(99)
    assert "brief" not in live(100)


def test_last_use_never_goes_back(database: Database, people: People):
    for time_ns in (50, 20):
        database.write_now(
            lambda connection, time_ns=time_ns: keys.touch(connection, {"key-of-owner": time_ns})
        )
    found = database.read_now(lambda connection: keys.visible(connection, people.owner))
    used_ns = {key.id: key.last_used_ns for key in found}
    assert used_ns == {"key-of-owner": 50, "key-of-member": None, "key-of-service": None}
