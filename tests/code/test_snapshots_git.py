"""Git directories in snapshots, with a real git: nothing that a command does to them is lost."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from headrace.code.snapshots import Limits, Snapshots
from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict, NotFound
from support.trees import tree_of

DAY_NS = 86_400 * 10**9
WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "LC_ALL": "C"}
    done = subprocess.run(
        ["git", *WHO, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(root: Path) -> Path:
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / "a.py").write_text("print(1)\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    return root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


def opened(work: Path, clock: ManualClock | None = None, limits: Limits | None = None) -> Snapshots:
    return Snapshots(work, work.parent / "kept", clock or ManualClock(), limits)


def sound(work: Path) -> None:
    assert git(work, "fsck", "--full", "--strict", "--no-dangling") == ""


def both(snapshots: Snapshots, to: str) -> tuple[str, ...]:
    """Files and git directories put back."""
    snapshots.restore_now(to)
    return asyncio.run(snapshots.restore_git()).left


def test_a_removed_git_directory_comes_back_whole(work: Path):
    git(work, "pack-refs", "--all")
    git(work, "branch", "side")
    snapshots = opened(work)
    first = snapshots.take_now("before")
    before = tree_of(work)
    shutil.rmtree(work / ".git")
    snapshots.take_now("after")
    done = snapshots.restore_now(first)
    assert done.left == ()
    assert done.after == first
    assert tree_of(work) == before
    sound(work)
    assert git(work, "status", "--porcelain") == ""


@pytest.mark.parametrize("lost", ["HEAD", "objects", "refs"])
def test_a_damaged_git_directory_comes_back_as_it_last_was(work: Path, lost: str):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    (work / "a.py").write_text("print(2)\n")
    git(work, "commit", "-qam", "two, by the assistant")
    snapshots.take_now("before the command")
    path = work / ".git" / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    snapshots.take_now("after")
    assert snapshots.restore_now(first).left == ()
    sound(work)
    assert git(work, "log", "-1", "--format=%s") == "two, by the assistant"
    assert (work / "a.py").read_text() == "print(1)\n"


def test_objects_that_refs_name_come_back_and_what_git_removed_does_not(work: Path):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    (work / "b.py").write_text("print(2)\n")
    git(work, "add", "b.py")
    snapshots.take_now("after")
    for path in (work / ".git" / "objects").glob("??"):
        shutil.rmtree(path)
    snapshots.take_now("the command")
    assert snapshots.restore_now(first).left == ()
    sound(work)
    assert git(work, "show", ":b.py") == "print(2)"

    git(work, "gc", "-q", "--prune=now")
    snapshots.take_now("packed")
    snapshots.restore_now(first)
    assert not list((work / ".git" / "objects").glob("[0-9a-f][0-9a-f]"))


def test_a_rewind_of_files_moves_no_branch(work: Path):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    (work / "a.py").write_text("print(2)\n")
    git(work, "commit", "-qam", "by the assistant")
    git(work, "switch", "-qc", "side")
    snapshots.take_now("after")
    before = tree_of(work / ".git")
    snapshots.restore_now(first)
    assert (work / "a.py").read_text() == "print(1)\n"
    assert tree_of(work / ".git") == before


@pytest.mark.parametrize(
    "command",
    [
        ("reset", "--hard", "HEAD~1"),
        ("branch", "-D", "side"),
        ("stash", "drop"),
        ("checkout", "--", "."),
        ("rm", "-rf", "--cached", "."),
        ("update-ref", "-d", "HEAD"),
    ],
)
def test_what_git_commands_lose_comes_back_when_it_is_asked_for(
    work: Path, command: tuple[str, ...]
):
    (work / "a.py").write_text("print(2)\n")
    git(work, "commit", "-qam", "two")
    git(work, "branch", "side")
    (work / "a.py").write_text("stashed\n")
    git(work, "stash", "push", "-q")
    (work / "staged").write_text("staged")
    git(work, "add", "staged")
    snapshots = opened(work)
    first = snapshots.take_now("before")
    refs, status = git(work, "for-each-ref"), git(work, "status", "--porcelain")
    git(work, *command)
    git(work, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(work, "gc", "-q", "--prune=now")
    snapshots.take_now("after")

    assert both(snapshots, first) == ()
    sound(work)
    assert git(work, "for-each-ref") == refs
    assert git(work, "status", "--porcelain") == status
    assert git(work, "stash", "show", "-p", "stash@{0}").endswith("+stashed")
    assert git(work, "show", ":staged") == "staged"


async def test_one_undo_takes_back_files_and_git(work: Path):
    snapshots = opened(work)
    with pytest.raises(NotFound, match="no rewind"):
        await snapshots.restore_git()
    first = await snapshots.take("before")
    (work / "a.py").write_text("print(2)\n")
    git(work, "commit", "-qam", "two")
    await snapshots.take("after")
    await snapshots.restore(first)
    await snapshots.restore_git()
    assert git(work, "log", "--format=%s") == "one"
    assert git(work, "status", "--porcelain") == ""
    await snapshots.undo()
    assert git(work, "log", "--format=%s") == "two\none"
    assert (work / "a.py").read_text() == "print(2)\n"
    sound(work)
    await snapshots.undo()
    assert git(work, "log", "--format=%s") == "one"
    assert (work / "a.py").read_text() == "print(1)\n"


def test_large_packs_are_linked_and_checked_before_they_come_back(work: Path):
    for number in range(3):
        (work / f"large{number}").write_bytes(os.urandom(1_500_000))
    git(work, "add", ".")
    git(work, "commit", "-qm", "large")
    snapshots = opened(work)
    first = snapshots.take_now("loose")
    git(work, "gc", "-q")
    second = snapshots.take_now("packed")
    linked = list((work.parent / "kept" / "linked").iterdir())
    assert len(linked) == 4
    assert (work.parent / "kept" / "objects").stat().st_size < 5_000_000  # the files
    shutil.rmtree(work / ".git")
    snapshots.take_now("gone")
    assert snapshots.restore_now(second).left == ()
    sound(work)
    assert both(snapshots, first) == ()
    sound(work)

    (pack,) = (work / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(50_000)
        file.write(b"overwritten in place")
    pack.unlink()
    snapshots.take_now("damaged through the link")
    shutil.rmtree(work / ".git")
    snapshots.take_now("gone")
    left = snapshots.restore_now(second).left
    assert [line for line in left if "damaged" not in line] == []


def test_small_objects_that_were_overwritten_in_place_come_back(work: Path):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    for path in (work / ".git" / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"")
    snapshots.take_now("after")
    assert both(snapshots, first) == ()
    sound(work)


def test_a_worktree_has_the_shared_repository_kept_and_its_refs_left(work: Path, tmp_path: Path):
    tree = tmp_path / "tree"
    git(work, "worktree", "add", "-q", "-b", "task", str(tree))
    snapshots = Snapshots(tree, tmp_path / "kept", ManualClock())
    first = snapshots.take_now("before")
    git(work, "branch", "other")
    (tree / "a.py").write_text("changed")
    snapshots.take_now("after")
    snapshots.restore_now(first)
    assert (tree / "a.py").read_text() == "print(1)\n"
    (left,) = asyncio.run(snapshots.restore_git()).left
    assert "other checkouts share it" in left
    assert git(work, "branch", "--list", "other") == "other"

    shutil.rmtree(work / ".git")
    assert snapshots.restore_now(first).left == ()
    sound(work)
    assert git(tree, "status", "--porcelain") == ""


def test_submodules_and_repositories_below_come_back_with_the_rest(work: Path, tmp_path: Path):
    library = repository(tmp_path / "library")
    git(work, "-c", "protocol.file.allow=always", "submodule", "-q", "add", str(library), "lib")
    git(work, "commit", "-qm", "with a submodule")
    inner = repository(work / "vendor" / "inner")
    snapshots = opened(work)
    first = snapshots.take_now("before")
    before = tree_of(work)
    shutil.rmtree(work / ".git")
    shutil.rmtree(inner)
    snapshots.take_now("after")
    assert snapshots.restore_now(first).left == ()
    assert tree_of(work) == before
    for each in (work, work / "lib", inner):
        sound(each)


def test_others_checkouts_and_submodules_stay_when_branches_go_back(work: Path, tmp_path: Path):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    tree = tmp_path / "tree"
    git(work, "worktree", "add", "-q", "-b", "task", str(tree))
    (work / "a.py").write_text("2")
    git(work, "commit", "-qam", "two")
    snapshots.take_now("after")
    assert both(snapshots, first) == ()
    assert git(work, "log", "--format=%s") == "one"
    assert (work / ".git" / "worktrees" / "tree" / "HEAD").exists()


def test_nothing_is_put_under_the_hands_of_a_git_that_runs(work: Path):
    snapshots = opened(work)
    first = snapshots.take_now("before")
    git(work, "branch", "side")
    snapshots.take_now("after")
    snapshots.restore_now(first)
    lock = work / ".git" / "index.lock"
    lock.touch()
    with pytest.raises(Conflict, match=r"index\.lock"):
        asyncio.run(snapshots.restore_git())
    assert git(work, "branch", "--list", "side")
    lock.unlink()
    git(work, "branch", "by-the-user")
    with pytest.raises(Conflict, match="changed by others"):
        asyncio.run(snapshots.restore_git())
    assert asyncio.run(snapshots.restore_git()).left == ()
    assert git(work, "branch", "--format=%(refname:short)") == "main"


def test_what_is_under_way_and_what_git_makes_again_is_not_kept(work: Path):
    git(work, "commit-graph", "write")
    (work / ".git" / "objects" / "pack" / "tmp_pack_x").write_bytes(b"x" * 2_000_000)
    (work / ".git" / "refs" / "heads" / "tmp_x").write_text(git(work, "rev-parse", "HEAD") + "\n")
    (work / ".git" / "refs" / "heads" / "objects").mkdir()
    git(work, "branch", "objects/ab/commit-graph")
    snapshots = opened(work)
    first = snapshots.take_now("before")
    (work / ".git" / "packed-refs.lock").touch()
    assert snapshots.take_now("locked") == first
    shutil.rmtree(work / ".git")
    snapshots.take_now("gone")
    snapshots.restore_now(first)
    sound(work)
    assert git(work, "branch", "--format=%(refname:short)").split() == [
        "main",
        "objects/ab/commit-graph",
        "tmp_x",
    ]
    assert not (work / ".git" / "packed-refs.lock").exists()
    assert not list((work / ".git").rglob("tmp_pack*"))


def test_a_new_session_knows_the_git_directory_and_gc_frees_what_it_lost(work: Path):
    clock = ManualClock()
    (work / "large").write_bytes(os.urandom(1_500_000))
    git(work, "add", ".")
    snapshots = opened(work, clock)
    first = snapshots.take_now("before")
    snapshots.close()
    again = opened(work, clock)
    assert again.take_now("next session") == first
    git(work, "rm", "-q", "--cached", "large")
    git(work, "gc", "-q", "--prune=now")
    (work / "large").unlink()
    again.take_now("after")
    assert asyncio.run(again.gc()) == 0
    clock.move(40 * DAY_NS)
    again.take_now("much later")
    assert asyncio.run(again.gc()) > 1_500_000
    assert list((work.parent / "kept" / "linked").iterdir()) == []
    sound(work)


def test_a_swapped_folder_leads_nowhere(work: Path, tmp_path: Path):
    outside = repository(tmp_path / "outside")
    inner = repository(work / "vendor")
    snapshots = opened(work)
    first = snapshots.take_now("before")
    before = tree_of(outside)
    shutil.rmtree(inner)
    inner.symlink_to(outside)
    git(outside, "branch", "mine")
    after = tree_of(outside)
    snapshots.take_now("after")
    snapshots.restore_now(first)
    assert tree_of(outside) == after != before
    sound(inner)
