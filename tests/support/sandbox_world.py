"""A throw-away world for the sandbox: a workspace, a folder outside, a home with a secret."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.safety.sandbox.output import Ran
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed

SECRET = "CANARY-5f0c7d"


class World:
    """`ws` is a git repository with one commit; `home` holds `.ssh/id_ed25519` with the secret."""

    def __init__(self, base: Path) -> None:
        self.base, self.ws, self.out, self.home = base, base / "ws", base / "out", base / "home"
        self.state = base / "state"
        for each in (self.ws, self.out, self.home / ".ssh"):
            each.mkdir(parents=True)
        (self.home / ".ssh/id_ed25519").write_text(SECRET)
        (self.home / ".bashrc").write_text("# mine\n")
        (self.ws / "README.md").write_text("hello\n")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@a", "-C", self.ws]
        subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "first"], check=True)

    def fill(self, text: str) -> str:
        for word in ("ws", "out", "home", "base"):
            text = text.replace(f"${word.upper()}", str(getattr(self, word)))
        return text

    def sandbox(self, **policy: object) -> Sandbox:
        made = {"workspace": self.ws, "state_folder": self.state, **policy}
        return Sandbox(SandboxPolicy(**made))  # pyright: ignore[reportArgumentType] - a table

    async def held(self, command: str, timeout_s: float = 20, **policy: object) -> Ran:
        sandbox = self.sandbox(**policy)
        try:
            return await sandbox.run(self.fill(command), timeout_s=timeout_s)
        finally:
            await sandbox.close()

    async def bare(self, command: str, timeout_s: float = 20) -> Ran:
        policy = SandboxPolicy(workspace=self.ws, state_folder=self.state)
        sandbox = Unsandboxed(policy, lambda _: True)
        try:
            return await sandbox.run(self.fill(command), timeout_s=timeout_s)
        finally:
            await sandbox.close()


def git(*words: str | Path) -> str:
    """Git on the host, in whoever's repository."""
    command = ["git", "-c", "safe.directory=*", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def is_running(mark: str) -> bool:
    """Whether a process has these words in its command line."""
    done = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True)
    return mark in done.stdout


def need_sandbox() -> None:
    found = probe()
    if not found.ok:
        if os.environ.get("CI"):
            pytest.fail(found.why)
        pytest.skip(found.why)


@pytest.fixture(params=["as we are", "as the workspace's owner"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Once as ourselves; once, if we are root, in a workspace of somebody without any rights."""
    need_sandbox()
    dropped = request.param != "as we are"
    if dropped and os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    # Not pytest's folder: another user must be able to enter it.
    base = Path(tempfile.mkdtemp(prefix="headrace-world-"))
    base.chmod(0o755)
    try:
        monkeypatch.setenv("HOME", str(base / "home"))
        monkeypatch.setenv("HEADRACE_API_KEY", SECRET)
        made = World(base)
        if dropped:
            nobody = pwd.getpwnam("nobody")
            for folder, _, files in os.walk(made.ws):
                for name in (folder, *(f"{folder}/{each}" for each in files)):
                    os.chown(name, nobody.pw_uid, nobody.pw_gid)
        yield made
    finally:
        shutil.rmtree(base)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[Sandbox]:
    """A sandbox with the default policy."""
    made = world.sandbox()
    yield made
    await made.close()
