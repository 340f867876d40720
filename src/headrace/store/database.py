"""Database: one writer thread, a few reader threads, the same code on SQLite and PostgreSQL.

Work is a plain function of a connection; it runs in one transaction and may run again when
PostgreSQL reports a conflict, so it must have no effects but those on its connection.
"""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
)

from headrace.core.clock import Clock
from headrace.core.errors import ConfigError, StoreError
from headrace.store import schema
from headrace.store.version import current_version

T = TypeVar("T")

_log = logging.getLogger(__name__)

_log = logging.getLogger(__name__)

_READERS = 4
_BUSY_TIMEOUT_MS = 10_000
_CONFLICT_TRIES_MAX = 20
_CONFLICTS = {"40001", "40P01"}  # serialization failure, deadlock


class Refused(msgspec.Struct, frozen=True):
    """Why the child process did not upgrade a database."""

    message: str
    hint: str | None


class Database:
    """A database at an SQLAlchemy URL: `sqlite:///PATH` or `postgresql://…`.

    On SQLite: WAL, synchronous=FULL, writes begin with BEGIN IMMEDIATE. On PostgreSQL: writes
    are SERIALIZABLE and tried again on conflict, reads see one snapshot. So work written for
    one behaves alike on the other.

    Raises:
        ConfigError: The URL names no database we speak, or its driver is not installed.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = _checked(url)
        self._writer_engine = _open(self.url, readers=0)
        self._reader_engine = _open(self.url, readers=_READERS)
        self._writer = ThreadPoolExecutor(1, "store-write")
        self._readers = ThreadPoolExecutor(_READERS, "store-read")
        self._closed = False

    @classmethod
    def at(cls, data: Path, url: str | None) -> "Database":
        """The database at `url`, or the SQLite file of the data folder, which is created."""
        if url is not None:
            return cls(url)
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = data / "headrace.db"
        path.touch(mode=0o600)
        return cls(URL.create("sqlite", database=str(path)))

    @property
    def name(self) -> str:
        """How to name this database to people: its URL without the password."""
        return self.url.render_as_string(hide_password=True)

    def migrate(self, clock: Clock) -> None:
        """Bring the schema to `schema.VERSION`, after a backup where SQLite holds data.

        Costs one query when nothing is due. Several processes may call it at once.

        Raises:
            StoreError: The schema is newer than this Headrace, or the database refuses.
        """
        version = self.read_now(current_version)
        if version == schema.VERSION:
            return
        from headrace.store import upgrade  # noqa: PLC0415 - alembic only when an upgrade is due

        self._submit(
            self._writer, lambda: _run(lambda: upgrade.upgrade(self._writer_engine, clock))
        )

    def upgrade_apart(self) -> None:
        """What `migrate` does, where it is due, in a child process that ends with it.

        Raises:
            StoreError: As `migrate`.
        """
        if self.read_now(current_version) == schema.VERSION:
            return
        child = subprocess.run(
            [sys.executable, "-m", "headrace.store.upgrade_child"],
            input=self.url.render_as_string(hide_password=False),
            capture_output=True,
            text=True,
            check=False,
        )
        for line in child.stderr.splitlines():
            _log.info("%s", line)
        if child.returncode:
            try:
                refused = msgspec.json.decode(child.stdout, type=Refused)
            except msgspec.MsgspecError:
                refused = Refused("the upgrade of the database broke off; the log says more", None)
            raise StoreError(refused.message, hint=refused.hint)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one write transaction, on the writer thread; returns when committed.

        Raises:
            StoreError: The database cannot be reached or written.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, _transact, self._writer_engine, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, on a reader thread.

        Raises:
            StoreError: The database cannot be reached or read.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, _transact, self._reader_engine, work)

    async def scrub(self) -> None:
        """Wipe what was deleted from SQLite's files, which would hold it in their log for a while.

        PostgreSQL does so in its own time.

        Raises:
            StoreError: The database cannot be written.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, _scrub, self._writer_engine)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers without an event loop; blocks until committed."""
        return self._submit(self._writer, lambda: _transact(self._writer_engine, work))

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers without an event loop; blocks."""
        return self._submit(self._readers, lambda: _transact(self._reader_engine, work))

    def close(self) -> None:
        """Wait for running work and close; SQLite leaves no `-wal` file behind."""
        self._closed = True
        self._readers.shutdown()
        self._writer.shutdown()
        self._reader_engine.dispose()
        self._writer_engine.dispose()

    def _submit(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        self._check_open()
        return pool.submit(call).result()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the database is closed")


def _checked(url: str | URL) -> URL:
    """Parse a URL; PostgreSQL always means psycopg 3."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "database_url is not a URL",
            hint="Write sqlite:////path/to/file.db or postgresql://user@host/name.",
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise ConfigError(
            f"no such kind of database: {parsed.drivername}",
            hint="Use sqlite:////path/to/file.db or postgresql://user@host/name.",
        )
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("database_url names no file; Headrace keeps its data on disk")
    return parsed


def _open(url: URL, *, readers: int) -> Engine:
    """An engine for the writer, or for that many readers."""
    try:
        if url.drivername == "sqlite":
            return _open_sqlite(url, readers=readers)
        return create_engine(
            url,
            pool_size=readers or 1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            isolation_level="REPEATABLE READ" if readers else "SERIALIZABLE",
            execution_options={"postgresql_readonly": True} if readers else {},
        )
    except (ImportError, NoSuchModuleError):
        raise ConfigError(
            "the PostgreSQL driver is not installed", hint="pip install 'headrace[scale]'"
        ) from None


def _open_sqlite(url: URL, *, readers: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=readers or 1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000},
    )

    def on_connect(connection: sqlite3.Connection, record: object) -> None:
        del record
        # We begin transactions ourselves: the driver would begin them late and deferred.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        # Some builds of SQLite leave deleted rows in free space by default.
        connection.execute("PRAGMA secure_delete = ON")
        if readers:
            connection.execute("PRAGMA query_only = ON")

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


class _Conflict(StoreError):
    """Two transactions got in each other's way; none of this one's effects happened."""


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """One transaction, tried again while PostgreSQL reports conflicts."""

    def once() -> T:
        with engine.begin() as connection:
            return work(connection)

    for _ in range(_CONFLICT_TRIES_MAX - 1):
        try:
            return _run(once)
        except _Conflict:
            continue
    return _run(once)


def _scrub(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    # Not in a transaction, which our own connections begin by themselves.
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        raise StoreError(f"the database failed: {error}") from error
    finally:
        connection.close()
    if busy:
        _log.warning("a long read keeps SQLite's log; what was deleted leaves it a little later")


def _run(call: Callable[[], T]) -> T:
    """Run `call`; a failing database becomes a StoreError, our own mistakes do not."""
    try:
        return call()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _CONFLICTS:
            raise _Conflict("the database has too many conflicting writes") from error
        if isinstance(error, IntegrityError | ProgrammingError | DataError):
            raise
        raise StoreError(
            f"the database failed: {error.orig}",
            hint="See whether its disk is full, and whether the database runs and is yours.",
        ) from error
