"""Fixtures: the same tests on SQLite and on PostgreSQL.

`database` is a migrated, empty database, once of each kind; `database_url` is one that
nothing has touched. The PostgreSQL server is started once per session, as an unprivileged
user, on a socket in a temporary folder.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headrace.core.clock import ManualClock
from headrace.store.database import Database

_PORT = 54321  # part of the socket's file name only


class Postgres:
    """A throw-away server; `create` makes databases in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def create(self, template: str = "template0", name: str | None = None) -> str:
        """Make a database as a copy of `template`; returns its URL for SQLAlchemy."""
        self._count += 1
        name = name or f"test_{self._count}"
        address = f"host={self._folder} port={_PORT} user=headrace dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return f"postgresql+psycopg://headrace@/{name}?host={self._folder}&port={_PORT}"


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


def _as_unprivileged(folder: Path) -> list[str]:
    """The words before a command that make it run as nobody when we are root."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return [
        "setpriv",
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--",
    ]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of this test session, with a migrated database as template."""
    binaries = _binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not pytest's folder: another user must be able to enter it, and socket paths are short.
    with tempfile.TemporaryDirectory(prefix="headrace-pg-", dir="/tmp") as name:
        folder = Path(name)
        user = _as_unprivileged(folder)
        data = folder / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "headrace", "-A", "trust", "-N"]
        subprocess.run(
            [*user, *initdb, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd="/"
        )
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={folder} -p {_PORT}"
            " -c fsync=off -c full_page_writes=off -c synchronous_commit=off"
            " -c shared_buffers=16MB -c max_connections=60"
        )
        control = [*user, binaries / "pg_ctl", "-D", data, "-w", "-s"]
        subprocess.run(
            [*control, "-o", options, "-l", folder / "log", "start"], check=True, cwd="/"
        )
        try:
            yield _with_template(Postgres(folder))
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd="/")


def _with_template(server: Postgres) -> Postgres:
    database = Database(server.create(name="migrated"))
    database.migrate(ManualClock())
    database.close()
    return server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy, which is far quicker than migrating anew."""
    folder = tmp_path_factory.mktemp("template")
    database = Database.at(folder, None)
    database.migrate(ManualClock())
    database.close()
    return folder / "headrace.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nothing has touched yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/headrace.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create()


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A migrated SQLite database at `tmp_path / "headrace.db"`."""
    shutil.copy(sqlite_template, tmp_path / "headrace.db")
    database = Database.at(tmp_path, None)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, empty database, once of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    server: Postgres = request.getfixturevalue("postgres")
    database = Database(server.create("migrated"))
    yield database
    database.close()
