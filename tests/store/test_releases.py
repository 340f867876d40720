from sqlalchemy import Connection

from headrace.core.models import Release
from headrace.core.scope import Scope
from headrace.store import releases
from headrace.store.database import Database
from support.people import move_in

_DIGEST = "sha256:" + "a" * 64


def _adopt(scope: Scope, identifier: str):
    def work(connection: Connection) -> Release:
        return releases.adopt_release(
            connection,
            scope,
            identifier,
            model_id="tiny",
            digest=_DIGEST,
            card_json="{}",
            created_ns=7,
        )

    return work


def test_adopting_the_same_files_twice_gives_one_release(database: Database):
    people = database.write_now(move_in)
    first = database.write_now(_adopt(people.owner, "one"))
    again = database.write_now(_adopt(people.member, "two"))
    assert first == again == Release("one", "tiny", _DIGEST, "adopted", 7)


def test_organisations_do_not_see_each_others_releases(database: Database):
    people = database.write_now(move_in)
    database.write_now(_adopt(people.owner, "one"))

    def get(scope: Scope) -> Release | None:
        return database.read_now(
            lambda connection: releases.get_release(connection, scope, _DIGEST)
        )

    assert get(people.member) is not None
    assert get(people.stranger) is None
    assert database.write_now(_adopt(people.stranger, "theirs")).id == "theirs"
