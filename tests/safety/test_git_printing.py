"""Git prints what tracked files hold from its own store: asked about where rules deny reading."""

from pathlib import Path

import pytest

from headrace.core.decisions import Allow, Ask
from headrace.safety.actions import Action
from headrace.safety.permissions import Policy
from headrace.safety.rules import Rules, parse_rule


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("git show HEAD:.env", True),
        ("git diff", True),
        ("git -C . diff HEAD~1", True),
        ("ls | xargs git show", True),
        ("git log -p", True),
        ("git log -n3 -up", True),
        ("git log --cc", True),
        ("git status -v", True),
        ("git stash list -p", True),
        ("git blame .env2", True),
        ("git grep -n KEY", True),
        ("git cat-file -p HEAD:x", True),
        ("git diff --stat -p", True),
        ("git log --oneline", False),
        ("git log -n 3 --stat", False),
        ("git status --short", False),
        ("git diff --stat", False),
        ("git show --name-only", False),
        ("git stash list", False),
        ("git ls-files", False),
    ],
)
@pytest.mark.parametrize("mode", ["default", "bypassPermissions"])
def test_git_prints_nothing_unasked_where_a_rule_denies_reading(
    tmp_path: Path, command: str, *, asked: bool, mode: str
):
    deny = ["Read(./secret.txt)"]
    rules = [parse_rule(each, kind="deny", scope="user", root=str(tmp_path)) for each in deny]
    allow = parse_rule("Bash(git show:*)", kind="allow", scope="user", root=str(tmp_path))
    policy = Policy(
        Rules((allow,), deny=tuple(rules)),
        workspace=str(tmp_path),
        home="/home/me",
        mode=mode,
        sandboxed=True,
    )
    decision = policy.decide(Action(tool="Bash", command=command, writes=True))
    assert isinstance(decision, Ask if asked else Allow), decision
