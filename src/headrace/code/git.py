"""Our own calls of git. They never run anything that a repository names.

A repository's configuration can name programs for nearly everything: monitors, hooks, filters,
external diffs, helpers of remotes. What can be switched off by name is switched off for every
call. Filters, drivers and configured hooks have names of their own, so those that the repository
defines are looked up first, which runs nothing, and emptied. The user's own configuration stays as
it is. Git can call other programs by name: it gets no folder of PATH that commands may write.
"""

import asyncio
import os
import signal
from pathlib import Path

import msgspec

from headrace.core.errors import InvalidRequest, TimedOut
from headrace.safety.programs import path_outside, program_outside

_OFF = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.askPass": "",
    "core.editor": "true",
    "core.gitProxy": "",
    "core.alternateRefsCommand": "true",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "gpg.program": "false",
    "gpg.openpgp.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "interactive.diffFilter": "cat",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
    "status.submoduleSummary": "false",
}
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ASKPASS": "",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_EDITOR": "true",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
}
_PASSED_ON = ("HOME", "XDG_CONFIG_HOME", "TMPDIR", "USER", "LOGNAME")
# Keys whose middle is a name of the repository's own, and what they are then set to.
_NAMED = {
    ("filter", "clean"): "",
    ("filter", "smudge"): "",
    ("filter", "process"): "",
    ("filter", "required"): "false",
    ("diff", "textconv"): "cat",
    ("diff", "command"): "",
    ("merge", "driver"): "false",
    ("hook", "command"): "true",
    ("hook", "enabled"): "false",
}
_OWN_SCOPES = ("system", "global")
_OUTPUT_BYTES_MAX = 4 << 20
_TIMEOUT_S = 10.0


class Ran(msgspec.Struct, frozen=True):
    """What git answered. `out` is cut at 4 MiB."""

    status: int
    out: str
    error: str


def git_path(workspace: Path) -> str | None:
    """The git to call: absolute, and not out of the workspace or a folder that is shunned."""
    return program_outside("git", (workspace,))


async def git(folder: Path, *words: str, timeout_s: float = _TIMEOUT_S) -> Ran:
    """Run git in a folder of a repository, hardened.

    Raises:
        InvalidRequest: There is no git, or its settings are too long to be looked through.
        TimedOut: It took too long; it was ended.
    """
    filters = await _call(folder, {}, ("config", "--show-scope", "--list", "-z"), timeout_s)
    if len(filters.out) >= _OUTPUT_BYTES_MAX // 4:  # characters; what was cut might name a filter
        raise InvalidRequest(f"git's settings in {folder} are too long to be looked through")
    return await _call(folder, _emptied(filters.out), words, timeout_s)


def _emptied(listed: str) -> dict[str, str]:
    """Harmless values for all filters, drivers and hooks that a repository defines."""
    fields = listed.split("\0")
    off: dict[str, str] = {}
    for scope, pair in zip(fields[::2], fields[1::2], strict=False):
        key = pair.partition("\n")[0]
        section, _, rest = key.partition(".")
        name, dot, last = rest.rpartition(".")
        if scope not in _OWN_SCOPES and dot and (section, last) in _NAMED:
            off[key] = _NAMED[section, last]
            if section == "filter":
                off[f"filter.{name}.required"] = "false"
    return off


async def _call(folder: Path, off: dict[str, str], words: tuple[str, ...], timeout_s: float) -> Ran:
    program = git_path(folder)
    if program is None:
        raise InvalidRequest("git is not installed", hint="Install git, or go without it.")
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        cwd=folder,
        env=_environment(off) | {"PATH": path_outside((folder,))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, error = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            status = await process.wait()
    except TimeoutError:
        raise TimedOut(f"git {words[0]} took more than {timeout_s:g} s in {folder}") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ran(status, out.decode(errors="surrogateescape"), error.decode(errors="replace"))


def _environment(off: dict[str, str]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    settings = _OFF | off
    environment |= _ENVIRONMENT
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """All of a stream, the first bytes of it kept."""
    kept = bytearray()
    while stream is not None and (part := await stream.read(1 << 16)):
        kept += part[: max(_OUTPUT_BYTES_MAX - len(kept), 0)]
    return bytes(kept)
