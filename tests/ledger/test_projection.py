import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from headrace.core.errors import StoreError
from headrace.core.models import Usage
from headrace.ledger.meter import Meter
from headrace.ledger.projection import Projector
from headrace.store import generations
from headrace.store.database import Database
from headrace.store.generations import Generation
from support.journals import Note, closed, open_journal, opened
from support.people import People, move_in


@pytest.fixture
def people(database: Database) -> People:
    return database.write_now(move_in)


def _rows(database: Database, people: People) -> dict[str, Generation]:
    found = database.read_now(lambda c: generations.recent(c, people.owner, limit=10_000))
    return {row.id: row for row in found}


async def test_a_call_becomes_a_row(database: Database, people: People, tmp_path: Path):
    with open_journal(tmp_path) as journal:
        meter, projector = Meter(journal), Projector(database, journal)
        meter.open(opened("g1", people.member, started_ns=77))
        await projector.catch_up()
        row = _rows(database, people)["g1"]
        assert (row.stop, row.usage, row.started_ns) == (None, None, 77)
        await meter.close(closed("g1"))
        await meter.close(closed("g1", stop="cancelled"), durable=False)  # the first one counts
        await projector.catch_up()
    assert _rows(database, people)["g1"] == Generation(
        id="g1",
        organisation_id="acme",
        account_id="member",
        worker="control",
        key_id="key-1",
        purpose="api",
        model_id="tiny",
        release_digest="sha256:" + "0" * 64,
        engine="scripted",
        dialect="openai",
        started_ns=77,
        usage=Usage(input=12, cached=4, output=30, reasoning=5),
        cost_nano=1_500,
        first_token_ms=40,
        duration_ms=540,
        stop="end",
    )


async def test_the_database_can_be_made_anew_from_the_journal(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path, segment_bytes=4_000) as journal:
        for number in range(1_200):
            journal.append("generation.opened", opened(f"g{number:04d}", people.member))
            journal.append("generation.closed", closed(f"g{number:04d}"))
        await Projector(database, journal).catch_up()
        first = _rows(database, people)
        assert len(first) == 1_200

        def forget(connection: Connection) -> None:
            connection.exec_driver_sql("DELETE FROM generation")
            connection.exec_driver_sql("DELETE FROM projection")

        database.write_now(forget)
        await Projector(database, journal).catch_up()
        assert _rows(database, people) == first


async def test_two_projectors_at_once_write_each_record_once(
    database: Database, people: People, tmp_path: Path
):
    other = Database(database.url)
    with open_journal(tmp_path) as journal:
        projectors = [Projector(database, journal), Projector(other, journal)]
        for step in range(10):
            for number in range(20):
                journal.append("generation.opened", opened(f"g{step}-{number}", people.member))
                journal.append("generation.closed", closed(f"g{step}-{number}"))
            await asyncio.gather(*(projector.catch_up() for projector in projectors))
    other.close()
    rows = _rows(database, people)
    assert len(rows) == 200
    assert all(row.stop == "end" for row in rows.values())


async def test_records_of_other_kinds_and_versions_are_passed_over(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        journal.append("money.of.tomorrow", Note(1))
        journal.append("generation.opened", opened("g1", people.member))
        projector = Projector(database, journal)
        await projector.catch_up()
        assert set(_rows(database, people)) == {"g1"}
        journal.append("generation.closed", Note(2))
        with pytest.raises(StoreError, match=r"record 3 is not a generation\.closed"):
            await projector.catch_up()


async def test_what_a_dead_process_left_open_is_closed_as_interrupted(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal, open_journal(tmp_path, "w1") as living:
        living.append("generation.opened", opened("elsewhere", people.member))
        journal.append("generation.opened", opened("whole", people.member))
        journal.append("generation.opened", opened("cut", people.member))
        journal.append("generation.closed", closed("whole"))
        living.sync_soon()
    with open_journal(tmp_path) as journal:
        assert await Projector(database, journal).close_open() == 1
        assert await Projector(database, journal).close_open() == 0
    rows = _rows(database, people)
    assert {name: row.stop for name, row in rows.items()} == {
        "whole": "end",
        "cut": "interrupted",
        "elsewhere": None,
    }
    assert rows["cut"].usage is None
    assert rows["cut"].duration_ms is None


@asynccontextmanager
async def _running(projector: Projector) -> AsyncGenerator[None]:
    task = asyncio.create_task(projector.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _until_rows(database: Database, people: People, count: int) -> None:
    for _ in range(500):
        if len(_rows(database, people)) >= count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"there are not {count} rows after 5 s")


async def test_a_running_projector_follows_its_own_and_other_journals(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal, open_journal(tmp_path, "w1") as other:
        async with _running(Projector(database, journal)):
            await asyncio.sleep(0.05)
            journal.append("generation.opened", opened("mine", people.member))
            await _until_rows(database, people, 1)
            other.append("generation.opened", opened("theirs", people.member))
            await _until_rows(database, people, 2)


async def test_a_projector_outlives_a_file_it_cannot_read(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        journal.append("generation.opened", opened("g1", people.member))
        unreadable = tmp_path / "w1-000001.jsonl"
        unreadable.mkdir()
        async with _running(Projector(database, journal)):
            await _until_rows(database, people, 1)
            await asyncio.sleep(0.1)
            unreadable.rmdir()
            journal.append("generation.opened", opened("g2", people.member))
            await _until_rows(database, people, 2)


async def test_an_emptied_journal_folder_is_noticed(
    database: Database, people: People, tmp_path: Path
):
    with open_journal(tmp_path) as journal:
        journal.append("generation.opened", opened("g1", people.member))
        await Projector(database, journal).catch_up()
    (tmp_path / "control-000001.jsonl").unlink()
    with open_journal(tmp_path) as journal:
        with pytest.raises(StoreError, match="ends before record 1"):
            await Projector(database, journal).catch_up()
        with pytest.raises(StoreError, match="ends before record 1"):
            await Projector(database, journal).close_open()
