"""Snapshots: what is kept and what is left out, for how long, and over several sessions."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from headrace.code.snapshots import Limits, Snapshots
from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict, NotFound

DAY_NS = 86_400 * 10**9


@pytest.fixture
def work(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    return root


def opened(work: Path, limits: Limits | None = None, clock: ManualClock | None = None) -> Snapshots:
    return Snapshots(work, work.parent / "kept", clock or ManualClock(), limits)


def test_a_new_session_goes_on_with_the_index_of_the_last(work: Path):
    (work / "a").write_text("1")
    first = opened(work)
    taken = first.take_now("one")
    first.close()
    (work / "a").write_text("2")
    second = opened(work)
    changed = second.take_now("two")
    assert changed != taken
    assert second.restore_now(taken).written == ("a",)
    assert [each.id for each in second.history()][:2] == [taken, changed]


def test_two_sessions_share_one_workspace(work: Path):
    one, two = opened(work), opened(work)
    (work / "a").write_text("1")
    first = one.take_now("one")
    (work / "b").write_text("2")
    second = two.take_now("two")
    assert one.take_now("again") == second
    two.restore_now(first)
    assert not (work / "b").exists()


def test_what_others_changed_is_named_before_it_is_overwritten(work: Path):
    (work / "a.py").write_text("mine")
    (work / "b.py").write_text("mine")
    snapshots = opened(work)
    first = snapshots.take_now("start")
    (work / "a.py").write_text("the model's")
    snapshots.take_now("after")
    (work / "a.py").write_text("written by the user in an editor")
    with pytest.raises(Conflict, match=r"changed by others .*: a\.py") as caught:
        snapshots.restore_now(first)
    assert "again" in (caught.value.hint or "")
    assert (work / "a.py").read_text() == "written by the user in an editor"

    done = snapshots.restore_now(first)
    assert (work / "a.py").read_text() == "mine"
    snapshots.restore_now(done.before)
    assert (work / "a.py").read_text() == "written by the user in an editor"


def test_what_others_changed_elsewhere_stays_without_a_question(work: Path):
    (work / "a.py").write_text("mine")
    snapshots = opened(work)
    snapshots.take_now("start")
    (work / "a.py").write_text("the model's")
    after = snapshots.take_now("after")
    (work / "notes").write_text("the user's")
    now = snapshots.take_now("noticed")
    (work / "a.py").write_text("the model's, again")
    snapshots.take_now("later")
    assert snapshots.restore_now(now).left == ()
    assert (work / "notes").read_text() == "the user's"
    assert after != now


def test_what_is_left_out_is_named_and_never_touched(work: Path):
    (work / "node_modules" / "x").mkdir(parents=True)
    (work / "node_modules" / "x" / "index.js").write_text("x")
    cache = work / "target"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (work / ".gitignore").write_text("secret.txt\nbig.bin\n")
    (work / "secret.txt").write_text("ignored by git, kept here")
    (work / "big.bin").write_bytes(b"x" * 1001)
    os.mkfifo(work / "pipe")
    snapshots = opened(work, Limits(file_bytes_max=1000))
    first = snapshots.take_now("start")
    assert snapshots.notices == (
        "Not kept in snapshots (cache): target/",
        "Not kept in snapshots (excluded): node_modules/",
        "Not kept in snapshots (no regular file): pipe",
        "Not kept in snapshots (too large): big.bin",
    )
    (work / "secret.txt").unlink()
    (work / "big.bin").write_bytes(b"y" * 2000)
    (work / "node_modules" / "x" / "index.js").write_text("y")
    (work / "more.bin").write_bytes(b"z" * 3000)
    (work / "box").mkdir()
    (work / "box" / "huge").write_bytes(b"h" * 3000)
    (work / "box" / "small").write_bytes(b"s")
    snapshots.take_now("after")
    done = snapshots.restore_now(first)
    assert (work / "secret.txt").read_text() == "ignored by git, kept here"
    assert (work / "big.bin").stat().st_size == 2000
    assert (work / "more.bin").exists()
    assert (work / "node_modules" / "x" / "index.js").read_text() == "y"
    assert not (work / "box" / "small").exists()
    assert (work / "box" / "huge").exists()
    assert {line.partition(":")[0] for line in done.left} == {
        "big.bin",
        "more.bin",
        "box/",
        "box/huge",
    }


def test_a_folder_that_was_kept_stays_so_when_it_calls_itself_a_cache(work: Path):
    (work / "src").mkdir()
    (work / "src" / "a").write_text("1")
    snapshots = opened(work)
    snapshots.take_now("start")
    (work / "src" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    tagged = snapshots.take_now("tagged")
    (work / "src" / "a").unlink()
    snapshots.take_now("after")
    snapshots.restore_now(tagged)
    assert (work / "src" / "a").read_text() == "1"


def test_the_largest_files_are_left_out_when_all_are_too_much(work: Path):
    for number in range(1, 11):
        (work / f"file{number:02}").write_bytes(os.urandom(number * 100))
    snapshots = opened(work, Limits(total_bytes_max=2_900))
    snapshots.take_now("start")
    assert snapshots.notices == ("Not kept in snapshots (too large): file08, file09, file10",)


def test_too_many_files_and_too_deep_folders_are_named(work: Path):
    for name in ("a", "b", "c", "d"):
        (work / name).mkdir()
        for number in range(10):
            (work / name / str(number)).write_text("x")
    (work / "a" / "/".join("d" * 250)).mkdir(parents=True)
    snapshots = opened(work, Limits(files_max=15))
    snapshots.take_now("start")
    assert len(snapshots.notices) == 2
    assert snapshots.notices[0].startswith("Not kept in snapshots (too deep): a/d/d/d")
    assert snapshots.notices[1] == "Not kept in snapshots (too many files): c/, d/"


def test_gits_own_folder_is_not_touched_with_the_files(work: Path):
    subprocess.run(["git", "init", "-q"], cwd=work, check=True)
    (work / "a").write_text("1")
    snapshots = opened(work)
    first = snapshots.take_now("start")
    subprocess.run(["git", "add", "a"], cwd=work, check=True)
    index = (work / ".git" / "index").read_bytes()
    (work / "a").unlink()
    snapshots.take_now("after")
    snapshots.restore_now(first)
    assert (work / ".git" / "index").read_bytes() == index
    assert (work / "a").exists()


def test_what_is_kept_is_private(work: Path):
    (work / ".env").write_text("KEY=1")
    snapshots = opened(work)
    snapshots.take_now("start")
    snapshots.close()
    kept = work.parent / "kept"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}


def test_the_snapshots_own_folder_is_passed_over(work: Path):
    (work / "a").write_text("1")
    snapshots = Snapshots(work, work / "data" / "kept", ManualClock())
    first = snapshots.take_now("start")
    assert snapshots.take_now("again") == first
    (work / "a").write_text("2")
    snapshots.take_now("after")
    snapshots.restore_now(first)
    assert (work / "a").read_text() == "1"
    assert (work / "data" / "kept" / "objects").exists()


def test_old_snapshots_go_and_the_newest_stays(work: Path):
    clock = ManualClock()
    snapshots = opened(work, Limits(keep_days=7), clock)
    ids: list[str] = []
    for day in range(20):
        (work / "a").write_bytes(os.urandom(20_000))
        ids.append(snapshots.take_now(f"day {day}"))
        clock.move(DAY_NS)
    freed = asyncio.run(snapshots.gc())
    assert freed > 11 * 20_000
    assert [taken.id for taken in snapshots.history()] == ids[-7:]
    with pytest.raises(NotFound):
        snapshots.restore_now(ids[0])
    snapshots.restore_now(ids[-7])
    clock.move(100 * DAY_NS)
    asyncio.run(snapshots.gc())
    assert len(snapshots.history()) == 1


def test_snapshots_over_a_size_go_oldest_first(work: Path):
    limits = Limits(store_bytes_max=100_000)
    snapshots, other = opened(work, limits), opened(work, limits)
    other.take_now("look")
    ids: list[str] = []
    for number in range(20):
        (work / "a").write_bytes(os.urandom(20_000))
        ids.append(snapshots.take_now(str(number)))
    assert asyncio.run(snapshots.gc()) > 0
    assert asyncio.run(snapshots.gc()) == 0
    assert (work.parent / "kept" / "objects").stat().st_size <= 75_000
    (work / "a").unlink()
    other.take_now("the other session noticed")
    other.restore_now(ids[-2])
    with pytest.raises(NotFound):
        other.restore_now(ids[0])


def test_a_session_begins_by_forgetting_what_is_over_the_limits(work: Path):
    clock = ManualClock()
    snapshots = opened(work, Limits(keep_days=7), clock)
    for _ in range(20):
        (work / "a").write_bytes(os.urandom(20_000))
        snapshots.take_now("day")
        clock.move(DAY_NS)
    opened(work, Limits(keep_days=7), clock).take_now("the next session")
    assert len(snapshots.history()) == 7
    snapshots.restore_now(snapshots.history()[0].id)


def test_the_first_snapshot_is_taken_in_the_background(work: Path):
    for number in range(50):
        (work / str(number)).write_text(str(number))
    snapshots = opened(work)
    snapshots.begin()
    taken = snapshots.take_now("the first change")
    while not snapshots.history():
        time.sleep(0.01)
    assert {each.id for each in snapshots.history()} == {taken}
    snapshots.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_what_cannot_be_read_is_named(work: Path):
    (work / "a").write_text("1")
    (work / "a").chmod(0)
    (work / "b").mkdir(mode=0)
    snapshots = opened(work)
    snapshots.take_now("start")
    (work / "b").chmod(0o700)
    assert snapshots.notices == ("Not kept in snapshots (unreadable): a, b/",)
