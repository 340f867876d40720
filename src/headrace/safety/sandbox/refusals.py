"""Says in one line each what a sandbox refused a command, and how to allow that.

A refused system call looks to a program like any failure. So its words are read for the errors
that only the sandbox causes; a line too many does less harm than a failure nobody understands.
"""

import os
import re
from collections.abc import Sequence

from headrace.safety.sandbox.output import KilledBy
from headrace.safety.sandbox.policy import SandboxPolicy

_LINES_MAX = 4
_PATH = rb"(/[^\s:'\"`\xe2]+)"
_READ_ONLY = re.compile(rb"(?:" + _PATH + rb"[^\n/]{0,12}: )?Read-only file system|EROFS")
_NETWORK = re.compile(
    rb"(?i)could not resolve|name or service not known|temporary failure in name resolution"
    rb"|network is unreachable|ENETUNREACH|EAI_AGAIN|ENOTFOUND|no route to host|getaddrinfo"
    rb"|failed to establish a new connection|dns error"
)
_FAMILY = re.compile(rb"(?i)address family not supported|EAFNOSUPPORT")
_MEMORY = re.compile(
    rb"MemoryError|(?i:cannot allocate memory|out of memory|std::bad_alloc|ENOMEM)"
)
_FORK = re.compile(rb"(?i)fork[^\n]*resource temporarily unavailable|EAGAIN|retry: resource")
_LARGE = re.compile(rb"(?i)file too large|EFBIG|file size limit exceeded")
_NOT_PERMITTED = re.compile(
    rb"(?i)(?:mount|umount|unshare|chroot|ptrace|strace|setns|mknod|keyctl|bwrap|perf|io_uring"
    rb"|chmod|changing permissions)[^\n]*(?:operation not permitted|EPERM)"
)
_SIGXFSZ = 128 + 25


def explain(
    output: bytes,
    status: int,
    *,
    policy: SandboxPolicy,
    home: str,
    kept: Sequence[str] = (),
    hidden: Sequence[str] = (),
    denied: Sequence[str] = (),
    killed_by: KilledBy | None = None,
) -> list[str]:
    """The lines for a command that ended with `status` after it printed `output`."""
    lines = _of_kill(killed_by, policy)
    if status == 0 or killed_by is not None:
        return lines
    shut = _of_denied(output, policy, denied)
    lines += shut or _of_files(output, policy, home=home, kept=kept, hidden=hidden)
    if _NETWORK.search(output):
        lines.append(_network(policy))
    if _FAMILY.search(output) and not policy.unix_sockets:
        lines.append(
            "sockets other than TCP and UDP are off; to allow those in the file system, set"
            " sandbox.network.allowAllUnixSockets"
        )
    limits = policy.limits
    if status == _SIGXFSZ or _LARGE.search(output):
        lines.append(f"no file may grow beyond {limits.file_bytes_max >> 20} MB")
    if _MEMORY.search(output):
        lines.append(f"one process may have {limits.memory_bytes_max >> 20} MB of memory")
    if _FORK.search(output):
        lines.append(f"a command may have {limits.processes_max} processes at a time")
    if _NOT_PERMITTED.search(output):
        lines.append("the sandbox refused a system call that reaches outside it; nothing allows it")
    return lines[:_LINES_MAX]


def _of_kill(killed_by: KilledBy | None, policy: SandboxPolicy) -> list[str]:
    if killed_by == "memory":
        return ["it was killed: all its processes together took too much memory"]
    if killed_by == "processes":
        return [f"it was killed: it had more than {policy.limits.processes_max} processes"]
    return []


def _network(policy: SandboxPolicy) -> str:
    if policy.network_hosts:
        return (
            f"only these hosts can be reached: {', '.join(policy.network_hosts)};"
            " others under sandbox.network.allowedDomains"
        )
    return "the network is off; to allow hosts, name them under sandbox.network.allowedDomains"


def _of_denied(output: bytes, policy: SandboxPolicy, denied: Sequence[str]) -> list[str]:
    if not re.search(
        rb"Permission denied|Read-only file system|resource busy|EROFS|EACCES", output
    ):
        return []
    return [
        f"{os.path.relpath(each, policy.workspace)} is shut to commands by a deny rule"
        for each in denied
        if _names(output, each)
    ][:1]


def _of_files(
    output: bytes, policy: SandboxPolicy, *, home: str, kept: Sequence[str], hidden: Sequence[str]
) -> list[str]:
    lines: list[str] = []
    busy = b"Device or resource busy" in output
    found = _READ_ONLY.search(output)
    if found or busy:
        path = (found[1] or b"").decode(errors="replace") if found else ""
        guarded = next((each for each in kept if each == path or _names(output, each)), None)
        if guarded is not None:
            shown = os.path.relpath(guarded, policy.workspace)
            lines.append(
                f"{shown} is protected, since other programs act on it; change it yourself"
            )
        elif found:
            lines.append(
                f"{path or 'what it wrote to'} is read-only here; to allow writing, name the folder"
                " with --add-dir or under permissions.additionalDirectories"
            )
    if b"Permission denied" in output:
        lines += [
            f"{os.path.relpath(each, policy.workspace)} is hidden from commands, since it may hold"
            " secrets; to show such files, set sandbox.secretsShown"
            for each in hidden
            if _names(output, each)
        ][:1]
    missing = re.search(
        rb"(" + re.escape(home.encode()) + rb"/[^\s:'\"`\xe2]+)[^\n]*(?:No such file|ENOENT)",
        output,
    )
    if missing:
        lines.append(
            f"{missing[1].decode(errors='replace')}: the home folder is empty here; to show a"
            " folder of it, use --add-dir"
        )
    return lines


def _names(output: bytes, path: str) -> bool:
    """Whether the output speaks of a path, by its last two parts or its name alone."""
    *_, name = path.split("/")
    return re.search(rb"(?<![\w.-])" + re.escape(name.encode()) + rb"(?![\w-])", output) is not None
