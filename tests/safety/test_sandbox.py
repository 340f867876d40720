import asyncio
import os
import sys
from pathlib import Path

import pytest

from headrace.core.errors import ConfigError, Conflict, Forbidden, InvalidRequest
from headrace.safety.sandbox import sandbox as module
from headrace.safety.sandbox.output import Ran, shorten
from headrace.safety.sandbox.policy import Limits, SandboxPolicy
from headrace.safety.sandbox.probe import Probe, probe
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed
from support.sandbox_world import SECRET, World, git, is_running

USEFUL = {
    "files": "echo ok > file.txt && mkdir -p src && cat file.txt",
    "commit": "echo a > a && git add a && git commit -qm n && git log -1 | grep -q n && echo ok",
    "pool": (
        "/usr/bin/python3 -c 'import multiprocessing as m;"
        ' m.get_context("fork").Pool(2).map(abs, [1]); print("ok")\''
    ),
    "temporary": "/usr/bin/python3 -c 'import tempfile; tempfile.mkdtemp(); print(\"ok\")'",
    "loop": "/usr/bin/python3 -c 'import asyncio; print(asyncio.run(asyncio.sleep(0, \"ok\")))'",
    "here document": "cat <<X\nok\nX",
    "local server": (
        '/usr/bin/python3 -c \'import socket; s=socket.create_server(("127.0.0.1",0));'
        'socket.create_connection(s.getsockname()); print("ok")\''
    ),
    "compiler": "printf 'int main(){return 0;}' > m.c && gcc m.c -o m && ./m && echo ok",
}


@pytest.mark.parametrize("name", USEFUL)
async def test_useful_commands_work(world: World, name: str):
    (world.home / ".gitconfig").write_text('[user]\n\tname = A "B"\n\temail = a@b\n')
    ran = await world.held(USEFUL[name])
    assert (ran.status, ran.head.strip(), ran.blocked) == (0, b"ok", ()), ran


MADE = ("a/kept", "new/kept", "new/secret")


async def test_a_commit_bears_the_users_name(world: World):
    config = '[user]\n\tname = A \\"B\\" C\n\temail = a@b\n[x]\ny = z\n'
    (world.home / ".gitconfig").write_text(config)
    ran = await world.held(
        "git commit --allow-empty -qm x; git log -1 --format='%an %ae'; git config x.y"
    )
    assert ran.head == b'A "B" C a@b\n'


async def test_status_output_and_input(sandbox: Sandbox):
    ran = await sandbox.run("cat; echo err >&2; exit 3", stdin=b"in\n")
    assert (ran.status, ran.head, ran.bytes_total) == (3, b"in\nerr\n", 7)
    assert ran.path_of_rest is None
    ran = await sandbox.run("kill -9 $$")
    assert ran.status == 137
    assert ran.killed_by is None
    ran = await sandbox.run("true", stdin=b"x" * 1_000_000)
    assert ran.status == 0


async def test_output_is_told_while_it_comes(sandbox: Sandbox):
    told: list[bytes] = []
    ran = await sandbox.run("echo a; sleep 0.1; echo b", on_output=told.append)
    assert told == [b"a\n", b"b\n"]
    assert ran.head == b"a\nb\n"


async def test_a_megabyte_of_output_is_kept_whole_and_shown_short(sandbox: Sandbox):
    ran = await sandbox.run("seq 150000")
    assert ran.bytes_total == sum(len(str(each)) + 1 for each in range(1, 150_001))
    assert ran.path_of_rest is not None
    assert ran.path_of_rest.stat().st_mode & 0o777 == 0o600
    assert ran.path_of_rest.read_text().splitlines() == [str(each) for each in range(1, 150_001)]
    text = shorten(ran)
    assert len(text) <= 2_300
    assert text.startswith("1\n2\n")
    assert text.endswith("149999\n150000\n")
    assert str(ran.path_of_rest) in text


async def test_earlier_output_can_be_read_by_later_commands(world: World):
    if os.geteuid() == 0 and world.ws.stat().st_uid != 0:
        pytest.skip("somebody else does not enter our folders")
    sandbox = world.sandbox()
    first = await sandbox.run("seq 10000")
    ran = await sandbox.run(f"tail -1 {first.path_of_rest}; echo x >> {first.path_of_rest}")
    assert ran.head.startswith(b"10000\n")
    assert ran.status == 1
    await sandbox.close()


@pytest.mark.parametrize("count", [0, 1, 2_299, 2_300, 2_301, 40_000])
def test_shortened_text_fits(count: int):
    text = "é" * count
    data = text.encode()
    ran = Ran(status=0, head=data[:16_384], tail=data[16_384:][-16_384:], bytes_total=len(data))
    short = shorten(ran)
    assert len(short) <= 2_300
    assert (short == text) is (count <= 2_300)


async def test_endless_output_fills_no_disk(world: World):
    limits = Limits(output_bytes_max=100_000)
    ran = await world.held("yes | head -c 3000000", limits=limits)
    assert ran.bytes_total == 3_000_000
    assert ran.path_of_rest is not None
    assert ran.path_of_rest.stat().st_size == 100_000


async def test_being_cancelled_kills(world: World):
    sandbox = world.sandbox()
    task = asyncio.create_task(sandbox.run("echo x > began; sleep 20; echo y > ended"))
    while not (world.ws / "began").exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await sandbox.run("ps ax | grep -c '[s]leep 20'")).head == b"0\n"
    await sandbox.close()


async def test_a_command_in_the_background(sandbox: Sandbox):
    background = await sandbox.start("while read x; do echo got $x; done; echo bye; exit 4")
    await background.write(b"one\n")
    seen = b""
    while b"got one" not in seen:
        await asyncio.sleep(0.01)
        seen += background.read_new()
    assert background.status is None
    other = await sandbox.run("echo beside")
    assert other.head == b"beside\n"
    await background.write(b"", last=True)
    ran = await background.wait()
    assert (ran.status, background.status) == (4, 4)
    assert background.read_new().endswith(b"bye\n")
    with pytest.raises(Conflict):
        await background.write(b"more")


async def test_a_background_command_is_stopped(sandbox: Sandbox):
    background = await sandbox.start("yes; sleep 100")
    await asyncio.sleep(0.2)
    ran = await background.stop()
    assert (ran.killed_by, background.status) == ("stopped", 137)
    assert len(background.read_new()) < 17_000
    limited = await sandbox.start("sleep 100", timeout_s=0.1)
    assert (await limited.wait()).killed_by == "timeout"


async def test_what_a_background_command_makes_is_never_trusted(world: World):
    sandbox = world.sandbox()
    background = await sandbox.start("mkdir .idea; echo x > .idea/x; echo made; sleep 20")
    while b"made" not in background.read_new():
        await asyncio.sleep(0.01)
    ran = await sandbox.run("true")
    assert not (world.ws / ".idea").exists()
    assert "made .idea" in ran.blocked[0]
    await sandbox.close()


async def test_what_a_command_made_lies_in_quarantine(world: World):
    ran = await world.held("mkdir -p a/.vscode; echo x > a/.vscode/tasks.json; git init -q new")
    assert [line.split(",")[0] for line in ran.blocked] == ["made a/.vscode", "made new/.git"]
    shelf = world.state / "quarantine"
    assert (shelf / "1/.vscode/tasks.json").read_text() == "x\n"
    assert (shelf / "2/.git/HEAD").exists()
    assert (world.ws / "a").is_dir()


async def test_what_the_user_has_stays_usable(world: World):
    (world.ws / "sub/.vscode").mkdir(parents=True)
    (world.ws / "sub/.vscode/x").write_text("mine")
    git("init", "-q", world.ws / "nested")
    ran = await world.held("cat sub/.vscode/x; mv sub moved")
    assert ran.blocked == ()
    assert (world.ws / "moved/.vscode/x").read_text() == "mine"
    assert (world.ws / "nested/.git").is_dir()
    ran = await world.held("echo x > moved/.vscode/x")
    assert "moved/.vscode is protected" in ran.blocked[0]


async def test_what_takes_the_place_of_the_users_is_not_trusted(world: World):
    (world.ws / "sub/.vscode").mkdir(parents=True)
    (world.ws / "sub/.vscode/x").write_text("mine")
    git("init", "-q", world.ws / "nested")
    ran = await world.held(
        "mv sub moved; mkdir -p sub/.vscode; echo evil > sub/.vscode/tasks.json;"
        " mv nested n; git init -q nested; git -C nested config core.fsmonitor evil"
    )
    assert [line.split(",")[0] for line in ran.blocked] == ["made nested/.git", "made sub/.vscode"]
    assert not (world.ws / "sub/.vscode").exists()
    assert not (world.ws / "nested/.git").exists()
    assert (world.ws / "moved/.vscode/x").read_text() == "mine"
    assert (world.ws / "n/.git").is_dir()


async def test_what_the_user_saves_meanwhile_stays(world: World):
    (world.ws / ".mcp.json").write_text("before")
    sandbox = world.sandbox()
    background = await sandbox.start("echo began; read x")
    while b"began" not in background.read_new():
        await asyncio.sleep(0.01)
    (world.ws / "new").write_text("after")
    (world.ws / "new").rename(world.ws / ".mcp.json")
    await background.write(b"", last=True)
    assert (await background.wait()).blocked == ()
    assert (world.ws / ".mcp.json").read_text() == "after"
    await sandbox.close()


async def test_git_says_what_it_may_not(world: World):
    ran = await world.held("git config a.b c")
    assert ran.status != 0
    assert ran.blocked == (
        ".git/config is protected, since other programs act on it; change it yourself",
    )


REFUSED = {
    "echo x > /etc/x": "/etc/x is read-only here",
    "cat $HOME/.ssh/id_ed25519": "the home folder is empty here",
    "curl -sS http://example.org": "the network is off",
    "cat .env": ".env is hidden from commands",
    "/usr/bin/python3 -c 'import socket; socket.socket(1)'": "sandbox.network.allowAllUnixSockets",
    "unshare -U true": "refused a system call",
}


@pytest.mark.parametrize("command", REFUSED)
async def test_a_refusal_says_what_and_how_to_allow_it(world: World, command: str):
    (world.ws / ".env").write_text(SECRET)
    ran = await world.held(command)
    assert ran.status != 0
    assert [REFUSED[command] in line for line in ran.blocked] == [True], ran
    assert all("\n" not in line for line in ran.blocked)


async def test_what_works_is_not_commented(world: World):
    ran = await world.held("echo 'Read-only file system'; echo 'could not resolve host'")
    assert ran.blocked == ()


async def test_what_the_policy_shows_is_there(world: World):
    for name in ("docs", "more"):
        (world.base / name).mkdir()
        (world.base / name / "f").write_text(name)
    os.chown(world.base / "more", world.ws.stat().st_uid, -1)
    (world.ws / ".env").write_text(SECRET)
    ran = await world.held(
        "cat .env $BASE/docs/f $BASE/more/f; echo x > $BASE/more/g; echo x > $BASE/docs/g",
        read_roots=(world.base / "docs",),
        write_roots=(world.base / "more",),
        secrets_shown=True,
    )
    assert ran.head.startswith(f"{SECRET}docsmore".encode())
    assert (world.base / "more/g").exists()
    assert not (world.base / "docs/g").exists()


async def test_what_deny_rules_name_is_shut(world: World):
    for name in ("a/hidden", "a/kept", "folder/x/y", "held/x"):
        (world.ws / name).parent.mkdir(parents=True, exist_ok=True)
        (world.ws / name).write_text(SECRET)
    (world.ws / "link").symlink_to("a")
    sandbox = world.sandbox(
        hidden_paths=tuple(
            f"{world.ws}/{each}" for each in ("link/hidden", "folder", "folder/x", "new/secret")
        ),
        kept_paths=tuple(f"{world.ws}/{each}" for each in ("a/kept", "held", "new/kept")),
    )
    ran = await sandbox.run("cat a/hidden || mv a b; ls folder; cat folder/x/y; cat b/hidden")
    assert SECRET.encode() not in ran.head
    assert ran.blocked == ("link/hidden is shut to commands by a deny rule",)
    ran = await sandbox.run("cat b/hidden; echo x > b/kept")
    assert SECRET.encode() not in ran.head
    assert ran.status != 0
    ran = await sandbox.run("mv b a; cat a/kept; echo x > a/kept")
    assert ran.head.startswith(SECRET.encode())
    assert ran.blocked == ("a/kept is shut to commands by a deny rule",)
    ran = await sandbox.run(
        "cat held/x; echo x > held/y; echo x > held/x; echo x > folder/z; echo x > a/hidden;"
        " chmod 700 folder; rm a/hidden a/kept; ln a/hidden h; mkdir new; echo x > new/kept;"
        " echo x > new/secret; mv a b; mkdir a; echo x > a/kept"
    )
    made = [line.partition(": moved to")[0] for line in ran.blocked[:3]]
    assert made == [f"made {each}, which a deny rule names" for each in MADE], ran
    assert [(world.ws / each).exists() for each in ("h", *MADE)] == [False] * 4
    assert (world.ws / "b/kept").read_text() == (world.ws / "b/hidden").read_text() == SECRET
    assert (world.ws / "held/x").read_text() == (world.ws / "folder/x/y").read_text() == SECRET
    assert sorted(os.listdir(world.ws / "held")) == ["x"]  # noqa: PTH208 - names only
    await sandbox.close()


async def test_what_is_hidden_may_lie_anywhere(world: World):
    (world.base / "docs").mkdir()
    (world.base / "docs/x").write_text(SECRET)
    paths = (f"{world.base}/docs/x", "/etc/hostname", f"{world.home}/.ssh", "/none/there")
    ran = await world.held(
        f"cat {world.base}/docs/x; cat /etc/hostname; true",
        read_roots=(world.base / "docs",),
        hidden_paths=paths,
    )
    assert ran.status == 0
    assert ran.head.count(b"Permission denied") == 2


async def test_sockets_in_files_on_request(world: World):
    command = "/usr/bin/python3 -c 'import socket; socket.socket(1).bind(\"s\")'"
    assert (await world.held(command, unix_sockets=True)).status == 0


async def test_a_worktree_can_commit(world: World):
    tree = world.base / "tree"
    git("-C", world.ws, "worktree", "add", "-q", tree)
    own = world.ws.stat()
    for folder, _, files in os.walk(world.base):
        if folder.startswith((str(tree), str(world.ws))):
            for name in (folder, *(f"{folder}/{each}" for each in files)):
                os.chown(name, own.st_uid, own.st_gid)
    ran = await world.held(
        "git -c user.name=a -c user.email=a@a commit --allow-empty -qm x && git config a.b c",
        workspace=tree,
    )
    assert b"could not" in ran.head
    assert git("-C", tree, "log", "--format=%s").startswith("x\n")


async def test_a_pointer_to_somebody_elses_git_is_not_followed(world: World):
    other = world.home / "other"
    git("init", "-q", other)
    tree = world.base / "tree"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {other}/.git\n")
    ran = await world.held(f"ls {other}/.git", workspace=tree)
    assert ran.status != 0


async def test_a_folder_that_passes_for_a_git_directory_is_not_followed(world: World):
    """As a command in one project could make it, for the `.git` of another to point to."""
    tree, project = world.base / "tree", world.base / "project"
    tree.mkdir()
    for where in (project, world.ws / ".git"):
        own = where / "worktrees/x"
        own.mkdir(parents=True)
        (own / "gitdir").write_text(f"{tree}/.git\n")
        (own / "commondir").write_text("../..\n")
        (tree / ".git").write_text(f"gitdir: {own}\n")
        os.chown(where, tree.stat().st_uid, -1)
        ran = await world.held(f"ls {where}; echo x > {where}/x", workspace=tree)
        assert ran.status != 0
        assert not (where / "x").exists()


async def test_git_is_not_taken_from_the_workspace(world: World, monkeypatch: pytest.MonkeyPatch):
    path = world.ws / "bin/git"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ntouch {world.out}/pwn\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    await world.held("true")
    assert not (world.out / "pwn").exists()


async def test_toolchains_are_shown_without_what_lies_beside_them(world: World):
    shown = [".local/share/uv/python", ".local/share/uv/tools", "go/pkg", ".dotnet/sdk"]
    kept_back = [".local/share/uv/credentials", "go/src", ".dotnet/corefx"]
    for name in (*shown, *kept_back):
        (world.home / name).mkdir(parents=True)
        (world.home / name / "x").write_text(name)
    for folder, _, _ in os.walk(world.home):
        os.chmod(folder, 0o755)  # noqa: PTH101 - text is at hand
    files = " ".join(f"$HOME/{name}/x" for name in (*shown, *kept_back))
    ran = await world.held(f"cat {files} 2>/dev/null")
    assert ran.head == "".join(shown).encode()


@pytest.mark.parametrize("folder", ["$HOME", "$BASE", "/", "/etc", "/proc/self"])
def test_no_sandbox_is_drawn_around_more_than_a_project(world: World, folder: str):
    with pytest.raises(ConfigError, match="more than a project"):
        world.sandbox(workspace=Path(world.fill(folder)))


def test_the_state_lies_outside(world: World):
    with pytest.raises(ConfigError, match="lies in the workspace"):
        world.sandbox(state_folder=world.ws / "state")


@pytest.mark.parametrize("command", ["", "  ", "a\0b", "a\ud800", "x" * 200_000])
async def test_what_is_no_command_is_told_so(sandbox: Sandbox, command: str):
    with pytest.raises(InvalidRequest):
        await sandbox.run(command)


async def test_where_a_command_may_start(world: World, sandbox: Sandbox):
    (world.ws / "a").mkdir()
    (world.ws / "out").symlink_to(world.out)
    assert (await sandbox.run("pwd", cwd=Path("a"))).head == f"{world.ws}/a\n".encode()
    for folder in (world.out, Path("out"), Path("..")):
        with pytest.raises(Forbidden):
            await sandbox.run("pwd", cwd=folder)
    with pytest.raises(InvalidRequest):
        await sandbox.run("pwd", cwd=Path("none"))


async def test_without_a_sandbox_nothing_runs(world: World, monkeypatch: pytest.MonkeyPatch):
    sandbox = world.sandbox()
    monkeypatch.setattr(module, "probe", lambda: Probe("none", "there is no bubblewrap here"))
    with pytest.raises(Conflict, match="there is no bubblewrap here"):
        await sandbox.run("touch ran")
    assert not (world.ws / "ran").exists()


async def test_unsandboxed_each_command_needs_a_yes(world: World):
    asked: list[str] = []

    def approved(command: str) -> bool:
        asked.append(command)
        return command == "echo yes"

    bare = Unsandboxed(SandboxPolicy(workspace=world.ws, state_folder=world.state), approved)
    assert (await bare.run("echo yes")).head == b"yes\n"
    for use in (bare.run, bare.start):
        with pytest.raises(Forbidden, match="nobody allowed"):
            await use("echo no")
    assert asked == ["echo yes", "echo no", "echo no"]
    await bare.close()


async def test_unsandboxed_ends_all_that_it_started(world: World):
    bare = Unsandboxed(SandboxPolicy(workspace=world.ws, state_folder=world.state), lambda _: True)
    ran = await bare.run("sleep 34567 & sleep 34567", timeout_s=0.3)
    assert ran.killed_by == "timeout"
    assert not is_running("sleep 34567")
    await bare.close()


async def test_a_sandbox_in_a_sandbox_is_refused(world: World):
    source = str(Path(module.__file__).parents[3])
    code = (
        "import sys; sys.path[:0] = sys.argv[1:];"
        " from headrace.safety.sandbox.probe import probe; print(probe())"
    )
    paths = [path for path in sys.path if path.endswith("site-packages")]
    if os.geteuid() == 0 and world.ws.stat().st_uid != 0:
        pytest.skip("somebody else does not read our packages")
    python = os.path.realpath(sys.executable)  # noqa: ASYNC240 - a test
    ran = await world.held(
        f"{python} -c '{code}' {source} {' '.join(paths)}",
        read_roots=(Path(source), *map(Path, paths)),
    )
    assert b"kind='none'" in ran.head, ran


def test_the_probe_names_what_it_found():
    found = probe()
    assert found.ok is (found.program is not None)
    assert found.why


async def test_what_deny_rules_name_is_shut_also_where_it_appears_later(world: World):
    def denies(path: str) -> bool | None:
        name = path.rpartition("/")[2]
        return {"later.pem": True, "fixed.lock": False}.get(name)

    policy = SandboxPolicy(workspace=world.ws, state_folder=world.state, denies=denies)
    sandbox = Sandbox(policy)
    made = await sandbox.run("mkdir -p d; echo key > d/later.pem; echo 1 > d/fixed.lock")
    assert (made.status, made.blocked) == (0, ())
    ran = await sandbox.run("cat d/later.pem; cat d/fixed.lock; echo 2 > d/fixed.lock")
    assert b"key" not in ran.head
    assert b"1" in ran.head
    ran = await sandbox.run("mv d e; cat e/later.pem")
    assert b"key" not in (ran.head + (await sandbox.run("cat e/later.pem")).head)
    assert (world.ws / "e/fixed.lock").read_text() == "1\n"
    await sandbox.close()
