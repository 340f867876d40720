"""Numbers in a file that several processes share."""

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from headrace.core.errors import StoreError
from headrace.ledger.shared_page import SharedPage

_FORK = multiprocessing.get_context("fork")
_ROUNDS = 3_000


def _count(path: Path) -> None:
    page = SharedPage(path, 4, alone=False)
    for _ in range(_ROUNDS):
        with page as words:
            seen = words[1]
            words[0] += 1
            words[1] = seen + 1
    page.close()


def _hold_and_die(path: Path) -> None:
    page = SharedPage(path, 4, alone=False)
    page.__enter__()
    page.words[2] = 7
    os.kill(os.getpid(), signal.SIGKILL)


def _run(work: object, path: Path, count: int = 1) -> None:
    children = [_FORK.Process(target=work, args=(path,)) for _ in range(count)]  # pyright: ignore[reportArgumentType] - a function of a path
    for child in children:
        child.start()
    for child in children:
        child.join()


def test_processes_count_together(tmp_path: Path):
    path = tmp_path / "page"
    _run(_count, path, 3)
    page = SharedPage(path, 4, alone=False)
    assert page.words.tolist() == [3 * _ROUNDS, 3 * _ROUNDS, 0, 0]
    page.close()


def test_whoever_is_killed_lets_go_and_leaves_what_he_wrote(tmp_path: Path):
    path = tmp_path / "page"
    _run(_hold_and_die, path)
    page = SharedPage(path, 4, alone=False)
    with page as words:
        assert words[2] == 7
    page.close()


def test_a_page_grows_and_keeps_what_it_holds(tmp_path: Path):
    path = tmp_path / "page"
    page = SharedPage(path, 2, alone=True)
    page.words[1] = -5
    page.close()
    assert path.stat().st_mode & 0o777 == 0o600
    longer = SharedPage(path, 20_000, alone=True)
    assert longer.words[1] == -5
    assert longer.words[19_999] == 0
    longer.close()
    shorter = SharedPage(path, 2, alone=True)
    assert len(shorter.words) == 2
    shorter.close()


def test_a_full_disk_is_told_at_the_start(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError, match="cannot be opened"):
            SharedPage(tmp_path / "page", 10_000, alone=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    with pytest.raises(StoreError, match="cannot be opened"):
        SharedPage(tmp_path / "missing" / "page", 1, alone=True)
