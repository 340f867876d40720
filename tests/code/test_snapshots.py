"""Snapshots: files put back exactly, told apart, and refused before anything is touched."""

import asyncio
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from headrace.agent.tools import Diff
from headrace.code.snapshot_store import Store
from headrace.code.snapshot_tree import Folder, Walk
from headrace.code.snapshots import Limits, Restored, Snapshots
from headrace.core.clock import ManualClock
from headrace.core.errors import NotFound, StoreError
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
