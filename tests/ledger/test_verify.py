"""`headrace ledger verify`: right books are right, and whatever is tampered with is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.ledger import chain
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.records import (
    AUDITED,
    CLOSED,
    OUTCOME,
    POSTED,
    Audited,
    Entry,
    GenerationClosed,
    Outcome,
    Posted,
)
from headrace.ledger.report_commands import main
from headrace.ledger.verdict import Verdict
from headrace.ledger.verify import verify
from headrace.store import budgets
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.spend import DAY_NS, HOUR_NS
from support.journals import closed, open_journal
from support.ledger import TABLES, begin, call, end, refund
from support.people import People, move_in

AT_NS = 20_000 * DAY_NS
MEMBER = Scope("acme", "member")


def verdict_of(database: Database, folder: Path) -> Verdict:
    return database.read_now(lambda c: verify(c, folder, lambda _: None))


def fill(control: Journal, worker: Journal, people: People) -> None:
    """A little of everything, some of it refunded, one call still open in each journal."""
    for number in range(6):
        journal = worker if number % 2 else control
        opened = begin(
            journal,
            f"g{number}",
            people.member if number < 4 else people.owner,
            started_ns=AT_NS + number * HOUR_NS,
            team_id="t" if number < 3 else None,
            conversation_id="c",
        )
        end(journal, opened, price_nano=1_000 + number, machine="gpu" if number < 2 else None)
        if number == 3:
            refund(control, opened, 300)
            refund(control, opened, 200, "r2")
    begin(control, "open", people.member)
    begin(worker, "open-too", people.member)
    detail = {"machine": "gpu", "hour_ns": AT_NS, "up_ns": 9, "busy_ns": 4, "cost_nano": 10}
    accrual = Posted(
        id="p1",
        organisation_id="acme",
        kind="accrual",
        time_ns=AT_NS,
        entries=(Entry("capacity:gpu", 10), Entry("hardware:gpu", -10)),
        detail=detail,
    )
    control.append(POSTED, accrual)
    changed = Audited(
        id="a1",
        organisation_id="acme",
        actor_id="owner",
        action="key.made",
        object_id="k1",
        time_ns=3,
    )
    control.append(AUDITED, changed)
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
    control.append(OUTCOME, told)


@pytest.fixture
async def filled(database: Database, tmp_path: Path) -> Path:
    """The folder of two projected journals."""
    people = database.write_now(move_in)
    folder = tmp_path / "journal"
    with open_journal(folder) as control, open_journal(folder, "w1") as worker:
        fill(control, worker, people)
        await Projector(database, control).catch_up()
    return folder


@pytest.fixture
async def small(sqlite_database: Database, tmp_path: Path) -> Path:
    """The same on SQLite alone, as what is found there is found by the same statements."""
    people = sqlite_database.write_now(move_in)
    folder = tmp_path / "journal"
    with open_journal(folder) as control, open_journal(folder, "w1") as worker:
        fill(control, worker, people)
        await Projector(sqlite_database, control).catch_up()
    return folder


async def test_right_books_are_right_while_calls_run(database: Database, filled: Path):
    found = verdict_of(database, filled)
    assert found.problems == []
    assert (found.journals, found.generations, found.open) == (2, 8, 2)
    assert (found.postings, found.changes) == (3, 1)
    assert (found.charged_nano, found.refunded_nano) == (6_015, 500)
    # What stands behind the rows is sound, too.
    with open_journal(filled) as control:
        opened = begin(control, "later", MEMBER, started_ns=AT_NS)
        end(control, opened)
        refund(control, opened, 1_000, "r3")
        found = verdict_of(database, filled)
        assert found.problems == []
        assert found.generations == 9
        await Projector(database, control).catch_up()
    assert verdict_of(database, filled).problems == []


async def test_of_postings_with_one_id_the_first_counts(database: Database, filled: Path):
    again = Posted(
        id="p1",
        organisation_id="acme",
        kind="accrual",
        time_ns=AT_NS + 1,
        entries=(Entry("capacity:gpu", 7), Entry("hardware:gpu", -7)),
    )
    with open_journal(filled) as control:
        control.append(POSTED, again)
        assert verdict_of(database, filled).problems == []
        await Projector(database, control).catch_up()
    found = verdict_of(database, filled)
    assert (found.problems, found.postings) == ([], 3)


async def test_an_empty_ledger_is_right(database: Database, tmp_path: Path):
    assert verdict_of(database, tmp_path / "journal") == Verdict()


@pytest.mark.parametrize("table", TABLES)
async def test_rows_that_are_gone_or_too_many_are_found(
    sqlite_database: Database, small: Path, table: str
):
    def columns(connection: Connection) -> list[str]:
        return [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]

    def lose(connection: Connection) -> None:
        keys = ", ".join(columns(connection)[:3])
        one = f"SELECT {keys} FROM {table} LIMIT 1"
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE ({keys}) IN ({one})")

    sqlite_database.write_now(lose)
    assert verdict_of(sqlite_database, small).problems_count > 0


async def test_a_row_that_nobody_wrote_is_found(sqlite_database: Database, small: Path):
    def invent(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TEMP TABLE one AS SELECT * FROM generation LIMIT 1")
        connection.exec_driver_sql("UPDATE one SET id = 'mine', price_nano = 0, cost_nano = 0")
        connection.exec_driver_sql("INSERT INTO generation SELECT * FROM one")

    sqlite_database.write_now(invent)
    assert "receipt" in {one.check for one in verdict_of(sqlite_database, small).problems}


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_number_that_is_changed_in_the_database_is_found(
    data: st.DataObject, sqlite_database: Database, small: Path
):
    table = data.draw(st.sampled_from(TABLES))

    def cells(connection: Connection) -> list[tuple[str, int, int]]:
        names = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
        rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
        return [
            (name, number, row[place])
            for number, row in enumerate(rows)
            for place, name in enumerate(names)
            if isinstance(row[place], int)
        ]

    found = sqlite_database.read_now(cells)
    column, number, before = data.draw(st.sampled_from(found))
    more = data.draw(st.integers(1, 10**9))

    def change(connection: Connection) -> None:
        names = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
        row = connection.exec_driver_sql(f"SELECT * FROM {table}").all()[number]
        where = " AND ".join(f"{name} IS ?" for name in names)
        connection.exec_driver_sql(
            f"UPDATE {table} SET {column} = ? WHERE {where}", (before + more, *row)
        )

    copy = small.parent / "headrace.db"
    backup = small.parent / "before.db"
    sqlite_database.read_now(lambda c: c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all())
    shutil.copy(copy, backup)
    tampered = Database(f"sqlite:///{backup}")
    try:
        tampered.write_now(change)
        assert verdict_of(tampered, small).problems_count > 0, (table, column, number)
    finally:
        tampered.close()


def _segment(folder: Path) -> Path:
    return folder / "control-000001.jsonl"


def _flip(folder: Path) -> None:
    path = _segment(folder)
    written = bytearray(path.read_bytes())
    written[len(written) // 2] ^= 1
    path.write_bytes(written)


def _lose_a_line(folder: Path) -> None:
    lines = _segment(folder).read_bytes().splitlines(keepends=True)
    _segment(folder).write_bytes(b"".join(lines[:3] + lines[4:]))


def _lose_the_end(folder: Path) -> None:
    lines = _segment(folder).read_bytes().splitlines(keepends=True)
    _segment(folder).write_bytes(b"".join(lines[:-1]))


def _lose_a_journal(folder: Path) -> None:
    (folder / "w1-000001.jsonl").unlink()


def _write_anew(folder: Path) -> None:
    """Somebody who knows how writes the whole chain again, with a smaller price."""
    position = chain.start("control")
    lines: list[bytes] = []
    for line in _segment(folder).read_bytes().splitlines():
        read = json.loads(line)
        data = json.dumps(read["data"], separators=(",", ":")).replace("1000", "999").encode()
        sealed, _ = chain.seal(position, read["kind"], read["time_ns"], data)
        after = chain.follow(position, sealed)
        assert after is not None
        position = after
        lines.append(sealed)
    _segment(folder).write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    "tamper", [_flip, _lose_a_line, _lose_the_end, _lose_a_journal, _write_anew]
)
async def test_a_journal_that_was_changed_is_found(
    sqlite_database: Database, small: Path, tamper: Callable[[Path], None]
):
    tamper(small)
    assert "chain" in {one.check for one in verdict_of(sqlite_database, small).problems}


def _unbalanced(journal: Journal, people: People) -> None:
    opened = begin(journal, "x", people.member)
    entries = (Entry("receivable:member", 5), Entry("revenue:tiny", -4))
    journal.append(
        CLOSED, GenerationClosed(id=opened.id, stop="end", price_nano=5, entries=entries)
    )


def _over_the_hold(journal: Journal, people: People) -> None:
    end(journal, begin(journal, "x", people.member, held_nano=10), price_nano=11)


def _not_begun(journal: Journal, people: People) -> None:
    del people
    journal.append(CLOSED, closed("x"))


def _ended_twice(journal: Journal, people: People) -> None:
    opened = begin(journal, "x", people.member)
    end(journal, opened)
    end(journal, opened)


def _refunded_too_much(journal: Journal, people: People) -> None:
    opened = begin(journal, "x", people.member)
    end(journal, opened, price_nano=10)
    refund(journal, opened, 6, "r8")
    refund(journal, opened, 5, "r9")


def _refunded_for_nothing(journal: Journal, people: People) -> None:
    with open_journal(journal.directory.parent / "aside") as aside:
        opened = begin(aside, "nobody's", people.member)
    refund(journal, opened, 6, "r9")


def _charged_to_another(journal: Journal, people: People) -> None:
    opened = begin(journal, "x", people.member)
    entries = (Entry("receivable:owner", 5), Entry("revenue:tiny", -5))
    record = GenerationClosed(id=opened.id, stop="end", price_nano=5, entries=entries)
    journal.append(CLOSED, record)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (_unbalanced, "entries"),
        (_over_the_hold, "hold"),
        (_not_begun, "settlement"),
        (_ended_twice, "settlement"),
        (_refunded_too_much, "refund"),
        (_refunded_for_nothing, "refund"),
        (_charged_to_another, "entries"),
    ],
)
@pytest.mark.parametrize("projected", [False, True])
async def test_unsound_records_are_found_in_an_unbroken_chain(
    sqlite_database: Database,
    tmp_path: Path,
    wrong: Callable[[Journal, People], None],
    check: str,
    projected: bool,  # noqa: FBT001 - a parameter of the test
):
    people = sqlite_database.write_now(move_in)
    with open_journal(tmp_path / "journal") as journal:
        call(journal, "g1", people.member)
        wrong(journal, people)
        if projected:
            await Projector(sqlite_database, journal).catch_up()
        found = verdict_of(sqlite_database, tmp_path / "journal")
    assert check in {one.check for one in found.problems}


async def test_overshot_budgets_and_grants_are_found(database: Database, filled: Path):
    made = Budget(
        id="b1",
        organisation_id="acme",
        node_kind="account",
        node_id="member",
        period="day",
        limit_nano=10_000,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=AT_NS - 1,
    )
    database.write_now(lambda c: budgets.add(c, MEMBER, made))
    assert verdict_of(database, filled).problems == []
    grant = "INSERT INTO budget_grant VALUES ('b1', {0}, 'control', 10001)"
    database.write_now(lambda c: c.exec_driver_sql(grant.format(AT_NS)))
    assert [one.check for one in verdict_of(database, filled).problems] == ["budget"]
    database.write_now(lambda c: c.exec_driver_sql("DELETE FROM budget_grant"))
    database.write_now(lambda c: c.exec_driver_sql("UPDATE budget SET limit_nano = 3000"))
    (problem,) = verdict_of(database, filled).problems
    assert "3506 nano-dollars were charged of 3000" in problem.text
    # Who lowers a limit does not change what was right before.
    lowered = Audited(
        id="a2",
        organisation_id="acme",
        actor_id="owner",
        action="budget.changed",
        object_id="b1",
        time_ns=AT_NS + DAY_NS,
    )
    with open_journal(filled) as control:
        control.append(AUDITED, lowered)
        assert verdict_of(database, filled).problems == []
        await Projector(database, control).catch_up()
    assert verdict_of(database, filled).problems == []


async def test_what_was_given_back_may_be_granted_again(database: Database, filled: Path):
    day_ns = AT_NS + DAY_NS
    with open_journal(filled) as control, open_journal(filled, "w1") as worker:
        opened = begin(worker, "spent", MEMBER, started_ns=day_ns)
        end(worker, opened, price_nano=5_000)
        refund(control, opened, 4_000, "r4")
        await Projector(database, control).catch_up()
    made = Budget(
        id="b1",
        organisation_id="acme",
        node_kind="account",
        node_id="member",
        period="day",
        limit_nano=5_000,
        hard=True,
        warn_percent=(),
        webhook_url=None,
        created_ns=AT_NS,
    )

    def grant(connection: Connection, worker: str, nano: int) -> None:
        values = f"('b1', {day_ns}, '{worker}', {nano})"
        connection.exec_driver_sql(f"INSERT INTO budget_grant VALUES {values}")

    database.write_now(lambda c: budgets.add(c, MEMBER, made))
    database.write_now(lambda c: grant(c, "w1", 5_000))
    database.write_now(lambda c: grant(c, "w2", 4_000))
    assert verdict_of(database, filled).problems == []
    database.write_now(lambda c: grant(c, "w3", 1))
    (problem,) = verdict_of(database, filled).problems
    assert "5001 nano-dollars are granted of 5000" in problem.text


async def test_the_command_tells_and_its_exit_code_says(
    sqlite_database: Database, small: Path, capsys: pytest.CaptureFixture[str]
):
    data = str(small.parent)
    assert main(["verify", "--data", data]) == 0
    assert "The books are right." in capsys.readouterr().out
    sqlite_database.write_now(
        lambda c: c.exec_driver_sql("UPDATE balance SET amount_nano = 1 WHERE name = 'cogs:tiny'")
    )
    assert main(["verify", "--json", "--data", data]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {one["check"] for one in told["problems"]} == {"balance"}
    assert main(["verify", "--data", data]) == 1
    assert "The books are wrong" in capsys.readouterr().out
