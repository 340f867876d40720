"""Worktrees: made beside the repository, removed if nothing came of them."""

from pathlib import Path

import pytest

from headrace.code.worktrees import create, finish
from headrace.core.errors import InvalidRequest
from support.hostile_git import plain_git, repository


async def test_a_worktree_has_its_own_folder_and_branch(tmp_path: Path):
    root = repository(tmp_path / "repository")
    tree = await create(root / "sub", tmp_path / "state" / "trees", "mine")
    assert tree.workspace == tree.path / "sub"
    assert tree.path.parent.parent == tmp_path / "state" / "trees"
    assert tree.path.name == "mine"
    assert (tree.workspace / "b.dat").read_text() == "two\n"
    assert plain_git(tree.path, "branch", "--show-current") == "headrace/mine\n"
    assert plain_git(root, "branch", "--show-current") == "main\n"


async def test_repositories_of_one_name_do_not_meet(tmp_path: Path):
    one = await create(repository(tmp_path / "a" / "repository"), tmp_path / "trees", "mine")
    two = await create(repository(tmp_path / "b" / "repository"), tmp_path / "trees", "mine")
    assert one.path != two.path


async def test_nothing_changed_nothing_stays(tmp_path: Path):
    root = repository(tmp_path / "repository")
    (root / ".git" / "info" / "exclude").write_text("__pycache__\n")
    tree = await create(root, tmp_path / "trees", "mine")
    (tree.path / "sub" / "__pycache__").mkdir()
    (tree.path / "sub" / "__pycache__" / "b.pyc").write_text("")
    assert await finish(tree) == "Nothing was changed in the worktree mine; it was removed."
    assert not tree.path.exists()
    assert "mine" not in plain_git(root, "branch", "--list", "-a")
    assert plain_git(root, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("change", ["edit", "untracked", "ignored", "commit"])
async def test_whatever_changed_stays_and_is_named(tmp_path: Path, change: str):
    root = repository(tmp_path / "repository")
    (root / ".git" / "info" / "exclude").write_text("*.env\n")
    tree = await create(root, tmp_path / "trees", "mine")
    name = {"edit": "a.txt", "ignored": "x.env"}.get(change, "new.txt")
    (tree.path / name).write_text("changed\n")
    if change == "commit":
        plain_git(tree.path, "add", "-A")
        plain_git(tree.path, "commit", "-q", "-m", "third")
    told = await finish(tree)
    assert told == f"The worktree stays: {tree.path} on branch headrace/mine."
    assert (tree.path / name).read_text() == "changed\n"


async def test_a_worktree_that_went_is_told(tmp_path: Path):
    root = repository(tmp_path / "repository")
    tree = await create(root, tmp_path / "trees", "mine")
    tree.path.rename(tmp_path / "elsewhere")
    assert "is gone" in await finish(tree)


async def test_what_has_no_worktree_is_told_why(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(InvalidRequest, match="not a git repository") as caught:
        await create(plain, tmp_path / "trees", "mine")
    assert "git init" in (caught.value.hint or "")

    plain_git(plain, "init", "-q")
    with pytest.raises(InvalidRequest, match="no commit"):
        await create(plain, tmp_path / "trees", "mine")

    root = repository(tmp_path / "repository")
    await create(root, tmp_path / "trees", "mine")
    with pytest.raises(InvalidRequest, match="there already"):
        await create(root, tmp_path / "trees", "mine")
    plain_git(root, "branch", "headrace/other")
    with pytest.raises(InvalidRequest, match="already exists"):
        await create(root, tmp_path / "trees", "other")
    for name in ("", "../x", "a/b", "-b", "a..b", "x.lock", "x" * 80):
        with pytest.raises(InvalidRequest, match="not a name"):
            await create(root, tmp_path / "trees", name)


async def test_submodules_are_refused(tmp_path: Path):
    root, other = repository(tmp_path / "repository"), repository(tmp_path / "other")
    plain_git(root, "-c", "protocol.file.allow=always", "submodule", "add", str(other), "lib")
    plain_git(root, "commit", "-q", "-m", "module")
    with pytest.raises(InvalidRequest, match=r"submodules .*lib"):
        await create(root, tmp_path / "trees", "mine")


async def test_a_repository_that_works_elsewhere_is_refused(tmp_path: Path):
    root = repository(tmp_path / "repository")
    (tmp_path / "home").mkdir()
    plain_git(root, "config", "core.worktree", str(tmp_path / "home"))
    with pytest.raises(InvalidRequest, match="no worktree"):
        await create(root, tmp_path / "trees", "mine")
