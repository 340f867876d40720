"""Snapshots: what is kept, put back, named, told apart and forgotten."""

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from headrace.agent.tools import Diff
from headrace.code.snapshot_store import Store
from headrace.code.snapshot_tree import Folder, Walk
from headrace.code.snapshots import Limits, Restored, Snapshots
from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict, NotFound, StoreError
from support.trees import tree_of

DAY_NS = 86_400 * 10**9


@pytest.fixture
def work(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    return root


def opened(work: Path, limits: Limits | None = None, clock: ManualClock | None = None) -> Snapshots:
    return Snapshots(work, work.parent / "kept", clock or ManualClock(), limits)


def test_a_restore_brings_back_content_modes_links_and_empty_folders(work: Path):
    (work / "src" / "deep").mkdir(parents=True)
    (work / "src" / "a.py").write_text("print(1)\n")
    (work / "src" / "run.sh").write_text("#!/bin/sh\n")
    (work / "src" / "run.sh").chmod(0o751)
    (work / "empty").mkdir(mode=0o700)
    (work / "link").symlink_to("src/a.py")
    (work / "dangling").symlink_to("nowhere")
    (work / os.fsdecode(b"\xff\xfe.bin")).write_bytes(bytes(range(256)) * 10)
    before = tree_of(work)
    snapshots = opened(work)
    first = snapshots.take_now("before")

    (work / "src" / "a.py").unlink()
    (work / "src" / "a.py").mkdir()
    (work / "src" / "a.py" / "inside").write_text("x")
    (work / "src" / "run.sh").chmod(0o600)
    (work / "src" / "deep").rmdir()
    (work / "src" / "deep").write_text("now a file")
    (work / "empty").rmdir()
    (work / "link").unlink()
    (work / "link").write_text("no link")
    (work / "new").mkdir()
    (work / "new" / "file").write_text("new")
    second = snapshots.take_now("after")
    changed = tree_of(work)

    done = snapshots.restore_now(first)
    assert tree_of(work) == before
    assert (done.before, done.after, done.left) == (second, first, ())
    assert "src/a.py" in done.written
    assert {"new/file", "new/"} <= set(done.deleted)

    assert snapshots.restore_now(done.before).after == second
    assert tree_of(work) == changed


def test_nothing_changed_is_the_same_snapshot_and_one_line_of_history(work: Path):
    (work / "a").write_text("1")
    snapshots = opened(work)
    assert snapshots.take_now("one") == snapshots.take_now("two")
    assert [taken.label for taken in snapshots.history()] == ["one"]


def test_a_change_that_keeps_size_and_time_is_seen(work: Path):
    path = work / "a"
    path.write_text("one")
    snapshots = opened(work)
    first = snapshots.take_now("one")
    old = path.stat()
    path.write_text("two")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    second = snapshots.take_now("two")
    assert second != first
    snapshots.restore_now(first)
    assert path.read_text() == "one"


def test_quick_changes_within_one_tick_of_the_clock_are_seen(work: Path):
    path = work / "a"
    snapshots = opened(work)
    ids: set[str] = set()
    for number in range(100, 200):
        path.write_text(str(number))
        ids.add(snapshots.take_now("quick"))
    assert len(ids) == 100


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


def test_gits_own_folder_is_neither_kept_nor_touched(work: Path):
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


def test_a_link_is_never_followed(work: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (work / "folder").mkdir()
    (work / "folder" / "secret").write_text("mine")
    snapshots = opened(work)
    first = snapshots.take_now("start")
    (work / "folder" / "secret").unlink()
    (work / "folder").rmdir()
    (work / "folder").symlink_to(outside)
    second = snapshots.take_now("swapped")
    assert all("secret" not in (diff.after or "") for diff in diffs(snapshots, first, second))
    snapshots.restore_now(first)
    assert (outside / "secret").read_text() == "secret"
    assert (work / "folder" / "secret").read_text() == "mine"


def test_what_is_kept_is_private(work: Path):
    (work / ".env").write_text("KEY=1")
    snapshots = opened(work)
    snapshots.take_now("start")
    snapshots.close()
    kept = work.parent / "kept"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}


def diffs(snapshots: Snapshots, before: str, after: str) -> tuple[Diff, ...]:
    return asyncio.run(snapshots.diff(before, after))


def test_a_diff_shows_what_changed(work: Path):
    (work / "a.txt").write_text("one\n")
    (work / "gone").mkdir()
    (work / "gone" / "b.txt").write_text("b\n")
    (work / "data").write_bytes(b"\x00\xff")
    (work / "run").write_text("x")
    (work / "run").chmod(0o644)
    snapshots = opened(work)
    first = snapshots.take_now("start")
    (work / "a.txt").write_text("two\n")
    (work / "gone" / "b.txt").unlink()
    (work / "gone").rmdir()
    (work / "data").write_bytes(b"\x00\xfe")
    (work / "run").chmod(0o755)
    (work / "c").symlink_to("a.txt")
    second = snapshots.take_now("after")
    shown = {diff.path: (diff.before, diff.after) for diff in diffs(snapshots, first, second)}
    assert list(shown) == ["a.txt", "c", "data", "gone/b.txt", "run"]
    assert shown["a.txt"] == ("one\n", "two\n")
    assert shown["c"] == (None, "link to a.txt\n")
    assert shown["gone/b.txt"] == ("b\n", None)
    assert shown["run"] == ("mode 644\n", "mode 755\n")
    assert "2 bytes" in (shown["data"][0] or "")
    assert shown["data"][0] != shown["data"][1]


def test_unknown_snapshots_are_refused_before_anything_is_touched(work: Path):
    (work / "a").write_text("1")
    snapshots = opened(work)
    snapshots.take_now("start")
    for wrong in ("", "no", "ab" * 20):
        with pytest.raises(NotFound):
            snapshots.restore_now(wrong)
    assert (work / "a").read_text() == "1"


def test_a_damaged_object_stops_a_restore_before_it_begins(work: Path):
    (work / "a").write_text("1" * 50)
    (work / "b").write_text("2" * 50)
    snapshots = opened(work)
    first = snapshots.take_now("start")
    (work / "a").write_text("changed")
    (work / "b").unlink()
    snapshots.take_now("after")
    objects = work.parent / "kept" / "objects"
    data = objects.read_bytes()
    objects.write_bytes(data.replace(b"2" * 50, b"3" * 50))
    with pytest.raises(StoreError, match="damaged"):
        snapshots.restore_now(first)
    assert (work / "a").read_text() == "changed"


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


def test_a_workspace_that_was_removed_comes_back(work: Path):
    (work / "sub").mkdir()
    (work / "sub" / "a").write_text("1")
    snapshots = opened(work)
    first = snapshots.take_now("start")
    before = tree_of(work)
    shutil.rmtree(work)
    snapshots.take_now("gone")
    snapshots.restore_now(first)
    assert tree_of(work) == before


def test_a_folder_that_refuses_is_told(work: Path):
    (work.parent / "kept").write_text("a file")
    with pytest.raises(StoreError, match="no snapshot could be taken"):
        opened(work).take_now("start")


def test_what_a_cut_restore_left_behind_is_removed_and_the_cut_told(work: Path):
    (work / "sub").mkdir()
    (work / "sub" / "a").write_text("1")
    snapshots = opened(work)
    first = snapshots.take_now("start")
    cut = {"target": first, "before": first, "temporary": ".headrace-restore-0123"}
    (work.parent / "kept" / "restoring").write_text(json.dumps(cut))
    (work / "sub" / ".headrace-restore-0123").write_text("half")
    assert snapshots.take_now("next session") == first
    assert not (work / "sub" / ".headrace-restore-0123").exists()
    assert snapshots.unfinished() == (first, first)
    assert "cut short" in snapshots.notices[-1]
    snapshots.restore_now(first)
    assert snapshots.unfinished() is None


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


async def test_a_restore_can_be_undone_and_done_again(work: Path):
    snapshots = opened(work)
    with pytest.raises(NotFound, match="no rewind"):
        await snapshots.undo()
    (work / "a").write_text("1")
    first = await snapshots.take("one")
    (work / "a").write_text("2")
    await snapshots.take("two")
    await snapshots.restore(first)
    again = opened(work)
    await again.undo()
    assert (work / "a").read_text() == "2"
    await again.undo()
    assert (work / "a").read_text() == "1"


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


async def test_takes_and_restores_in_a_loop(work: Path):
    (work / "a").write_text("1")
    snapshots = opened(work)
    first, again = await asyncio.gather(snapshots.take("one"), snapshots.take("two"))
    assert first == again
    (work / "a").write_text("2")
    await snapshots.take("after")
    assert isinstance(await snapshots.restore(first), Restored)
    assert (work / "a").read_text() == "1"
    await asyncio.to_thread(snapshots.close)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_what_cannot_be_read_is_named(work: Path):
    (work / "a").write_text("1")
    (work / "a").chmod(0)
    (work / "b").mkdir(mode=0)
    snapshots = opened(work)
    snapshots.take_now("start")
    (work / "b").chmod(0o700)
    assert snapshots.notices == ("Not kept in snapshots (unreadable): a, b/",)


def test_files_in_folders_that_may_not_be_written_come_back(work: Path):
    (work / "locked").mkdir()
    (work / "locked" / "a").write_text("1")
    (work / "locked").chmod(0o555)
    snapshots = opened(work)
    first = snapshots.take_now("start")
    before = tree_of(work)
    (work / "locked").chmod(0o755)
    (work / "locked" / "a").write_text("2")
    (work / "locked").chmod(0o555)
    snapshots.take_now("after")
    snapshots.restore_now(first)
    assert tree_of(work) == before
    (work / "locked").chmod(0o755)


def walked(work: Path, now_ns: int) -> Folder:
    store = Store(work.parent / "walked")
    with store.locked():
        return Walk(store.objects, Limits(), now_ns=now_ns).root(work, None)


def test_what_changed_too_short_a_time_ago_is_read_again(work: Path):
    (work / "a").write_text("1")
    (work / "link").symlink_to("a")
    changed_ns = (work / "link").lstat().st_ctime_ns
    racy = {name: known.racy for name, known in walked(work, changed_ns).files.items()}
    assert racy["link"]
    later = walked(work, changed_ns + 3 * 10**9)
    assert not any(known.racy for known in later.files.values())
    assert later.stamp
    assert not walked(work, changed_ns - 10**9).stamp


def test_snapshots_while_files_change_agree_with_the_files_in_the_end(work: Path):
    for number in range(20):
        (work / str(number)).write_bytes(os.urandom(2_000))
    snapshots = opened(work)
    first = snapshots.take_now("start")
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            path = work / str(number % 20)
            if number % 3:
                path.write_bytes(os.urandom(2_000))
            else:
                path.unlink()
                path.write_bytes(os.urandom(2_000))

    other = threading.Thread(target=change)
    other.start()
    taken: set[str] = set()
    while len(taken) < 10:
        taken.add(snapshots.take_now("while"))
    ended.set()
    other.join()
    last = snapshots.take_now("end")
    tree = tree_of(work)
    snapshots.restore_now(first)
    snapshots.restore_now(last)
    assert tree_of(work) == tree


def test_a_restore_leaves_what_changes_under_its_hands(work: Path):
    for name in ("a", "b", "c"):
        (work / name).write_text("old")
    late = work / "c"

    def step() -> None:
        if late.read_text() == "new":
            late.write_text("written in the middle")

    snapshots = Snapshots(work, work.parent / "kept", ManualClock(), step=step)
    first = snapshots.take_now("start")
    for name in ("a", "b", "c"):
        (work / name).write_text("new")
    snapshots.take_now("after")
    done = snapshots.restore_now(first)
    assert (done.written, done.left) == (("a", "b"), ("c: changed while files were put back",))
    assert late.read_text() == "written in the middle"
