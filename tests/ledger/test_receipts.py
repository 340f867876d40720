import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.scope import Scope
from headrace.ledger import receipts
from headrace.ledger.commands import main
from headrace.ledger.projection import Projector
from headrace.ledger.records import Entry, GenerationClosed, balanced
from headrace.store import generations
from headrace.store.database import Database
from headrace.store.generations import Generation, Which
from headrace.store.spend import DAY_NS
from support.journals import closed, open_journal, opened
from support.ledger import begin, end
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


async def test_rare_receipts_are_found_page_by_page(
    database: Database, people: People, tmp_path: Path
):
    """As if all were looked at: by anything, over months, and while some run."""
    with open_journal(tmp_path) as journal:
        for number in range(60):
            one = begin(
                journal,
                f"g{number:02}",
                people.member if number % 3 else people.owner,
                started_ns=20_000 * DAY_NS + number * 17 * DAY_NS // 10,
                model_id="rare" if number % 7 == 0 else "usual",
                team_id="mill" if number % 2 else None,
                conversation_id=f"talk {number % 5}",
            )
            if number % 14:
                end(journal, one)
        await Projector(database, journal).catch_up()
    every = database.read_now(lambda c: generations.recent(c, people.owner, limit=99))
    assert len(every) == 60
    for which in (
        Which(model_id="rare"),
        Which(model_id="rare", team_id=""),
        Which(model_id="rare", from_ns=20_005 * DAY_NS + 1, to_ns=20_070 * DAY_NS + 1),
        Which(key_id="key-owner", purpose="api"),
        Which(conversation_id="talk 3"),
        Which(conversation_id="talk 0", model_id="rare"),
        Which(model_id="none"),
        Which(conversation_id="none"),
    ):
        for scope in (people.owner, people.member, people.stranger):
            wanted = [one.id for one in every if _is(one, which) and _sees(scope, one)]
            assert _pages(database, scope, which) == wanted, (which, scope)
    assert _pages(database, people.owner, Which(model_id="rare"), before="nothing") == []


def _sees(scope: Scope, one: Generation) -> bool:
    if scope.organisation_id != one.organisation_id:
        return False
    return scope.account_id in {"owner", one.account_id}


def _is(one: Generation, which: Which) -> bool:
    same = {
        name: value
        for name, value in msgspec.structs.asdict(which).items()
        if value is not None and not name.endswith("_ns")
    }
    begun = (which.from_ns or 0) <= one.started_ns < (which.to_ns or 10**19)
    return begun and all(getattr(one, name) == (value or None) for name, value in same.items())


def _pages(database: Database, scope: Scope, which: Which, before: str | None = None) -> list[str]:
    found: list[str] = []
    while True:
        page = database.read_now(
            lambda c: generations.recent(c, scope, limit=2, before=before, which=which)  # noqa: B023 - run at once
        )
        found += [one.id for one in page]
        if len(page) < 2:
            return found
        before = page[-1].id


async def test_a_call_shows_its_entries(
    database: Database, people: People, find: Find, tmp_path: Path
):
    with open_journal(tmp_path, segment_bytes=4_000) as journal:
        at_ns = ManualClock().now_ns()
        calls = [
            begin(journal, f"g{number}", people.member, started_ns=at_ns) for number in range(40)
        ]
        for number, one in enumerate(calls[:-1]):
            end(journal, one, price_nano=number)
        await Projector(database, journal).catch_up()
        assert journal.last.segment > 2
        for number in (0, 20, 38):
            entries = receipts.entries(tmp_path, find(people.member, f"g{number}"))
            assert entries is not None
            assert entries[0] == Entry("receivable:member", number)
            assert balanced(entries)
        assert receipts.entries(tmp_path, find(people.member, "g39")) is None
        journal.append("generation.closed", GenerationClosed(id="g39", stop="interrupted"))
        assert receipts.entries(tmp_path, find(people.member, "g39")) == ()
