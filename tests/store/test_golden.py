"""Databases of released versions open for ever; `golden.py` wrote them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from headrace.core.clock import ManualClock
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.store import accounts, generations, keys, releases, schema, sessions, version
from headrace.store.database import Database

_GOLDEN = Path(__file__).parent / "golden"
_OWNER = Scope("home", "owner")


@pytest.mark.parametrize("dump", sorted(_GOLDEN.glob("*.sql")), ids=str)
def test_a_released_database_opens(dump: Path, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "headrace.db")) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
        had = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    database = Database.at(tmp_path, None)
    database.migrate(ManualClock())

    def look(connection: Connection) -> None:
        assert version.current_version(connection) == schema.VERSION
        for table in (each for each in schema.metadata.sorted_tables if each.name in had):
            assert connection.scalar(select(func.count()).select_from(table)), table.name
        home = accounts.find_home(connection)
        assert home == accounts.Home("home", "owner", "chat")
        owner = accounts.get(connection, _OWNER)
        assert owner is not None
        assert owner.name == "Ada \x00 Ünïcode"
        assert [key.id for key in keys.visible(connection, _OWNER)] == ["key-1"]
        assert sessions.find(connection, "session-hash", now_ns=9) == sessions.Visitor(
            _OWNER, "owner"
        )
        release = releases.get_release(connection, _OWNER, "sha256:" + "ab" * 32)
        assert release is not None
        assert release.state == "adopted"
        receipt = generations.get(connection, _OWNER, "generation-1")
        assert receipt is not None
        assert (receipt.usage, receipt.cost_nano) == (Usage(12, 4, 30, 5), 1_500)

    database.read_now(look)
    database.close()
