"""The files that deny rules name, as a sandbox is told of them."""

from pathlib import Path

import pytest

from headrace.safety.permissions import Policy
from headrace.safety.rules import Rules, parse_rule


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = (tmp_path / "ws").resolve()
    for name in ("a.txt", "src/key.pem", "src/deep/key.pem", "secret/x/y", ".git/config", "KEY"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root.parent / "out").mkdir()
    (root.parent / "out" / "f").write_text("x")
    return root


def denied(root: Path, *deny: str) -> tuple[list[str], list[str]]:
    rules = [parse_rule(each, kind="deny", scope="user", root=str(root)) for each in deny]
    policy = Policy(
        Rules(deny=tuple(rules)), workspace=str(root), home=str(root.parent), sandboxed=True
    )
    found = policy.denied_paths()
    read, edit = (
        [each.removeprefix(f"{root}/") for each in paths] for paths in (found.read, found.edit)
    )
    return read, edit


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        ("./a.txt", ["a.txt"]),
        ("a.txt", ["a.txt"]),
        ("none.txt", []),
        ("./none.txt", []),
        ("key.pem", ["src/deep/key.pem", "src/key.pem"]),
        ("./key.pem", []),
        ("**/*.pem", ["src/deep/key.pem", "src/key.pem"]),
        ("src/*.pem", ["src/key.pem"]),
        ("secret/**", ["secret"]),
        ("secret/", ["secret"]),
        ("**/deep/**", ["src/deep"]),
        ("/secret/x/*", ["secret/x/y"]),
        ("~/out/**", ["{out}"]),
        ("~/out/*", []),
        ("./.git/config", [".git/config"]),
        ("KEY", ["KEY"]),
        ("key", ["KEY"]),
        ("**", [".git", "KEY", "a.txt", "secret", "src"]),
    ],
)
def test_what_a_rule_names_is_found(workspace: Path, rule: str, paths: list[str]):
    expected = [path.replace("{out}", str(workspace.parent / "out")) for path in paths]
    assert denied(workspace, f"Read({rule})") == (expected, [])
    assert denied(workspace, f"Edit({rule})") == ([], expected)


def test_other_rules_name_no_file(workspace: Path):
    assert denied(workspace, "Read", "Edit", "Bash(rm:*)", "Grep(a.txt)") == ([], [])


def test_what_lies_in_a_denied_folder_is_not_told_again(workspace: Path):
    (workspace / "secret.txt").write_text("x")
    read, _ = denied(workspace, "Read(secret/**)", "Read(secret*)", "Read(./secret/x/y)")
    assert read == ["secret", "secret.txt"]


def test_a_link_stands_for_what_it_leads_to(workspace: Path):
    (workspace / "link").symlink_to("secret/x")
    (workspace / "away").symlink_to("../out/f")
    (workspace / "dangling").symlink_to("nowhere")
    read, _ = denied(workspace, "Read(link)", "Read(./away)", "Read(dangling)")
    assert read == [str(workspace.parent / "out/f"), "secret/x"]
