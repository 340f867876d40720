from headrace.core.scope import Scope
from headrace.store import sessions
from headrace.store.database import Database
from support.people import move_in


def test_a_link_is_used_once_and_before_it_expires(database: Database):
    people = database.write_now(move_in)

    def use(link: str, now_ns: int) -> object:
        return database.write_now(
            lambda connection: sessions.use_link(connection, link, now_ns=now_ns)
        )

    for link in ("first", "late"):
        database.write_now(
            lambda connection, link=link: sessions.add_link(
                connection, people.member, link, maker_id="maker", expires_ns=100
            )
        )
    maker = Scope(people.member.organisation_id, "maker")
    assert use("first", 99) == sessions.UsedLink(people.member, maker)
    assert use("first", 99) is None
    assert use("late", 100) is None
    assert use("unknown", 1) is None


def test_a_session_is_its_accounts_until_it_ends(database: Database):
    people = database.write_now(move_in)
    for name, scope in (("mine", people.member), ("theirs", people.stranger)):
        database.write_now(
            lambda connection, name=name, scope=scope: sessions.add(
                connection, scope, name, created_ns=1, expires_ns=100
            )
        )

    def find(session: str, now_ns: int = 50) -> object:
        return database.read_now(
            lambda connection: sessions.find(connection, session, now_ns=now_ns)
        )

    assert find("mine") == sessions.Visitor(people.member, "member")
    assert find("theirs") == sessions.Visitor(people.stranger, "owner")
    assert find("mine", 100) is None
    database.write_now(lambda connection: sessions.end(connection, "mine"))
    assert find("mine") is None
    database.write_now(lambda connection: sessions.forget_expired(connection, now_ns=100))
    assert find("theirs") is None
