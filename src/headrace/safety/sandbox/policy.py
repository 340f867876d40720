"""SandboxPolicy: what commands may touch, and how much of it."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace.safety.protected import PROTECTED_NAMES


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one command may use.

    Attributes:
        file_bytes_max: Of any file that it writes.
        memory_bytes_max: Private writable memory of one process, touched or not.
        memory_total_bytes_max: Resident memory of all processes together; never more than three
            quarters of the machine's.
        processes_max: At the same time.
        output_bytes_max: Kept of its output; what comes after that is counted and dropped.
        head_bytes: Of the output, kept in memory from its beginning; at least 2,300.
        tail_bytes: Likewise from its end.
        scratch_bytes_max: In the home folder that it sees, which is empty memory.
    """

    file_bytes_max: int = 256 << 20
    memory_bytes_max: int = 4 << 30
    memory_total_bytes_max: int = 16 << 30
    processes_max: int = 512
    output_bytes_max: int = 64 << 20
    head_bytes: int = 16_384
    tail_bytes: int = 16_384
    scratch_bytes_max: int = 1 << 30


class SandboxPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What commands may touch.

    Attributes:
        workspace: Writable, at its real path; absolute.
        state_folder: Of this session, outside the workspace; made with mode 0700. Holds whole
            outputs, what was put into quarantine, and the commands' `/tmp`.
        write_roots: Further folders that are writable (`--add-dir`).
        read_roots: Further folders that can be read.
        network_hosts: Whom commands may reach, by HTTP and HTTPS through a checking proxy:
            `example.org`, `*.example.org`, `example.org:8443`. Empty: no network at all.
        protected_names: Files and folders that stay as they are, wherever they lie in a root.
        hidden_paths: Files and folders that commands can neither read nor write, absolute; what is
            not there may appear later.
        kept_paths: Likewise what they can read but not write; in the writable roots.
        denies: Says of a path in the roots whether it is hidden (True), kept (False) or neither
            (None), for what appears later; asked once for each name.
        secrets_shown: Whether files such as `.env` in the roots can be read by commands.
        unix_sockets: Whether commands may make sockets in the file system.
        limits: How much one command may use.
    """

    workspace: Path
    state_folder: Path
    write_roots: tuple[Path, ...] = ()
    read_roots: tuple[Path, ...] = ()
    network_hosts: tuple[str, ...] = ()
    protected_names: frozenset[str] = PROTECTED_NAMES
    hidden_paths: tuple[str, ...] = ()
    kept_paths: tuple[str, ...] = ()
    denies: Callable[[str], bool | None] | None = None
    secrets_shown: bool = False
    unix_sockets: bool = False
    limits: Limits = Limits()
