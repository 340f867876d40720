import errno
import itertools
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.core.errors import Forbidden, InvalidRequest, NotFound, TooLarge
from headrace.safety import beneath
from headrace.safety.files import Found, Workspace
from headrace.safety.protected import is_secret, protected_part

FDS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


@pytest.fixture(params=["at_once", "step_by_step"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with the kernel's own way, and with that of other systems."""
    root = tmp_path / "ws"
    root.mkdir()
    (tmp_path / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "step_by_step":
            patch.setattr(beneath, "way", lambda: beneath.step_by_step)
        made = Workspace(root)
        yield made
        made.close()


def test_the_kernels_own_way_is_taken_on_linux():
    if os.uname().sysname == "Linux":
        assert beneath.way() is beneath.at_once


def test_what_is_written_is_read(workspace: Workspace):
    workspace.write("a/b/c.txt", b"one")
    assert workspace.read("a/b/c.txt") == b"one"
    assert workspace.read(f"{workspace.root}/a/b/c.txt") == b"one"
    assert workspace.read("a/./x/../b/c.txt") == b"one"
    workspace.write("a/b/c.txt", b"")
    assert workspace.read("a/b/c.txt") == b""
    assert names(workspace.root / "a/b") == ["c.txt"]


def test_a_file_keeps_its_mode_and_a_new_one_gets_one(workspace: Workspace):
    script = workspace.root / "run.sh"
    script.write_bytes(b"x")
    script.chmod(0o751)
    workspace.write("run.sh", b"y")
    assert stat.S_IMODE(script.stat().st_mode) == 0o751
    workspace.write("new.sh", b"y", mode=0o700)
    assert stat.S_IMODE((workspace.root / "new.sh").stat().st_mode) == 0o700
    script.chmod(0o4755)
    workspace.write("run.sh", b"z")
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_root_edits_stays_its_owners(workspace: Workspace):
    file = workspace.root / "theirs"
    file.write_bytes(b"x")
    os.chown(file, 65534, 65534)
    workspace.write("theirs", b"y")
    assert file.stat().st_uid == 65534


def test_a_hard_link_is_replaced_not_followed(workspace: Workspace):
    outside = workspace.root.parent / "out/file"
    outside.write_bytes(b"mine")
    os.link(outside, workspace.root / "x")
    workspace.write("x", b"pwn")
    assert outside.read_bytes() == b"mine"
    assert workspace.read("x") == b"pwn"


@pytest.mark.parametrize(
    "path",
    ["../out/pwn", "/etc/pwn", "{root}-evil/pwn", "{root}/../out/pwn", "a/../../out/pwn", ".."],
)
def test_nothing_outside_is_touched(workspace: Workspace, path: str):
    evil = Path(f"{workspace.root}-evil")
    evil.mkdir()
    with pytest.raises(Forbidden, match="outside the workspace"):
        workspace.write(path.format(root=workspace.root), b"pwn")
    assert not names(evil)
    assert not names(workspace.root.parent / "out")


def test_a_link_is_named_with_where_it_points(workspace: Workspace):
    out = workspace.root.parent / "out"
    (out / "secret").write_bytes(b"secret")
    (workspace.root / "l").symlink_to(out)
    (workspace.root / "f").symlink_to(out / "secret")
    (workspace.root / "dangling").symlink_to(out / "new")
    for path in ("l/pwn", "f", "dangling"):
        with pytest.raises(Forbidden, match="link"):
            workspace.write(path, b"pwn")
    for path in ("l/secret", "f"):
        with pytest.raises(Forbidden, match=f"the link {path[0]} → {out}"):
            workspace.read(path)
    assert names(out) == ["secret"]
    assert (out / "secret").read_bytes() == b"secret"
    assert workspace.stat("f").kind == "link"
    workspace.delete("f")
    assert (out / "secret").exists()


def test_a_link_that_stays_inside_is_not_followed_either(workspace: Workspace):
    workspace.write("a", b"x")
    (workspace.root / "b").symlink_to("a")
    with pytest.raises(Forbidden) as caught:
        workspace.read("b")
    assert caught.value.hint == "name the file itself"


def test_no_race_of_links_leads_out(workspace: Workspace):
    root, out = workspace.root, workspace.root.parent / "out"
    (root / "real").mkdir()
    (root / "r").symlink_to(out)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for target in (out, root / "real"):
                (root / "tmp").symlink_to(target)
                (root / "tmp").rename(root / "r")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            with pytest.raises(Forbidden):
                workspace.write("r/pwn", b"pwn")
    finally:
        ended.set()
        swapper.join()
    assert not names(out)


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/post-checkout",
        ".GIT/config",
        ".git",
        "sub/.git/config",
        ".Headrace/Settings.JSON",
        ".claude/settings.json",
        "sub/.VSCode/tasks.json",
        ".mcp.json",
        ".env\u200brc",
        ".g\u200cit/config",
        "GIT~1/config",
        ".husky/pre-commit",
        ".devcontainer.json",
        ".devcontainer/devcontainer.json",
        ".pre-commit-config.yaml",
        ".Envrc",
        ".\uff47it/config",
        ".idea./x",
    ],
)
def test_protected_names_are_not_written(workspace: Workspace, path: str):
    with pytest.raises(Forbidden, match="protected"):
        workspace.write(path, b"x")
    with pytest.raises(Forbidden, match="protected"):
        workspace.delete(path)
    assert not names(workspace.root)


GIT_PARTS = ["HEAD", "objects/a", "refs/heads/a", "config"]


def obeys(folder: Path, ran: Path) -> bool:
    subprocess.run(["git", "status"], cwd=folder, capture_output=True, check=False)
    return ran.exists()


def test_a_git_directory_made_by_hand_is_one_to_git(tmp_path: Path):
    for name in GIT_PARTS:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(git_part(name, tmp_path / "ran"))
    assert obeys(tmp_path / "x", tmp_path / "ran")


def git_part(name: str, ran: Path) -> bytes:
    settings = "[core]\nrepositoryformatversion = 0\nbare = false\nworktree = .\n"
    settings += f'fsmonitor = "touch {ran}; false"\n'
    return {"HEAD": b"ref: refs/heads/main\n", "config": settings.encode()}.get(name, b"")


@pytest.mark.parametrize("order", list(itertools.permutations(GIT_PARTS)))
@pytest.mark.parametrize("folder", ["x/", ""])
def test_no_git_directory_is_made_by_hand(
    workspace: Workspace, order: tuple[str, ...], folder: str
):
    ran = workspace.root.parent / "ran"
    refused = 0
    for name in order:
        try:
            workspace.write(folder + name, git_part(name, ran))
        except Forbidden:
            refused += 1
    assert refused
    assert not obeys(workspace.root / folder, ran)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (("head", "Objects/x", "REFS/x"), "Config"),
        (("HEAD", "objects/x"), "Refs/x"),
        (("objects/x", "refs/x"), "h\u200bead"),
        (("HEAD",), "commondir"),
        (("commondir",), "HEAD"),
        (("HEAD", "objects/x", "refs/x"), "hooks/post-checkout"),
        (("HEAD", "objects/x", "refs/x"), "info/attributes"),
        (("HEAD", "objects/x", "refs/x"), "modules/a/config"),
    ],
)
def test_git_directories_are_protected_whatever_their_names(
    workspace: Workspace, there: tuple[str, ...], wanted: str
):
    for name in there:
        (workspace.root / "a/b" / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.root / "a/b" / name).write_text("x")
    with pytest.raises(Forbidden, match="git directory"):
        workspace.write(f"a/b/{wanted}", b"x")
    workspace.write("a/b/src/f.py", b"x")  # worktrees stand in bare repositories
    workspace.write("a/config", b"x")


def test_what_protected_links_lead_to_is_protected(workspace: Workspace):
    root = workspace.root
    for name in ("cfg/code/tasks.json", "tools/hook", "deep/real/x", "free/f"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / ".git/hooks").mkdir(parents=True)
    (root / "pkg/.claude").mkdir(parents=True)
    (root / ".vscode").symlink_to("cfg/code")
    (root / ".git/hooks/pre-commit").symlink_to("../../tools/hook")
    (root / "pkg/.claude/settings.json").symlink_to("../../cfg/new.json")
    (root / ".idea").symlink_to("step")
    (root / "step").symlink_to("by/real")
    (root / "by").symlink_to("deep")
    for path in (
        "cfg/code/tasks.json", "CFG/Code/more.json", "tools/hook", "cfg/new.json",
        "deep/real/x", "by/real/x", "step/x",
    ):  # fmt: skip
        with pytest.raises(Forbidden, match="leads there"):
            workspace.write(path, b"pwn")
    with pytest.raises(Forbidden):
        workspace.delete("step")
    for path in ("cfg/other", "tools/hooks", "free/f", "deep/f"):
        workspace.write(path, b"y")


def test_names_that_only_look_alike_are_free():
    for path in (".gitignore", ".gitattributes", ".github/x", "git/config", "a.vscode", "claude"):
        assert protected_part(path) is None


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800b", "x" * 300, "a/" * 3000, "a/" + "é" * 200])
def test_what_is_no_path_is_told_so(workspace: Workspace, path: str):
    for use in (workspace.read, workspace.relative, workspace.absolute, workspace.stat):
        with pytest.raises(InvalidRequest):
            use(path)
    with pytest.raises(InvalidRequest):
        workspace.write(path, b"x")


@pytest.mark.parametrize("path", ["~", "~/.zshenv", "~root/x"])
def test_a_tilde_is_not_expanded(workspace: Workspace, path: str):
    with pytest.raises(Forbidden, match="in full"):
        workspace.write(path, b"x")
    workspace.write("~backup", b"x")


def test_only_regular_files_are_read_and_written(workspace: Workspace):
    os.mkfifo(workspace.root / "pipe")
    (workspace.root / "folder").mkdir()
    for path in ("pipe", "folder", "."):
        with pytest.raises(InvalidRequest):
            workspace.read(path)
        with pytest.raises(InvalidRequest):
            workspace.write(path, b"x")
        with pytest.raises(InvalidRequest):
            workspace.delete(path)
    with pytest.raises(Forbidden):
        workspace.read("/proc/self/environ")
    workspace.write("a", b"")
    with pytest.raises(InvalidRequest, match="a part of the path is a file"):
        workspace.write("a/b", b"")


def test_a_large_file_is_not_read(workspace: Workspace):
    workspace.write("big", b"x" * 101)
    with pytest.raises(TooLarge, match="101 bytes"):
        workspace.read("big", 100)
    assert len(workspace.read("big", 101)) == 101
    with pytest.raises(NotFound):
        workspace.read("small")


def test_further_roots(tmp_path: Path):
    for name in ("ws", "more", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    made = Workspace(
        tmp_path / "ws", write_roots=[tmp_path / "more"], read_roots=[tmp_path / "docs"]
    )
    assert made.read(f"{tmp_path}/more/f") == b"more"
    assert made.read(f"{tmp_path}/docs/f") == b"docs"
    assert made.read("../docs/f") == b"docs"
    assert made.relative("../more/f") == f"{tmp_path}/more/f"
    assert made.relative(f"{tmp_path}/ws/f") == "f"
    made.write(f"{tmp_path}/more/f", b"new")
    with pytest.raises(Forbidden, match="only be read"):
        made.write(f"{tmp_path}/docs/f", b"new")
    made.close()


def test_a_root_named_through_a_link_is_known_by_both_names(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to("real")
    made = Workspace(tmp_path / "named")
    made.write(f"{tmp_path}/named/f", b"x")
    assert made.relative(f"{tmp_path}/named/f") == made.relative(f"{tmp_path}/real/f") == "f"
    made.close()


def test_a_walk_is_sorted_and_follows_no_link(workspace: Workspace):
    for path in ("b/c", "a", "skipped/x", "b/.x"):
        workspace.write(path, b"")
    subprocess.run(["git", "init", "-q", workspace.root], check=True)
    (workspace.root / "link").symlink_to("b")
    assert list(workspace.walk(skip=frozenset({"skipped"}))) == [
        Found(".git", is_folder=True),
        Found("a", is_folder=False),
        Found("b", is_folder=True),
        Found("b/.x", is_folder=False),
        Found("b/c", is_folder=False),
        Found("link", is_folder=False),
        Found("skipped", is_folder=True),
    ]
    assert [found.path for found in workspace.walk("b")] == [".x", "c"]
    with pytest.raises(Forbidden):
        list(workspace.walk("link"))


def test_a_failed_write_leaves_what_was_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    workspace.write("f", b"before")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        workspace.write("f", b"after")
    assert workspace.read("f") == b"before"
    assert names(workspace.root) == ["f"]


def test_descriptors_do_not_leak(workspace: Workspace):
    before = len(names(FDS))
    for _ in range(5):
        workspace.write("a/b", b"")
        workspace.read("a/b")
        list(workspace.walk())
        workspace.stat("a")
        for use in (workspace.read, workspace.delete, workspace.stat):
            with pytest.raises(NotFound):
                use("none/none")
    after = len(names(FDS))
    assert after == before


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (".env", True),
        ("a/.ENV", True),
        (".env.local", True),
        (".env.example", False),
        (".environment", False),
        ("key.pem", True),
        ("home/.ssh/config", True),
        ("id_ed25519", True),
        ("id_ed25519.pub", False),
        (".npmrc", True),
        ("environment.py", False),
    ],
)
def test_secrets_are_known_by_name(path: str, secret: bool):  # noqa: FBT001 - a table's column
    assert is_secret(path) is secret
