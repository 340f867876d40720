import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from headrace.core.scope import Scope
from headrace.store import accounts
from headrace.store.database import Database
from support.people import move_in


def test_an_account_is_found_by_its_own_scope_only(database: Database):
    people = database.write_now(move_in)

    def get(scope: Scope) -> accounts.Account | None:
        return database.read_now(lambda connection: accounts.get(connection, scope))

    owner = get(people.owner)
    assert owner == accounts.Account(
        "owner", "acme", "Acme", "person", "owner", "Owner", None, None
    )
    service = get(people.service)
    assert service is not None
    assert (service.kind, service.name) == ("service", "chat")
    assert get(Scope("other", "owner")) is None
    assert get(Scope("acme", "stranger")) is None


def test_an_erased_person_keeps_an_account_without_a_name(database: Database):
    people = database.write_now(move_in)

    def erase(connection: Connection) -> None:
        connection.execute(text("DELETE FROM person WHERE account_id = 'member'"))

    database.write_now(erase)
    found = database.read_now(lambda connection: accounts.get(connection, people.member))
    assert found is not None
    assert found.name == ""


def test_a_closed_account_is_gone(database: Database):
    people = database.write_now(move_in)

    def close(connection: Connection) -> None:
        connection.execute(text("UPDATE account SET closed_ns = 2 WHERE id = 'member'"))

    database.write_now(close)
    assert database.read_now(lambda connection: accounts.get(connection, people.member)) is None
    assert "member" not in database.read_now(accounts.open_accounts)
    assert "owner" in database.read_now(accounts.open_accounts)


def test_two_services_of_one_name_are_refused(database: Database):
    database.write_now(move_in)

    def again(connection: Connection) -> None:
        scope = Scope("acme", "second")
        accounts.add_service(connection, scope, role="member", name="chat", created_ns=1)

    with pytest.raises(IntegrityError):
        database.write_now(again)


def test_home_is_the_oldest_organisation(database: Database):
    assert database.read_now(accounts.find_home) is None
    database.write_now(move_in)
    home = database.read_now(accounts.find_home)
    assert home is not None
    assert home == accounts.Home("acme", "owner", "service")
    assert home.owner == Scope("acme", "owner")
    assert home.chat == Scope("acme", "service")
