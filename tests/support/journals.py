"""Records to put into journals, and what journals hold."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from headrace.core.clock import ManualClock
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.ledger.journal import SEGMENT_BYTES, Journal
from headrace.ledger.reader import read
from headrace.ledger.records import GenerationClosed, GenerationOpened


class Note(msgspec.Struct, frozen=True):
    """A record of no kind the ledger knows."""

    number: int
    text: str = ""


@contextmanager
def open_journal(
    directory: Path, worker: str = "control", segment_bytes: int = SEGMENT_BYTES
) -> Generator[Journal]:
    """A journal, closed afterwards."""
    journal = Journal.open(directory, worker, ManualClock(), segment_bytes=segment_bytes)
    try:
        yield journal
    finally:
        journal.close()


def numbers(directory: Path, worker: str = "control") -> list[int]:
    """The notes a journal holds, in order."""
    return [msgspec.json.decode(one.data, type=Note).number for one in read(directory, worker)]


def opened(identifier: str, scope: Scope, started_ns: int = 1) -> GenerationOpened:
    """A call that begins."""
    return GenerationOpened(
        id=identifier,
        organisation_id=scope.organisation_id,
        account_id=scope.account_id,
        key_id="key-1",
        purpose="api",
        model_id="tiny",
        release_digest="sha256:" + "0" * 64,
        engine="scripted",
        dialect="openai",
        started_ns=started_ns,
    )


def closed(identifier: str, stop: str = "end") -> GenerationClosed:
    """A call that has ended."""
    return GenerationClosed(
        id=identifier,
        stop=stop,
        usage=Usage(input=12, cached=4, output=30, reasoning=5),
        cost_nano=1_500,
        first_token_ms=40,
        duration_ms=540,
    )
