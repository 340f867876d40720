"""Canaries: harmless tries to get out of a sandbox, run live by `headrace doctor`."""

import os
import socket
import tempfile
from pathlib import Path

from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.sandbox import Sandbox

_MARK = "canary-of-headrace-doctor"
_WAIT_S = 20
_TRIES_OF_FILES = ("write outside the workspace",)
# Each succeeds only where the sandbox does not hold, and harms nothing even then.
_TRIES = {
    "write outside the workspace": "echo x > {base}/outside; false",  # its file is looked for
    "read another folder": "grep -q . {base}/other",
    "become root": "unshare --user --map-root-user true",
    "see a process outside": "grep -aqs . /proc/{pid}/cmdline",
    "reach a port of this machine": "exec 3<>/dev/tcp/127.0.0.1/{port}",
    "change the git configuration": "echo '[a]' >> .git/config",
    "add a git hook": "echo x > .git/hooks/post-checkout",
    "rename the git directory": "mv .git g",
    "make a set-uid file": "touch s && chmod u+s s",
    "open a setting of the kernel": ": >> /proc/sys/kernel/core_pattern",
}


async def escapes() -> tuple[str, ...]:
    """What a command in a sandbox could do after all; empty where the sandbox holds.

    Raises:
        Conflict: There is no sandbox.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-doctor-") as name:
        base = _ground(name)
        sandbox = Sandbox(SandboxPolicy(workspace=base / "work", state_folder=base / "state"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            words = {"base": base, "pid": os.getpid(), "port": listener.getsockname()[1]}
            lines = [
                f"( {attempt.format(**words)} ) 2>/dev/null && echo '{what}'"
                for what, attempt in _TRIES.items()
            ]
            try:
                ran = await sandbox.run("\n".join([*lines, "echo done"]), timeout_s=_WAIT_S)
            finally:
                await sandbox.close()
        found = ran.head.decode(errors="replace").splitlines()
        if found[-1:] != ["done"]:
            return (*found, "end before it was told to")
        wrote = _TRIES_OF_FILES if "outside" in os.listdir(base) else ()  # noqa: PTH208 - names only
        return (*wrote, *found[:-1])


def _ground(name: str) -> Path:
    base = Path(os.path.realpath(name))
    for part in ("hooks", "objects", "refs"):
        (base / "work/.git" / part).mkdir(parents=True)
    (base / "work/.git/HEAD").write_text("ref: refs/heads/main\n")
    (base / "work/.git/config").write_text("[core]\n")
    (base / "other").write_text(_MARK)
    return base
