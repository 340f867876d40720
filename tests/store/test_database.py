import asyncio
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from headrace.core.clock import ManualClock
from headrace.core.errors import ConfigError, StoreError
from headrace.store import schema, schema_ledger, upgrade
from headrace.store.database import Database
from headrace.store.version import current_version

_MIGRATE = """
import sys
from headrace.core.clock import SystemClock
from headrace.store.database import Database

database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
database.migrate(SystemClock())
database.close()
"""


def _add(name: str):
    def work(connection: Connection) -> None:
        row = {"id": name, "name": name, "created_ns": 1}
        connection.execute(insert(schema.organisation).values(row))

    return work


def _names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(schema.organisation.c.name).order_by("name")))


def test_the_migrated_schema_is_the_declared_one(database_url: str):
    database = Database(database_url)
    database.migrate(ManualClock())

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), schema.metadata)

    assert database.read_now(current_version) == schema.VERSION
    assert schema_ledger.metadata is schema.metadata
    assert database.read_now(differences) == []
    database.close()


def test_the_newest_migration_is_the_version_of_the_code():
    folder = Path(upgrade.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [schema.VERSION]


def test_migrating_twice_changes_nothing(database: Database, tmp_path: Path):
    database.write_now(_add("acme"))
    database.migrate(ManualClock())
    assert database.read_now(_names) == ["acme"]
    assert not (tmp_path / "backups").exists()


def test_processes_that_migrate_at_once_are_safe(database_url: str):
    program = [sys.executable, "-c", _MIGRATE, database_url]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(program, stdin=pipe, stdout=pipe))
            for _ in range(2)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        assert [child.wait(60) for child in children] == [0, 0]
    database = Database(database_url)
    database.migrate(ManualClock())
    database.write_now(_add("acme"))
    database.close()


def test_a_newer_schema_is_refused_with_advice(database: Database):
    def newer(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))

    database.write_now(newer)
    with pytest.raises(StoreError, match="schema 0999") as caught:
        database.migrate(ManualClock())
    assert caught.value.hint is not None
    assert "backups" in caught.value.hint


def test_an_existing_file_is_backed_up_before_its_upgrade(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "headrace.db")) as connection, connection:
        connection.execute("CREATE TABLE older (word TEXT)")
        connection.execute("INSERT INTO older VALUES ('kept')")
    database = Database.at(tmp_path, None)
    database.migrate(ManualClock())
    database.close()
    (backup,) = (tmp_path / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT word FROM older").fetchall() == [("kept",)]
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert tables == [("older",)]


def test_only_the_newest_backups_are_kept(sqlite_database: Database, tmp_path: Path):
    clock = ManualClock()
    sqlite_database.write_now(_add("acme"))
    made: list[Path] = []
    for _ in range(upgrade.BACKUPS_MAX + 2):
        clock.move(1_000_000_000)
        made.append(upgrade.back_up(tmp_path / "headrace.db", "0001", clock))
    kept = sorted((tmp_path / "backups").iterdir())
    assert kept == made[-upgrade.BACKUPS_MAX :]


async def test_a_failing_transaction_leaves_nothing(database: Database):
    def fail(connection: Connection) -> None:
        _add("half")(connection)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(fail)
    assert await database.read(_names) == []


async def test_concurrent_increments_are_all_counted(database: Database):
    def increment(connection: Connection) -> None:
        found = connection.scalar(select(func.count()).select_from(schema.organisation)) or 0
        _add(f"{found:03d}")(connection)

    other = Database(database.url)
    writers = [database, other] * 10
    await asyncio.gather(*(writer.write(increment) for writer in writers))
    other.close()
    assert await database.read(_names) == [f"{number:03d}" for number in range(20)]


async def test_readers_cannot_write(database: Database):
    with pytest.raises((StoreError, IntegrityError)):
        await database.read(_add("acme"))
    assert await database.read(_names) == []


async def test_an_account_of_another_organisation_is_refused(database: Database):
    def work(connection: Connection) -> None:
        _add("here")(connection)
        _add("there")(connection)
        connection.execute(
            insert(schema.account).values(
                id="a", organisation_id="here", kind="person", role="owner", created_ns=1
            )
        )
        connection.execute(
            insert(schema.person).values(account_id="a", organisation_id="there", name="Ada")
        )

    with pytest.raises(IntegrityError) as caught:
        await database.write(work)
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a\x00b", "\x1a", "\x1a0", "\x1a\x00", "\x001", "\x1a\x1a0\x00\x1a1", "ünïcode 🌊"]
)
async def test_text_comes_back_whole(database: Database, name: str):
    await database.write(_add(name.replace("\x00", "id")))

    def rename(connection: Connection) -> None:
        connection.execute(schema.organisation.update().values(name=name))

    await database.write(rename)
    assert await database.read(_names) == [name]


def test_sqlite_runs_with_the_settings_that_keep_data(sqlite_database: Database):
    def settings(connection: Connection) -> list[object]:
        names = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert sqlite_database.write_now(settings) == ["wal", 2, 1, 10_000]


def test_a_clean_close_leaves_one_file(tmp_path: Path):
    database = Database.at(tmp_path / "data", None)
    database.migrate(ManualClock())
    database.write_now(_add("acme"))
    database.read_now(_names)
    database.close()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["headrace.db"]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreError, match="closed"):
        database.read_now(_names)


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path):
    (tmp_path / "headrace.db").write_bytes(b"not a database, but long enough to be read" * 100)
    database = Database.at(tmp_path, None)
    with pytest.raises(StoreError, match="not a database"):
        database.migrate(ManualClock())
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_urls_that_name_no_database_we_speak_are_refused(url: str):
    with pytest.raises(ConfigError):
        Database(url)


def test_the_name_hides_the_password():
    database = Database("postgres://me:hunter2@localhost/db")
    assert "hunter2" not in database.name
    assert database.url.drivername == "postgresql+psycopg"
    database.close()


async def test_a_full_disk_refuses_and_harms_nothing(sqlite_database: Database):
    def limit(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill(connection: Connection) -> None:
        for number in range(1_000):
            _add(f"{number}-{'x' * 500}")(connection)

    await sqlite_database.write(limit)
    with pytest.raises(StoreError, match="full"):
        await sqlite_database.write(fill)
    assert await sqlite_database.read(_names) == []


def test_an_upgrade_in_a_process_of_its_own(database_url: str):
    database = Database(database_url)
    database.upgrade_apart()
    assert database.read_now(current_version) == schema.VERSION
    database.upgrade_apart()  # nothing is due
    database.close()


def test_an_upgrade_that_is_refused_there_is_told_here(database: Database):
    database.write_now(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreError, match="9999"):
        database.upgrade_apart()
