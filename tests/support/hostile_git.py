"""A git repository that tries to run a program wherever its configuration can name one."""

import os
import subprocess
from pathlib import Path

_HOOKS = (
    "post-checkout",
    "post-index-change",
    "pre-commit",
    "reference-transaction",
    "fsmonitor-watchman",
)
_CONFIG = """
[core]
	fsmonitor = {run} fsmonitor
	pager = {run} pager
	sshCommand = {run} ssh
	askPass = {run}
	editor = {run} editor
	hooksPath = hooks
[filter "evil.one"]
	clean = {run} clean; cat
	smudge = {run} smudge; cat
	required = true
[filter "process"]
	process = {run} process
[diff]
	external = {run} diff
[diff "evil"]
	textconv = {run} textconv
	command = {run} diff-command
[credential]
	helper = !{run} credential
[protocol "ext"]
	allow = always
[remote "origin"]
	url = ext::{run} remote
	promisor = true
	partialclonefilter = blob:none
[submodule]
	recurse = true
[gpg]
	program = {run}
[alias]
	status = !{run} alias
[include]
	path = more.config
"""
_MORE = """
[filter "included"]
	clean = {run} included; cat
	smudge = {run} included; cat
"""


def plain_git(folder: Path, *words: str) -> str:
    """Git as anybody calls it, without the settings of whoever runs the tests."""
    people = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    environment = os.environ | dict.fromkeys(people, "a@b")
    environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


def repository(folder: Path) -> Path:
    """A repository with one commit of two files."""
    folder.mkdir(parents=True)
    plain_git(folder, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.dat").write_text("two\n")
    plain_git(folder, "add", "-A")
    plain_git(folder, "commit", "-q", "-m", "first")
    return folder


def hostile(folder: Path) -> tuple[Path, Path]:
    """Such a repository, and the file that exists once anything of it has run."""
    root = repository(folder)
    ran = folder.parent / "ran"
    run = folder.parent / "run.sh"
    run.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\n")
    run.chmod(0o755)
    (root / ".gitattributes").write_text(
        "*.txt filter=evil.one diff=evil\n*.dat filter=included\n*.md filter=process\n"
    )
    (root / "c.md").write_text("three\n")
    plain_git(root, "add", "-A")
    plain_git(root, "commit", "-q", "-m", "second")
    git_folder = root / ".git"
    hooks = git_folder / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in _HOOKS:
        (hooks / name).write_text(f"#!/bin/sh\n{run} hook-{name}\n")
        (hooks / name).chmod(0o755)
    config = _CONFIG.replace("{run}", str(run)).replace("hooksPath = hooks", f"hooksPath = {hooks}")
    (git_folder / "config").write_text((git_folder / "config").read_text() + config)
    (git_folder / "more.config").write_text(_MORE.replace("{run}", str(run)))
    for name in ("a.txt", "sub/b.dat", "c.md"):
        (root / name).touch()  # so that git has to compare contents, through the filters
    return root, ran
