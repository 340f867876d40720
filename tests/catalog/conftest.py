import hashlib
from collections.abc import Generator
from pathlib import Path

import pytest

from headrace.catalog.library import Library
from support.gguf import build
from support.origin import Origin, origin

# Three chunks and a bit, so that a download can be cut between and within them.
TINY = build(data_bytes=800_000)


@pytest.fixture
def tiny() -> bytes:
    """A whole model file."""
    return TINY


@pytest.fixture
def tiny_digest() -> str:
    return f"sha256:{hashlib.sha256(TINY).hexdigest()}"


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(TINY)
    return path


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "data")


@pytest.fixture
def server() -> Generator[Origin]:
    with origin() as started:
        yield started


@pytest.fixture
def cdn() -> Generator[Origin]:
    with origin() as started:
        yield started


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr("headrace.catalog.download._WAIT_S", 0.0)
