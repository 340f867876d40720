"""Schema upgrades: forward only, one at a time, after a backup. Imports alembic.

The whole upgrade, its check included, is one transaction that locks out other writers
(BEGIN IMMEDIATE on SQLite, an advisory lock on PostgreSQL). So of several processes that
upgrade at once one does it and the others find it done, and a crash leaves the old schema.
"""

import logging
import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from headrace.core.clock import Clock
from headrace.store import schema
from headrace.store.version import current_version

BACKUPS_MAX = 5
_WAL_TRIES_MAX = 100
_WAL_PAUSE_S = 0.05
_ADVISORY_LOCK = 0x68656164  # "head"

_log = logging.getLogger(__name__)


def upgrade(engine: Engine, clock: Clock) -> None:
    """Bring the database of `engine` to `schema.VERSION`."""
    if engine.dialect.name == "sqlite":
        _enter_wal(engine)
    else:
        # A stricter level would look at the database as it was before the lock was ours.
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    with engine.begin() as connection:
        _upgrade(connection, clock)


def _upgrade(connection: Connection, clock: Clock) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    version = current_version(connection)
    if version == schema.VERSION:
        return
    if connection.dialect.name == "sqlite" and inspect(connection).get_table_names():
        path = Path(str(connection.engine.url.database))
        kept = back_up(path, version or "none", clock)
        _log.info("backed up the database before its upgrade: %s", kept)
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _enter_wal(engine: Engine) -> None:
    """Make the file a WAL one, which it then stays.

    SQLite does not wait for its busy timeout here, hence the loop.
    """
    for tries_left in reversed(range(_WAL_TRIES_MAX)):
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not tries_left:
                raise OperationalError(None, None, error) from error
            time.sleep(_WAL_PAUSE_S)
        else:
            return
        finally:
            connection.close()


def back_up(path: Path, version: str, clock: Clock) -> Path:
    """Copy the SQLite file into `backups/` beside it, whole or not at all; keep the newest few.

    Safe while others use the database: SQLite's online backup copies one snapshot.
    """
    folder = path.parent / "backups"
    folder.mkdir(exist_ok=True, mode=0o700)
    stamp = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = folder / f"{path.stem}-{stamp}-schema-{version}.db"
    partial = kept.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as target:
        source.backup(target)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(kept)
    _sync_folder(folder)
    for old in sorted(folder.glob(f"{path.stem}-*.db"))[:-BACKUPS_MAX]:
        old.unlink()
    return kept


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
