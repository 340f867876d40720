"""Our own git runs nothing that a repository names."""

import asyncio
import os
from pathlib import Path

import pytest

from headrace.code import worktrees
from headrace.code.context_block import context_block
from headrace.code.git import git, git_path
from headrace.core.clock import ManualClock
from headrace.core.errors import InvalidRequest, TimedOut
from headrace.safety.programs import shun
from support.hostile_git import hostile, plain_git


def test_the_hostile_repository_is_hostile(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    plain_git(root, "status")
    plain_git(root, "diff", "HEAD~1")
    # What is named as a process speaks no protocol: git gives up on it before any hook.
    plain_git(root, "-c", "filter.process.process=", "worktree", "add", "../tree")
    words = ran.read_text()
    for each in ("fsmonitor", "clean", "included", "process", "smudge", "hook-post-checkout"):
        assert each in words


async def test_looking_at_a_hostile_repository_runs_nothing(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    (root / "a.txt").write_text("changed\n")
    block = await context_block(root, ManualClock(), trusted=True)
    assert "Git: branch main, changed: M a.txt" in block
    assert not ran.exists()


async def test_a_bare_repository_inside_a_checkout_is_not_taken_for_one(tmp_path: Path):
    bare, ran = tmp_path / "b", tmp_path / "ran"
    plain_git(tmp_path, "init", "-q", "--bare", "b")
    plain_git(tmp_path, "--git-dir", "b", "config", "core.fsmonitor", f"touch {ran}")
    assert "safe.bareRepository" in (await git(bare, "status")).error
    assert not ran.exists()


async def test_settings_too_long_to_look_through_are_refused(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    with (root / ".git" / "config").open("a") as config:
        config.write("[padding]\n" + "".join(f"\tk{n} = {'x' * 4_000}\n" for n in range(1_100)))
        config.write(f'[filter "late"]\n\tclean = touch {ran}\n')
    (root / ".gitattributes").write_text("* filter=late\n")
    (root / "a.txt").write_text("changed\n")
    with pytest.raises(InvalidRequest, match="too long"):
        await git(root, "status")
    assert not ran.exists()


async def test_a_worktree_of_a_hostile_repository_runs_nothing(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    tree = await worktrees.create(root, tmp_path / "trees", "mine")
    assert (tree.path / "a.txt").read_text() == "one\n"
    assert "removed" in await worktrees.finish(tree)
    assert not ran.exists()


async def test_missing_objects_are_not_fetched(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    blob = plain_git(root, "rev-parse", "HEAD:a.txt").strip()
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    ran.unlink(missing_ok=True)
    assert (await git(root, "cat-file", "-p", blob)).status != 0
    assert not ran.exists()


def test_git_is_not_taken_from_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:.:bin:{os.environ['PATH']}")
    found = git_path(tmp_path)
    assert found is not None
    assert not found.startswith(str(tmp_path))
    (tmp_path / "bin" / "git").rename(tmp_path / "other")
    (tmp_path.parent / "bin").mkdir()
    (tmp_path.parent / "bin" / "git").symlink_to(tmp_path / "other")
    monkeypatch.setenv("PATH", f"{tmp_path.parent}/bin:{os.environ['PATH']}")
    assert git_path(tmp_path) == found


async def test_git_that_takes_too_long_is_ended(tmp_path: Path):
    root, _ = hostile(tmp_path / "repository")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimedOut):
        await git(root, "hash-object", str(tmp_path / "pipe"), timeout_s=0.3)


async def test_git_ends_with_whoever_waits_for_it(tmp_path: Path):
    root, _ = hostile(tmp_path / "repository")
    os.mkfifo(tmp_path / "pipe")
    waiting = asyncio.create_task(git(root, "hash-object", str(tmp_path / "pipe")))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_neither_git_nor_what_it_calls_is_taken_from_a_further_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, added = hostile(tmp_path / "repository")[0], tmp_path / "added"
    added.mkdir()
    for name in ("git", "helper"):
        (added / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/planted\n")
        (added / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{added}:{os.environ['PATH']}")
    shun([added])
    found = git_path(root)
    assert found is not None
    assert not found.startswith(str(added))
    assert (await git(root, "-c", "alias.x=!helper", "x")).status != 0
    assert (await git(root / "sub", "status")).status == 0
    assert not (tmp_path / "planted").exists()


async def test_a_filter_that_counts_in_the_worktree_alone_runs_nothing(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    git_folder = root / ".git"
    for condition in (f"gitdir:{git_folder}/worktrees/", "onbranch:headrace/**"):
        with (git_folder / "config").open("a") as config:
            config.write(f'[includeIf "{condition}"]\n\tpath = late.config\n')
    (git_folder / "late.config").write_text(
        f'[filter "late"]\n\tsmudge = touch {ran}; cat\n\tprocess = touch {ran}\n'
    )
    (root / ".gitattributes").write_text("* filter=late\n")
    plain_git(root, "-c", "core.hooksPath=/dev/null", "commit", "-qam", "late")
    ran.unlink(missing_ok=True)
    tree = await worktrees.create(root, tmp_path / "trees", "mine")
    assert (tree.path / "a.txt").read_text() == "one\n"
    assert not ran.exists()
    plain_git(root, "-c", "filter.late.process=", "worktree", "add", str(tmp_path / "plain"))
    plain_git(tmp_path / "plain", "checkout", "-q", "-b", "headrace/other")
    assert ran.exists()  # anybody else's git runs it


async def test_looking_at_changes_and_signatures_runs_nothing(tmp_path: Path):
    root, ran = hostile(tmp_path / "repository")
    run = tmp_path / "run.sh"
    with (root / ".git" / "config").open("a") as config:
        config.write("[log]\n\tshowSignature = true\n")
        for kind in ("ssh", "x509", "openpgp"):
            config.write(f'[gpg "{kind}"]\n\tprogram = {run}\n')
        config.write(f'[hook "evil"]\n\tcommand = {run} hook\n\tevent = post-checkout\n')
        config.write('[hook "evil"]\n\tevent = reference-transaction\n')
    head = plain_git(root, "cat-file", "commit", "HEAD")
    signed = head.replace(
        "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n -----END PGP SIGNATURE-----\n\n", 1
    )
    (tmp_path / "commit").write_text(signed)
    words = ("hash-object", "-t", "commit", "-w", str(tmp_path / "commit"))
    commit = plain_git(root, *words).strip()
    assert commit
    (root / "a.txt").write_text("changed\n")
    ran.unlink(missing_ok=True)
    for words in (
        ("diff", "--no-ext-diff"),
        ("diff", "--no-ext-diff", "HEAD~1"),
        ("log", "-p", commit),
        ("show", "--show-signature", commit),
        ("branch", "other", commit),
    ):
        told = await git(root, *words)
        assert told.status == 0, told
        assert not ran.exists(), (words, ran.read_text())
    assert "+changed" in (await git(root, "diff", "--no-ext-diff")).out
    await git(root, "diff")  # fails: no program stands for the one that was named
    assert not ran.exists()
    plain_git(root, "log", commit)
    assert "--verify" in ran.read_text()  # anybody else's git runs it
