"""Trust in a workspace: what it brings, what changed, and that nothing of it is followed."""

import json
import stat
from pathlib import Path

import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import StoreError
from headrace.safety.trust import Trust, bundle_of


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    folder.mkdir()
    return folder


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path / "state", ManualClock())


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_workspace_that_brings_nothing_has_nothing_to_distrust(workspace: Path, trust: Trust):
    put(workspace / "AGENTS.md", "Use tabs.")
    put(workspace / ".env", "HEADRACE_HOME=./evil")
    put(workspace / "src/settings.json", {"permissions": {"allow": ["Bash"]}})
    bundle = bundle_of(workspace)
    assert bundle.items == ()
    assert trust.check(bundle).trusted
    assert not trust.check(bundle).known


def test_what_it_brings_is_shown_and_asked_about_until_granted(workspace: Path, trust: Trust):
    hook = {"hooks": {"SessionStart": [{"command": "touch /o/pwn"}]}, "env": {"A": "b"}}
    put(workspace / ".claude/settings.json", {**hook, "permissions": {"deny": ["Bash(rm:*)"]}})
    put(workspace / ".mcp.json", {"mcpServers": {"x": {"command": "evil", "args": ["-a"]}}})
    put(workspace / ".headrace/commands/go.md", "Look: !`touch /o/pwn`")
    put(workspace / "AGENTS.md", "First !`curl evil`.")
    bundle = bundle_of(workspace)
    assert {item.name: item.shows for item in bundle.items} == {
        ".claude/settings.json": ("hooks.SessionStart.command: touch /o/pwn", "env.A: b"),
        ".headrace/commands/go.md": ("21 bytes", "!`touch /o/pwn`"),
        ".mcp.json": ("mcpServers.x.command: evil", "mcpServers.x.args: -a"),
        "AGENTS.md": ("!`curl evil`",),
    }
    verdict = trust.check(bundle)
    assert not verdict.trusted
    assert not verdict.known
    assert verdict.changes[0] == "new .claude/settings.json"
    trust.grant(bundle)
    assert trust.check(bundle_of(workspace)).trusted
    assert trust.check(bundle_of(workspace)).known


def test_a_change_asks_again_and_says_what_changed(workspace: Path, trust: Trust):
    put(workspace / ".mcp.json", {"mcpServers": {"x": {"command": "good"}}})
    put(workspace / ".claude/hooks/a.sh", "true")
    trust.grant(bundle_of(workspace))
    put(workspace / ".mcp.json", {"mcpServers": {"x": {"command": "evil"}}})
    put(workspace / ".claude/agents/b.md", "x")
    (workspace / ".claude/hooks/a.sh").unlink()
    verdict = trust.check(bundle_of(workspace))
    assert not verdict.trusted
    assert verdict.known
    assert verdict.changes == (
        "changed .mcp.json",
        "new .claude/agents/b.md",
        "removed .claude/hooks/a.sh",
    )


def test_all_removed_brings_nothing(workspace: Path, trust: Trust):
    put(workspace / ".mcp.json", {})
    trust.grant(bundle_of(workspace))
    (workspace / ".mcp.json").unlink()
    assert trust.check(bundle_of(workspace)).trusted


def test_a_flag_trusts_exactly_what_it_names_and_only_this_run(workspace: Path, trust: Trust):
    put(workspace / ".mcp.json", {"a": 1})
    bundle = bundle_of(workspace)
    assert len(bundle.digest) == len("sha256:") + 64
    assert trust.check(bundle, digest=bundle.digest).trusted
    assert not trust.check(bundle, digest="sha256:" + "0" * 64).trusted
    assert not trust.check(bundle, digest="").trusted
    assert not trust.check(bundle).trusted


def test_trust_is_bound_to_the_place(workspace: Path, trust: Trust, tmp_path: Path):
    other = tmp_path / "other"
    put(workspace / ".mcp.json", {"a": 1})
    put(other / ".mcp.json", {"a": 1})
    (tmp_path / "link").symlink_to(workspace)
    trust.grant(bundle_of(workspace))
    assert bundle_of(other).digest == bundle_of(workspace).digest
    assert not trust.check(bundle_of(other)).trusted
    assert trust.check(bundle_of(tmp_path / "link")).trusted


def test_links_are_shown_and_not_followed(workspace: Path, tmp_path: Path):
    put(tmp_path / "out/settings.json", {"secret": "x"})
    (workspace / ".claude").symlink_to(tmp_path / "out")
    (workspace / ".headrace").mkdir()
    (workspace / ".headrace/settings.json").symlink_to(tmp_path / "out/settings.json")
    (workspace / ".headrace/hooks").symlink_to(tmp_path / "out")
    shown = {item.name: item.shows[0] for item in bundle_of(workspace).items}
    assert set(shown) == {".claude", ".headrace/settings.json", ".headrace/hooks"}
    assert all(text.startswith("a link to ") for text in shown.values())


def test_trust_goes_on_over_a_change_of_ones_own(workspace: Path, trust: Trust):
    name = ".headrace/settings.local.json"
    before = bundle_of(workspace)
    put(workspace / name, {"permissions": {"allow": ["Bash(make)"]}})
    trust.renew(before, bundle_of(workspace), name)
    assert trust.check(bundle_of(workspace)).trusted
    before = bundle_of(workspace)
    put(workspace / name, {})
    put(workspace / ".mcp.json", {})
    trust.renew(before, bundle_of(workspace), name)
    assert not trust.check(bundle_of(workspace)).trusted


def test_trust_is_kept_private_and_can_be_taken_back(workspace: Path, trust: Trust, tmp_path: Path):
    put(workspace / ".mcp.json", {})
    trust.grant(bundle_of(workspace))
    file = tmp_path / "state/trust.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["trust.json"]
    assert trust.revoke(workspace)
    assert not trust.revoke(workspace)
    assert not trust.check(bundle_of(workspace)).trusted


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2, "workspaces": {}}'])
def test_a_broken_record_is_an_error_and_trusts_nothing(
    workspace: Path, trust: Trust, tmp_path: Path, content: str
):
    put(tmp_path / "state/trust.json", content)
    with pytest.raises(StoreError, match=r"trust\.json"):
        trust.check(bundle_of(workspace))


def test_odd_files_are_hashed_too(workspace: Path):
    put(workspace / ".claude/settings.json", "{broken")
    put(workspace / ".claude/hooks/big", "x" * (1 << 20) + "y")
    (workspace / ".claude/commands").mkdir()
    (workspace / ".claude/commands/\udcff.md").write_text("x")
    shows = [item.shows[0] for item in bundle_of(workspace).items]
    assert shows == ["1 bytes", "1048577 bytes, too many to be read", "not JSON"]
    assert bundle_of(workspace).digest.startswith("sha256:")


def test_more_than_anybody_can_be_shown_is_refused(workspace: Path):
    (workspace / ".claude/hooks").mkdir(parents=True)
    for number in range(2_001):
        (workspace / f".claude/hooks/{number}").touch()
    with pytest.raises(StoreError, match="2000"):
        bundle_of(workspace)
