import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.scope import Scope
from headrace.ledger import receipts
from headrace.ledger.commands import main
from headrace.ledger.projection import Projector
from headrace.store.database import Database
from headrace.store.generations import Generation
from support.journals import closed, open_journal, opened
from support.people import People, move_in


@pytest.fixture
def people(database: Database) -> People:
    return database.write_now(move_in)


Find = Callable[[Scope, str], Generation]


@pytest.fixture
def find(database: Database, tmp_path: Path) -> Find:
    def work(scope: Scope, identifier: str) -> Generation:
        return database.read_now(
            lambda connection: receipts.find(connection, tmp_path, scope, identifier)
        )

    return work


async def test_a_receipt_is_there_at_once_and_stays_the_same(
    database: Database, people: People, find: Find, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        journal.append("generation.opened", opened("g1", people.member))
        assert find(people.member, "g1").stop is None
        await Projector(database, journal).catch_up()
        assert find(people.member, "g1").stop is None
        journal.append("generation.closed", closed("g1"))
        from_journal = find(people.member, "g1")
        assert from_journal.stop == "end"
        await Projector(database, journal).catch_up()
        assert find(people.member, "g1") == from_journal


async def test_receipts_of_others_are_not_found_in_rows_nor_journal(
    database: Database, people: People, find: Find, tmp_path: Path
):
    def recent(scope: Scope) -> list[str]:
        found = database.read_now(
            lambda connection: receipts.recent(connection, tmp_path, scope, limit=10)
        )
        return [one.id for one in found]

    everyone = (people.owner, people.member, people.colleague, people.stranger)
    with open_journal(tmp_path) as journal:
        for scope in everyone:
            journal.append("generation.opened", opened(f"a-{scope.account_id}", scope))
        await Projector(database, journal).catch_up()
        for scope in everyone:
            journal.append("generation.opened", opened(f"b-{scope.account_id}", scope))
    assert recent(people.stranger) == ["b-stranger", "a-stranger"]
    assert recent(people.member) == ["b-member", "a-member"]
    assert recent(people.owner) == recent(people.admin)
    assert recent(people.owner)[:3] == ["b-owner", "b-member", "b-colleague"]
    assert len(recent(people.owner)) == 6
    assert recent(Scope("elsewhere", "member")) == []
    for scope, hidden in (
        (people.stranger, "member"),
        (people.member, "owner"),
        (people.colleague, "member"),
        (people.owner, "stranger"),
        (Scope("elsewhere", "member"), "member"),
    ):
        for letter in "ab":
            with pytest.raises(NotFound):
                find(scope, f"{letter}-{hidden}")


async def _fill(database: Database, data: Path) -> None:
    people = database.write_now(move_in)
    with open_journal(data / "journal") as journal:
        for number in range(3):
            journal.append("generation.opened", opened(f"call-{number}", people.member))
        journal.append("generation.closed", closed("call-0"))
        failed = closed("call-1", stop="failed")
        journal.append("generation.closed", failed)
        await Projector(database, journal).catch_up()


async def test_the_command_shows_a_table_and_a_page(
    sqlite_database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(sqlite_database, tmp_path)
    data = ("--data", str(tmp_path))
    assert main([*data]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == (
        "id time (UTC) purpose model in cached out first total charged end"
    )
    assert [line.split()[0] for line in lines] == ["call-2", "call-1", "call-0"]
    assert lines[0].endswith("running")
    assert lines[2].split()[-2:] == ["$0.00", "end"]
    assert main(["--limit", "1", *data]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["call-0", *data]) == 0
    page = capsys.readouterr().out
    assert "12 (4 from the cache)" in page
    assert "58.0 tokens/s" in page
    assert "cost         $0.0000015" in page
    assert main(["call-2", *data]) == 0
    assert "unknown" in capsys.readouterr().out


async def test_the_command_speaks_json(
    sqlite_database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    await _fill(sqlite_database, tmp_path)
    assert main(["--json", "--data", str(tmp_path)]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["receipts"]] == [
        "call-2",
        "call-1",
        "call-0",
    ]
    assert main(["call-0", "--json", "--data", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["output"] == 30


def test_the_command_without_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = tmp_path / "nothing"
    assert main(["--data", str(data)]) == 0
    assert "no receipts yet" in capsys.readouterr().out
    assert not data.exists()
    with pytest.raises(NotFound):
        main(["some-id", "--data", str(data)])
    with pytest.raises(InvalidRequest):
        main(["--limit", "0", "--data", str(data)])
