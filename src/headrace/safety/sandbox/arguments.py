"""The command line that makes a sandbox of bubblewrap. Later words cover earlier ones."""

import msgspec

from headrace.safety.sandbox.ground import Ground
from headrace.safety.sandbox.policy import Limits

SHELL = "/bin/bash"
_INSIDE_ID = "1000"  # whoever root is outside; nothing inside is treated as root by its number
# A process of root's number may write to these without any capability.
_PROC = ("sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr")
_NULL = "/dev/null"


class Mounts(msgspec.Struct, frozen=True, kw_only=True):
    """What of the user's is there for one command, by absolute real paths.

    Attributes:
        writable: Roots.
        readable: Further roots that can be read.
        kept: In the roots: stay as they are.
        pinned: In the roots: folders that can be written but not renamed, such as `.git`.
        hidden: Files and folders that cannot be read, with whether each is a folder.
        temporary: The folder that is `/tmp` inside.
        outputs: The folder with whole outputs of earlier commands, to read; None: not shown.
        blank: A file without permissions, to cover what is hidden.
        void: Likewise an empty folder.
        extra: Files to show read-only, each with its place inside.
    """

    writable: tuple[str, ...]
    readable: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    hidden: tuple[tuple[str, bool], ...] = ()
    temporary: str
    outputs: str | None
    blank: str
    void: str
    extra: tuple[tuple[str, str], ...] = ()


def bubblewrap(
    ground: Ground,
    mounts: Mounts,
    *,
    cwd: str,
    variables: dict[str, str],
    filter_fd: int,
    scratch_bytes_max: int,
    is_root: bool,
) -> list[str]:
    """The words after `bwrap`, up to the command's own."""
    words = ["--unshare-all", "--unshare-user", "--cap-drop", "ALL"]
    words += ["--die-with-parent", "--new-session", "--clearenv"]
    if is_root:
        words += ["--uid", _INSIDE_ID, "--gid", _INSIDE_ID]
    words += _system(ground, is_root=is_root)
    words += ["--dir", "/run"]
    for place in ("/tmp", "/var/tmp"):  # noqa: S108 - the command's own
        words += ["--bind", mounts.temporary, place]
    words += ["--size", str(scratch_bytes_max), "--perms", "0700", "--tmpfs", ground.home]
    for path in ground.toolchains:
        words += ["--ro-bind-try", path, path]
    words += _roots(mounts)
    for source, place in mounts.extra:
        words += ["--ro-bind", source, place]
    words += ["--remount-ro", "/"]
    for name, value in {**ground.variables, **variables}.items():
        words += ["--setenv", name, value]
    return [*words, "--seccomp", str(filter_fd), "--chdir", cwd, "--"]


def _system(ground: Ground, *, is_root: bool) -> list[str]:
    words: list[str] = []
    for path in ground.system:
        words += ["--ro-bind-try", path, path]
    for path, target in ground.links:
        words += ["--symlink", target, path]
    for path, is_folder in ground.masked:
        words += ["--tmpfs", path] if is_folder else ["--ro-bind", _NULL, path]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for name in ("sys", *(_PROC if is_root else ())):
        words += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    return words


def _roots(mounts: Mounts) -> list[str]:
    binds = [(path, "--ro-bind") for path in mounts.readable]
    binds += [(path, "--bind") for path in mounts.writable]
    words: list[str] = []
    for path, how in sorted(binds):
        words += [how, path, path]
    if mounts.outputs is not None:
        words += ["--ro-bind", mounts.outputs, mounts.outputs]
    inner = dict.fromkeys(mounts.pinned, "--bind") | dict.fromkeys(mounts.kept, "--ro-bind")
    for path, how in sorted(inner.items()):
        words += [how, path, path]
    for path, is_folder in mounts.hidden:
        words += ["--ro-bind", mounts.void if is_folder else mounts.blank, path]
    return words


def limited(command: str, limits: Limits, *, has_namespace: bool) -> list[str]:
    """A shell that lowers its own limits, then becomes the command's shell.

    `has_namespace`: it is in a user namespace of its own; elsewhere the kernel would count all
    processes of the user.
    """
    count = f" ulimit -u {limits.processes_max} 2>{_NULL};" if has_namespace else ""
    lower = (
        # Data, not address space: what is only reserved, as Node and Java do, costs nothing.
        f"ulimit -c 0 -f {limits.file_bytes_max >> 10} -d {limits.memory_bytes_max >> 10};"
        f'{count} exec {SHELL} -c "$1"'
    )
    return [SHELL, "-c", lower, "bash", command]
