from typing import Any

from headrace.core.scope import Scope
from headrace.store import idempotent_replies as rows
from headrace.store.database import Database
from headrace.store.idempotent_replies import Claim, Recorded, Taken
from support.people import move_in

REPLY = Recorded(200, (("content-type", "text/plain"), ("x-odd", "caf\xe9")), b"\x00\xffbytes")


class Table:
    """The functions of the table, run on a database."""

    def __init__(self, database: Database) -> None:
        self.write = database.write_now
        self.scope: Scope = database.write_now(move_in).member

    def claim(self, now_ns: int, request: str = "r", until_ns: int = 100) -> Any:
        return self.write(
            lambda connection: rows.claim(
                connection,
                self.scope,
                "id",
                request_sha256=request,
                now_ns=now_ns,
                until_ns=until_ns,
            )
        )

    def record(self, held: Claim, until_ns: int) -> None:
        self.write(lambda connection: rows.record(connection, held, REPLY, until_ns=until_ns))

    def release(self, held: Claim, *, kept: bool = False, now_ns: int = 2) -> None:
        self.write(lambda connection: rows.release(connection, held, now_ns=now_ns, kept=kept))


def test_the_first_claims_the_next_waits_and_then_gets_the_reply(database: Database):
    table = Table(database)
    held = table.claim(now_ns=1)
    assert held == Claim("id", 1)
    assert table.claim(now_ns=2) == Taken(other=False)
    assert table.claim(now_ns=2, request="other") == Taken(other=True)
    table.record(held, until_ns=500)
    assert table.claim(now_ns=499) == REPLY
    assert table.claim(now_ns=499, request="other") == Taken(other=True)
    assert table.claim(now_ns=500, until_ns=600) == Claim("id", 500)


def test_a_claim_ends_unless_renewed_and_the_late_one_cannot_touch_the_next(database: Database):
    table = Table(database)
    late = table.claim(now_ns=1, until_ns=100)
    table.write(lambda connection: rows.renew(connection, late, until_ns=200))
    assert table.claim(now_ns=199) == Taken(other=False)
    held = table.claim(now_ns=200, until_ns=300)
    assert held == Claim("id", 200, again=True)
    table.record(late, until_ns=900)
    table.write(lambda connection: rows.renew(connection, late, until_ns=900))
    table.release(late)
    assert table.claim(now_ns=299) == Taken(other=False)
    assert table.claim(now_ns=300) == Claim("id", 300, again=True)


def test_a_released_key_is_free_and_a_record_is_not_released(database: Database):
    table = Table(database)
    held = table.claim(now_ns=1)
    table.release(held)
    held = table.claim(now_ns=2)
    assert held == Claim("id", 2)
    table.record(held, until_ns=100)
    table.release(held)
    assert table.claim(now_ns=3) == REPLY


def test_a_key_whose_call_left_no_reply_is_free_and_remembered(database: Database):
    table = Table(database)
    table.release(table.claim(now_ns=1), kept=True, now_ns=5)
    assert table.claim(now_ns=5, until_ns=9) == Claim("id", 5, again=True)
    assert table.claim(now_ns=9, request="other") == Claim("id", 9)


def test_what_has_expired_is_forgotten(database: Database):
    table = Table(database)

    def forget(now_ns: int, claimed_before_ns: int) -> int:
        return table.write(
            lambda connection: rows.forget_expired(
                connection, now_ns=now_ns, claimed_before_ns=claimed_before_ns
            )
        )

    table.record(table.claim(now_ns=1), until_ns=50)
    assert forget(49, 0) == 0
    assert forget(50, 0) == 1
    table.claim(now_ns=60, until_ns=70)
    assert forget(70, 59) == 0
    assert forget(70, 60) == 1
