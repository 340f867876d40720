"""Sums that are written with the rows: exactly once, whatever comes twice or in another order."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from headrace.ledger.projection import Projector
from headrace.ledger.records import (
    AUDITED,
    CLOSED,
    OUTCOME,
    POSTED,
    Audited,
    Entry,
    Outcome,
    Posted,
)
from headrace.store import audit, balances, postings
from headrace.store.database import Database
from headrace.store.spend import DAY_NS, HOUR_NS, month_of
from support.journals import closed, open_journal
from support.ledger import TABLES, begin, call, end, refund
from support.people import People, move_in

M = 1_000_000  # nanoseconds of the machine
AT_NS = 20_000 * DAY_NS + 5 * HOUR_NS + 7


@pytest.fixture
def people(database: Database) -> People:
    return database.write_now(move_in)


def rows(database: Database, table: str) -> list[Any]:
    query = f"SELECT * FROM {table}"
    return sorted(map(tuple, database.read_now(lambda c: list(c.exec_driver_sql(query)))), key=str)


def hours(database: Database) -> dict[tuple[str, int, str], int]:
    return {tuple(row[:3]): row[3] for row in rows(database, "spend_hour")}


async def test_a_call_is_charged_to_every_node_of_its_lineage(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        opened = begin(
            journal, "g1", people.member, started_ns=AT_NS, team_id="t", conversation_id="c"
        )
        projector = Projector(database, journal)
        await projector.catch_up()
        assert rows(database, "spend_day") == []  # it runs yet
        end(journal, opened, machine="gpu")
        end(journal, begin(journal, "g2", people.member, started_ns=AT_NS + HOUR_NS), price_nano=7)
        await projector.catch_up()
    hour_ns = AT_NS - AT_NS % HOUR_NS
    assert hours(database) == {
        ("acme", hour_ns, "control"): 1_000,
        ("t", hour_ns, "control"): 1_000,
        ("member", hour_ns, "control"): 1_000,
        ("key-member", hour_ns, "control"): 1_000,
        ("acme", hour_ns + HOUR_NS, "control"): 7,
        ("member", hour_ns + HOUR_NS, "control"): 7,
        ("key-member", hour_ns + HOUR_NS, "control"): 7,
    }
    digest = "sha256:" + "0" * 64
    place = ("member", "key-member", "tiny", digest, "api")
    of_day = [
        ("acme", 20_000 * DAY_NS, "", *place, "", 1, 0, 12, 4, 30, 5, 7, 400, 0, 70, 0, 0),
        ("acme", 20_000 * DAY_NS, "t", *place, "gpu", 1, 0, 12, 4, 30, 5, 1_000, 400, 0, 70, M, 0),
    ]
    assert rows(database, "spend_day") == of_day
    month_ns = month_of(AT_NS)
    assert rows(database, "spend_month") == [(row[0], month_ns, *row[2:]) for row in of_day]
    assert rows(database, "spend_conversation") == [
        ("acme", "c", "member", "api", AT_NS, 1, 12, 30, 1_000, 400)
    ]
    found = database.read_now(lambda c: balances.every(c, people.owner))
    assert {one.name: (one.amount_nano, one.entries) for one in found} == {
        "receivable:member": (1_007, 2),
        "revenue:tiny": (-1_007, 2),
        "cogs:tiny": (800, 2),
        "capacity:gpu": (-400, 1),
        "payable:provider": (-400, 1),
    }


async def test_replays_and_second_endings_count_once(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        opened = begin(journal, "g1", people.member, started_ns=AT_NS)
        end(journal, opened)
        end(journal, opened, price_nano=3_000)  # in the same batch
        projector = Projector(database, journal)
        await projector.catch_up()
        first = {table: rows(database, table) for table in TABLES}
        assert hours(database)["acme", AT_NS - AT_NS % HOUR_NS, "control"] == 1_000
        end(journal, opened, price_nano=3_000)  # in a later one
        journal.append(CLOSED, closed("never-begun"))
        await projector.catch_up()
        assert {table: rows(database, table) for table in TABLES} == first
        # The rows stay and the position is lost: what is read again changes nothing.
        database.write_now(lambda c: c.exec_driver_sql("DELETE FROM projection"))
        await Projector(database, journal).catch_up()
        assert {table: rows(database, table) for table in TABLES} == first


@pytest.mark.parametrize("projected_first", ["call", "refund"])
async def test_a_refund_lowers_the_sums_of_its_call_whichever_comes_first(
    database: Database, people: People, tmp_path: Path, projected_first: str
):
    # Journals are read by the names of their workers.
    caller, refunder = ("a", "b") if projected_first == "call" else ("b", "a")
    with open_journal(tmp_path, caller) as calls, open_journal(tmp_path, refunder) as office:
        opened = begin(calls, "g1", people.member, started_ns=AT_NS, conversation_id="c")
        end(calls, opened)
        refund(office, opened, 300)
        refund(office, opened, 300)  # the same one again
        projector = Projector(database, calls)
        await projector.catch_up()
        hour_ns = AT_NS - AT_NS % HOUR_NS
        assert hours(database)["acme", hour_ns, caller] == 1_000
        assert hours(database)["acme", hour_ns, refunder] == -300
        for table in ("spend_day", "spend_month"):
            (row,) = rows(database, table)
            assert row[-6] == 700
        (talk,) = rows(database, "spend_conversation")
        assert talk[-2:] == (700, 400)
        found = database.read_now(lambda c: balances.every(c, people.owner))
        assert ("receivable:member", 700) in {(one.name, one.amount_nano) for one in found}
        about = database.read_now(lambda c: postings.of_generation(c, people.owner, "g1"))
        assert [one.id for one in about] == ["r1"]
        assert not database.read_now(lambda c: postings.of_generation(c, people.stranger, "g1"))


async def test_a_refund_before_its_call_ends_counts_when_it_does(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        opened = begin(journal, "g1", people.member, started_ns=AT_NS)
        refund(journal, opened, 300)
        projector = Projector(database, journal)
        await projector.catch_up()
        assert rows(database, "spend_day") == []
        end(journal, opened)
        await projector.catch_up()
    assert rows(database, "spend_day")[0][-6] == 700


async def test_accruals_changes_and_outcomes(database: Database, people: People, tmp_path: Path):
    detail = {"machine": "gpu", "hour_ns": HOUR_NS, "up_ns": 9, "busy_ns": 4, "cost_nano": 10}
    accrual = Posted(
        id="p1",
        organisation_id="acme",
        kind="accrual",
        time_ns=HOUR_NS,
        entries=(Entry("capacity:gpu", 10), Entry("hardware:gpu", -10)),
        detail=detail,
    )
    changed = Audited(
        id="a1",
        organisation_id="acme",
        actor_id="owner",
        action="budget.made",
        object_id="b1",
        time_ns=3,
        detail={"limit_nano": 5},
    )
    told = Outcome(
        id="o1",
        organisation_id="acme",
        account_id="member",
        team_id=None,
        model_id="tiny",
        kind="code_change_accepted",
        count=2,
        time_ns=AT_NS,
    )
    with open_journal(tmp_path) as journal:
        for _ in range(2):
            journal.append(POSTED, accrual)
            journal.append(AUDITED, changed)
            journal.append(OUTCOME, told)
        await Projector(database, journal).catch_up()
    assert rows(database, "hardware_hour") == [("acme", "gpu", HOUR_NS, 9, 4, 0, 0, 10, 0)]
    assert rows(database, "outcome") == [
        ("member", "o1", "acme", None, "tiny", "code_change_accepted", 2, AT_NS, None)
    ]
    (event,) = database.read_now(lambda c: audit.recent(c, people.owner, limit=9))
    assert (event.action, event.detail) == ("budget.made", '{"limit_nano":5}')
    assert database.read_now(lambda c: audit.recent(c, people.stranger, limit=9)) == ()


async def test_two_projectors_sum_every_call_once(
    database: Database, people: People, tmp_path: Path
):
    other = Database(database.url)
    with open_journal(tmp_path) as journal:
        projectors = [Projector(database, journal), Projector(other, journal)]
        for step in range(5):
            for number in range(20):
                call(journal, f"g{step}-{number}", people.member)
            for projector in projectors:
                await projector.catch_up()
    other.close()
    assert hours(database)["acme", 0, "control"] == 100 * 1_000


def test_months_begin_in_utc():
    leap_day_ns = 1_709_164_800_000_000_000  # 2024-02-29
    assert month_of(leap_day_ns + 5) == 1_706_745_600_000_000_000
    assert month_of(month_of(leap_day_ns)) == month_of(leap_day_ns)


def _delete(connection: Connection, table: str) -> None:
    connection.exec_driver_sql(f"DELETE FROM {table}")


async def test_sums_can_be_made_anew(database: Database, people: People, tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=4_000) as journal:
        for number in range(50):
            call(journal, f"g{number:04d}", people.member, price_nano=number)
        await Projector(database, journal).catch_up()
        first = {table: rows(database, table) for table in TABLES}
        for table in (*TABLES, "projection"):
            database.write_now(lambda c, table=table: _delete(c, table))
        await Projector(database, journal).catch_up()
        assert {table: rows(database, table) for table in TABLES} == first
