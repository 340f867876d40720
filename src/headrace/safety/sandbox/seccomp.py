"""The filter of system calls that commands run under, as a BPF program.

What is refused here is what namespaces and mounts alone do not hold back: kernel interfaces with a
long record of holes, ways to look into or reach other processes, and bits on files that outlive
the sandbox.
"""

import errno
import platform
import struct
from collections.abc import Iterator

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_REFUSED = _ERRNO | errno.EPERM
_UNKNOWN = _ERRNO | errno.ENOSYS

_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_ID_BITS = 0o6000  # set-uid and set-gid
_CREATES = 0o20000100  # O_CREAT, __O_TMPFILE
_TYPE, _CHARACTER, _BLOCK = 0o170000, 0o020000, 0o060000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_UNIX, _INET, _INET6 = 1, 2, 10

# The same numbers on every architecture that Linux gained since 2019.
_COMMON = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "fchmodat2": 452,
    "open_tree_attr": 467,
}
_X86_64 = _COMMON | {
    "open": 2,
    "ioctl": 16,
    "socket": 41,
    "clone": 56,
    "creat": 85,
    "chmod": 90,
    "fchmod": 91,
    "ptrace": 101,
    "syslog": 103,
    "mknod": 133,
    "uselib": 134,
    "vhangup": 153,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "openat": 257,
    "mknodat": 259,
    "fchmodat": 268,
    "unshare": 272,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
}
_ARM64 = _COMMON | {
    "lookup_dcookie": 18,
    "ioctl": 29,
    "mknodat": 33,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "chroot": 51,
    "fchmod": 52,
    "fchmodat": 53,
    "openat": 56,
    "vhangup": 58,
    "quotactl": 60,
    "acct": 89,
    "unshare": 97,
    "kexec_load": 104,
    "init_module": 105,
    "delete_module": 106,
    "clock_settime": 112,
    "syslog": 116,
    "ptrace": 117,
    "reboot": 142,
    "settimeofday": 170,
    "socket": 198,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "clone": 220,
    "swapon": 224,
    "swapoff": 225,
    "perf_event_open": 241,
    "fanotify_init": 262,
    "open_by_handle_at": 265,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "finit_module": 273,
    "bpf": 280,
    "userfaultfd": 282,
    "kexec_file_load": 294,
}
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _ARM64)}
# The name of each call whose arguments decide, with the argument that is a mode.
_MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1}
_NODES = {"mknod": 1, "mknodat": 2}
_OPENS = {"open": 1, "openat": 2}  # its flags; the mode stands next
_BY_ARGUMENT = {"clone", "socket", "ioctl", *_MODES, *_NODES, *_OPENS}
# Whoever hears that these do not exist falls back to calls that the filter can look into.
_TOLD_UNKNOWN = {"clone3", "openat2"}

_Step = tuple[int, int, int, int]  # operation, jump if true, jump if false, constant


def is_known_machine(machine: str = "") -> bool:
    """Whether there is a filter for this processor."""
    return (machine or platform.machine()) in _MACHINES


def program(*, unix_sockets: bool = False, machine: str = "") -> bytes:
    """The filter as the kernel's array of `struct sock_filter`, about 1 KB.

    Args:
        unix_sockets: Whether sockets in the file system may be made.
        machine: A processor as `uname -m` spells it; empty: this one.
    """
    architecture, numbers = _MACHINES[machine or platform.machine()]
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture == _MACHINES["x86_64"][0]:
        steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSED)]
    for name, number in numbers.items():
        block = list(_block(name, unix_sockets=unix_sockets))
        steps += [(_EQUAL, 0, len(block), number), *block]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _block(name: str, *, unix_sockets: bool) -> Iterator[_Step]:
    """What happens to a call of this name; ends with a verdict on every way."""
    if name not in _BY_ARGUMENT:
        yield (_RETURN, 0, 0, _UNKNOWN if name in _TOLD_UNKNOWN else _REFUSED)
    elif name == "socket":
        families = (_INET, _INET6, _UNIX) if unix_sockets else (_INET, _INET6)
        yield _argument(0)
        for left, family in zip(range(len(families), 0, -1), families, strict=True):
            yield (_EQUAL, left, 0, family)
        yield (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT)
        yield (_RETURN, 0, 0, _ALLOW)
    elif name == "ioctl":
        yield _argument(1)
        yield (_EQUAL, 2, 0, _TIOCSTI)
        yield (_EQUAL, 1, 0, _TIOCLINUX)
        yield (_RETURN, 0, 0, _ALLOW)
        yield (_RETURN, 0, 0, _REFUSED)
    elif name in _OPENS:
        yield _argument(_OPENS[name])
        yield (_ANY_BIT, 1, 0, _CREATES)
        yield (_RETURN, 0, 0, _ALLOW)
        yield from _without_bits(_OPENS[name] + 1, _ID_BITS)
    elif name in _NODES:
        yield _argument(_NODES[name])
        yield (_ANY_BIT, 4, 0, _ID_BITS)
        yield (_AND, 0, 0, _TYPE)
        yield (_EQUAL, 2, 0, _CHARACTER)
        yield (_EQUAL, 1, 0, _BLOCK)
        yield (_RETURN, 0, 0, _ALLOW)
        yield (_RETURN, 0, 0, _REFUSED)
    elif name == "clone":
        yield from _without_bits(0, _NAMESPACES)
    else:
        yield from _without_bits(_MODES[name], _ID_BITS)


def _argument(index: int) -> _Step:
    """Load the low half of an argument; both machines are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _without_bits(index: int, bits: int) -> Iterator[_Step]:
    yield _argument(index)
    yield (_ANY_BIT, 0, 1, bits)
    yield (_RETURN, 0, 0, _REFUSED)
    yield (_RETURN, 0, 0, _ALLOW)
