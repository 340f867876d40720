"""Writes the golden files of this version: a small database as SQL, a small journal.

usage: python tests/store/golden.py        (with tests/ on PYTHONPATH; once per release)

Every later version must open them, so they are never changed afterwards.
"""

import sqlite3
import tempfile
from contextlib import closing as closing_file
from pathlib import Path

from sqlalchemy import Connection, insert

from headrace.core.clock import ManualClock
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.core.version import __version__
from headrace.ledger.journal import Journal
from headrace.store import accounts, generations, keys, releases, schema, sessions
from headrace.store.database import Database
from headrace.store.generations import Ending, Generation
from support.journals import Note, closed, opened

OWNER, CHAT = Scope("home", "owner"), Scope("home", "chat")
DIGEST = "sha256:" + "ab" * 32


def fill(connection: Connection) -> None:
    """One row or more in every table."""
    accounts.add_organisation(connection, "home", name="Home", created_ns=1)
    accounts.add_person(connection, OWNER, role="owner", name="Ada \x00 Ünïcode", created_ns=2)
    accounts.add_service(connection, CHAT, role="member", name="chat", created_ns=3)
    keys.add(
        connection,
        OWNER,
        "key-1",
        name="laptop",
        secret_hash="00ff",
        last4="wxyz",
        purpose="api",
        created_ns=4,
        expires_ns=None,
    )
    sessions.add(connection, OWNER, "session-hash", created_ns=5, expires_ns=2**62)
    sessions.add_link(connection, OWNER, "link-hash", maker_id=OWNER.account_id, expires_ns=2**62)
    releases.adopt_release(
        connection,
        OWNER,
        "release-1",
        model_id="tiny",
        digest=DIGEST,
        card_json='{"model_id":"tiny"}',
        created_ns=6,
    )
    _fill_generations(connection)
    _fill_conversation(connection)


def _fill_generations(connection: Connection) -> None:
    begun = [
        Generation(
            id=f"generation-{number}",
            organisation_id="home",
            account_id="owner",
            worker="control",
            key_id="key-1",
            purpose="api",
            model_id="tiny",
            release_digest=DIGEST,
            engine="scripted",
            dialect="openai",
            started_ns=7,
        )
        for number in (1, 2)
    ]
    ended = Ending(
        id="generation-1",
        stop="end",
        usage=Usage(12, 4, 30, 5),
        cost_nano=1_500,
        first_token_ms=40,
        duration_ms=540,
        error_kind=None,
    )
    generations.project(connection, begun, [ended])
    generations.move(connection, "generation:control", None, "{}")


def _fill_conversation(connection: Connection) -> None:
    owner = {"organisation_id": "home", "account_id": "owner"}
    conversation = {"id": "conversation-1", "title": "A chat", "model_id": "tiny"}
    conversation |= {"head_id": "message-2"}
    times = {"created_ns": 8, "updated_ns": 9}
    connection.execute(insert(schema.conversation).values(**owner, **conversation, **times))
    message = {"conversation_id": "conversation-1", "created_ns": 10, "model_id": "tiny"}
    for row in (
        {"id": "message-1", "parent_id": None, "role": "user", "status": "done", "seq": 0},
        {
            "id": "message-2",
            "parent_id": "message-1",
            "role": "assistant",
            "status": "running",
            "seq": 1,
        },
    ):
        parts = r'[{"type":"text","text":"Hello \u0000"}]'
        connection.execute(insert(schema.message).values(**owner, **message, **row, parts=parts))
    event = {"message_id": "message-2", "seq": 1, "payload": '{"v":1}'}
    connection.execute(insert(schema.reply_event).values(**owner, **event))


def write_journal(directory: Path) -> None:
    """Calls that ended, that failed, that run on, and a kind of tomorrow."""
    clock = ManualClock(1_700_000_000_000_000_000)
    journal = Journal.open(directory, "control", clock)
    for number in range(3):
        journal.append("generation.opened", opened(f"generation-{number}", OWNER))
        clock.move(1_000_000)
    journal.append("generation.closed", closed("generation-0"))
    journal.append("generation.closed", closed("generation-1", stop="failed"))
    journal.append("kind.of.tomorrow", Note(1, "NUL \x00, newline \n, ünïcode"))
    journal.close()
    (directory / "control.lock").unlink()


def main() -> None:
    tests = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        database = Database.at(Path(folder), None)
        database.migrate(ManualClock())
        database.write_now(fill)
        database.close()
        with closing_file(sqlite3.connect(f"{folder}/headrace.db")) as connection:
            dump = "\n".join(connection.iterdump()) + "\n"
    (tests / f"store/golden/headrace-{__version__}.sql").write_text(dump, encoding="utf-8")
    write_journal(tests / f"ledger/golden/journal-{__version__}")


if __name__ == "__main__":
    main()
