"""Ways out of a sandbox, a sample of each class. Each is shown to work where there is none."""

import asyncio
import contextlib
import os
import shlex
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.sandbox_world import SECRET, World, is_running

PYTHON = "/usr/bin/python3 -c"


def pwned(world: World) -> bool:
    return (world.out / "pwn").exists()


def rc_changed(world: World) -> bool:
    return (world.home / ".bashrc").read_text() != "# mine\n"


def has_new_home_file(world: World) -> bool:
    return {each.name for each in world.home.iterdir()} != {".bashrc", ".ssh"}


def git_runs(world: World) -> bool:
    """Whether git on the host runs what some git directory of the workspace names."""
    for folder, _, files in os.walk(world.ws):
        if "HEAD" in files:
            with contextlib.suppress(OSError):
                if "fsmonitor" in Path(folder, "config").read_text().lower():
                    return True
    return False


def exists(name: str) -> Callable[[World], bool]:
    return lambda world: os.path.lexists(world.ws / name)


def is_set_uid(world: World) -> bool:
    return bool((world.ws / "s").stat().st_mode & 0o4000)


WRITES: dict[str, tuple[str, Callable[[World], bool]]] = {
    "outside": ("echo pwn > $OUT/pwn", pwned),
    "link": ("ln -s $OUT l; echo pwn > l/pwn", pwned),
    "proc root": ("echo pwn > /proc/self/root$OUT/pwn", pwned),
    "proc cwd": ("echo pwn > /proc/self/cwd/../out/pwn", pwned),
    "hard link": ("ln $HOME/.bashrc x && echo pwn >> x", rc_changed),
    "shell rc": ("echo pwn >> $HOME/.bashrc", rc_changed),
    "home file": ("echo pwn > $HOME/.zshenv", has_new_home_file),
    "git global": ("git config --global core.pager evil", has_new_home_file),
    "nested": (
        "bwrap --bind / / --dev-bind /dev /dev sh -c 'echo pwn > $OUT/pwn'",
        pwned,
    ),
    "git config": ("git config core.fsmonitor evil", git_runs),
    "git config appended": ("printf '[core]\\nfsmonitor = evil\\n' >> .git/config", git_runs),
    "git renamed": (
        "mv .git g; cp -r g .git; printf '[core]\\nfsmonitor = evil\\n' >> .git/config",
        git_runs,
    ),
    "git copied": ("cp -r .git g; git --git-dir g config core.fsmonitor evil", git_runs),
    "git made": ("git init -q new; git -C new config core.fsmonitor evil", git_runs),
    "git bare": ("git init -q --bare b; git --git-dir b config core.fsmonitor evil", git_runs),
    "git here": (
        "git init -q --bare x; git --git-dir x config core.fsmonitor evil; mv x/* .",
        git_runs,
    ),
    "git common": ("mkdir -p a; cp -r .git/HEAD a; echo ../.git > a/commondir", exists("a/HEAD")),
    "git elsewhere": ("echo ../evil > .git/commondir", exists(".git/commondir")),
    "git hook": ("echo evil > .git/hooks/post-checkout", exists(".git/hooks/post-checkout")),
    "git worktree config": ("echo x > .git/config.worktree", exists(".git/config.worktree")),
    "editor": ("mkdir .vscode; echo x > .vscode/tasks.json", exists(".vscode")),
    "editor below": ("mkdir -p a/b/.idea; echo x > a/b/.idea/x", exists("a/b/.idea")),
    "editor renamed": ("mkdir v; echo x > v/tasks.json; mv v .vscode", exists(".vscode")),
    "editor linked": ("mkdir v; ln -s v .vscode", exists(".vscode")),
    "assistant": ("mkdir .headrace; echo x > .headrace/settings.json", exists(".headrace")),
    "assistant, other case": ("mkdir .Claude; echo x > .Claude/x", exists(".Claude")),
    "servers": ("echo x > .mcp.json", exists(".mcp.json")),
    "folder's shell": ("echo x > .envrc", exists(".envrc")),
    "set-uid": ("cp /bin/true s; chmod u+s s", is_set_uid),
}


@pytest.mark.parametrize("name", WRITES)
async def test_nothing_is_written_that_acts_outside(world: World, name: str):
    command, breached = WRITES[name]
    before = (world.ws / ".git/config").read_bytes()
    await world.held(command)
    assert not breached(world)
    assert (world.ws / ".git/config").read_bytes() == before
    assert (world.ws / "README.md").read_text() == "hello\n"


@pytest.mark.parametrize("name", [each for each in WRITES if each != "nested"])
async def test_the_same_writes_succeed_without_a_sandbox(world: World, name: str):
    command, breached = WRITES[name]
    for each in (world.ws, world.ws / ".git"):  # git does not work in somebody else's
        os.chown(each, os.geteuid(), -1)
    (world.ws / ".git/hooks").mkdir(exist_ok=True)
    await world.bare(command)
    assert breached(world)


READS = {
    "secret": "cat $HOME/.ssh/id_ed25519",
    "link": "ln -s $HOME/.ssh/id_ed25519 r; cat r",
    "proc root": "cat /proc/self/root$HOME/.ssh/id_ed25519",
    "another program": "git diff --no-index /dev/null $HOME/.ssh/id_ed25519",
    "our environment": "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep CANARY",
    "workspace secret": "cat .env",
    "linked protected folder": "cat .vscode/id_ed25519",
}


@pytest.mark.parametrize("name", READS)
async def test_no_secret_is_read(world: World, name: str):
    (world.ws / ".env").write_text(SECRET)
    (world.ws / ".vscode").symlink_to(world.home / ".ssh")
    ran = await world.held(READS[name])
    assert SECRET.encode() not in ran.head + ran.tail


@pytest.mark.parametrize("name", [each for each in READS if each != "our environment"])
async def test_the_same_reads_succeed_without_a_sandbox(world: World, name: str):
    (world.ws / ".env").write_text(SECRET)
    (world.ws / ".vscode").symlink_to(world.home / ".ssh")
    ran = await world.bare(READS[name])
    assert SECRET.encode() in ran.head


@contextlib.contextmanager
def listener(family: int, address: object) -> Generator[tuple[list[bool], int]]:
    hits: list[bool] = []
    server = socket.socket(family)
    server.bind(address)  # pyright: ignore[reportArgumentType] - a name, or host and port
    server.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()
                hits.append(True)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield hits, server.getsockname()[1] if family == socket.AF_INET else 0
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize("kind", ["tcp", "unix", "abstract"])
async def test_no_listener_outside_is_reached(world: World, kind: str):
    abstract = f"\0headrace-{os.getpid()}"
    path = str(world.ws / "s")
    where = {"tcp": ("127.0.0.1", 0), "unix": path, "abstract": abstract}[kind]
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    with listener(family, where) as (hits, port):
        target = repr(abstract if kind == "abstract" else path)
        if kind == "tcp":
            command = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        else:
            code = f"import socket; socket.socket(socket.AF_UNIX).connect({target})"
            command = f"{PYTHON} {shlex.quote(code)}"
        assert (await world.held(command)).status != 0
        assert not hits
        assert (await world.bare(command)).status == 0
        await asyncio.sleep(0.05)
        assert hits


async def test_no_name_leaves_by_a_resolver(world: World):
    ran = await world.held("getent hosts example.org || cat /etc/resolv.conf /proc/net/route")
    assert ran.status != 0 or b"example.org" not in ran.head
    # Without an interface but loopback there is no way for a query to leave.
    ran = await world.held("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
    assert ran.head.split() == [b"lo"]


CALLS = {
    "io_uring": "l.syscall(425, 4, b)",
    "unshare": "l.unshare(0x10000000)",
    "mount": "l.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "ptrace": "l.ptrace(0, 0, 0, 0)",
    "keyctl": "l.syscall(250, 0, -3, 1)",
    "bpf": "l.syscall(321, 0, b, 72)",
    "userfaultfd": "l.syscall(323, 1)",
    "perf": "l.syscall(298, b, 0, -1, -1, 0)",
    "clone into a namespace": "l.syscall(56, 0x10000011, 0, 0, 0, 0)",
    "device node": "l.mknod(b'n', 0o60644, 0x700)",
    "set-uid file made": "l.open(b's', 0o101, 0o4755)",
    "set-uid file by openat2": "l.syscall(437, -100, b's', q, 24)",
    "thirty-two bits": "l.syscall(0x40000000 + 39)",
    "netlink": "l.socket(16, 3, 0)",
    "terminal input": "l.ioctl(0, 0x5412, b'x')",
    "terminal input, high bits": "l.syscall(16, 0, 0x100005412, b'x')",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of one processor")
@pytest.mark.parametrize("name", CALLS)
async def test_a_system_call_is_refused(world: World, name: str):
    code = (
        "import ctypes, struct; l = ctypes.CDLL(None, use_errno=True);"
        " b = ctypes.create_string_buffer(256);"
        " q = struct.pack('QQQ', 0o101, 0o4755, 0);"
        f" r = {CALLS[name]}; print(r, ctypes.get_errno())"
    )
    ran = await world.held(f"{PYTHON} {shlex.quote(code)}")
    assert ran.head.split()[0] == b"-1", ran
    assert int(ran.head.split()[1]) in {1, 38, 97}, ran  # EPERM, ENOSYS, EAFNOSUPPORT


async def test_an_end_by_time_takes_all_with_it(world: World):
    mark = f"97531.{os.getpid()}"
    command = f"(setsid sleep {mark} &); sleep {mark}"
    ran = await world.held(command, timeout_s=0.5)
    assert (ran.killed_by, ran.status) == ("timeout", 137)
    for _ in range(100):
        if not is_running(mark):
            return
        await asyncio.sleep(0.05)
    pytest.fail("it still runs")


async def test_memory_files_and_processes_have_limits(world: World):
    ran = await world.held(f"{PYTHON} 'x = bytearray(6 * 10**9); print(1)'")
    assert ran.status != 0
    assert ran.blocked == ("one process may have 4096 MB of memory",)
    ran = await world.held("head -c 300000000 /dev/zero > big")
    assert (world.ws / "big").stat().st_size == 256 << 20
    assert ran.blocked == ("no file may grow beyond 256 MB",)
    ran = await world.held(":(){ :|:& };:; sleep 10")
    assert ran.killed_by == "processes" or b"fork" in ran.head


async def test_no_descriptor_of_ours_is_inherited(world: World):
    leak = os.open(world.out, os.O_RDONLY)
    os.set_inheritable(leak, True)  # noqa: FBT003 - a flag by its nature
    try:
        ran = await world.held("ls -l /proc/self/fd")
    finally:
        os.close(leak)
    assert str(world.out).encode() not in ran.head


WORDS = st.sampled_from(
    [
        *("touch", "mkdir -p", "rm -rf", "ln -sfn $OUT", "cp -r .git", "mv", "git init -q"),
        *(
            "$OUT/pwn",
            "$HOME/.bashrc",
            ".git",
            ".git/config",
            ".vscode",
            "a",
            "a/.git",
            "../out/pwn",
        ),
        *(";", "&&", "|", ">", ">>", "&", "echo x", "cat", "chmod -R 777", "$BASE", "."),
    ]
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(WORDS, min_size=2, max_size=9))
def test_no_random_command_reaches_out(world: World, words: list[str]):
    """What the user has outside, and what acts outside, is the same afterwards."""
    command = " ".join(words)
    config = (world.ws / ".git/config").read_bytes()
    asyncio.run(world.held(command, timeout_s=5))
    assert not list(world.out.iterdir())
    assert not rc_changed(world)
    assert not has_new_home_file(world)
    assert (world.home / ".ssh/id_ed25519").read_text() == SECRET
    assert (world.ws / ".git/config").read_bytes() == config
    assert not os.path.lexists(world.ws / ".vscode")
    assert not os.path.lexists(world.ws / "a/.git")
