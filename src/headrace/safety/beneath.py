"""Open a path below a folder's descriptor so that no link leads anywhere else.

Linux has `openat2`, which resolves the whole path in one step that no race can disturb. Elsewhere,
and on kernels before 5.6, each part is opened from its parent's descriptor without following links.
"""

import errno
import os
import sys
from functools import cache
from typing import Protocol

_OPENAT2 = 437  # the same on all architectures
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_TRIES = 8  # a rename elsewhere in the tree may ask for another try
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class _Open(Protocol):
    def __call__(self, folder_fd: int, path: str, flags: int) -> int: ...


def open_beneath(folder_fd: int, path: str, flags: int) -> int:
    """Open an existing name; `path` is relative and has no `.` or `..`.

    Raises:
        OSError: As `open`; ELOOP or ENOTDIR where a part is a link.
    """
    return way()(folder_fd, path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


@cache
def way() -> _Open:
    """The way that works on this machine."""
    if not sys.platform.startswith("linux"):
        return step_by_step
    here = os.open("/", FOLDER)
    try:
        os.close(at_once(here, ".", FOLDER))
    except OSError as error:
        # A filter over this process may say EPERM for a call that it does not know.
        if error.errno in {errno.ENOSYS, errno.EPERM}:
            return step_by_step
        raise
    finally:
        os.close(here)
    return at_once


def at_once(folder_fd: int, path: str, flags: int) -> int:
    """By `openat2`."""
    import ctypes  # noqa: PLC0415 - costs some milliseconds, and a start needs no files

    class How(ctypes.Structure):
        _fields_ = (
            ("flags", ctypes.c_uint64),
            ("mode", ctypes.c_uint64),
            ("resolve", ctypes.c_uint64),
        )

    call = _libc().syscall
    how = How(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    name = os.fsencode(path)
    code = errno.EAGAIN
    for _ in range(_TRIES):
        got = call(_OPENAT2, folder_fd, name, ctypes.byref(how), ctypes.sizeof(how))
        if got >= 0:
            return int(got)
        code = ctypes.get_errno()
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code), path)


@cache
def _libc():  # noqa: ANN202 - a library's functions have no types
    import ctypes  # noqa: PLC0415 - likewise

    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    library.syscall.restype = ctypes.c_long
    return library


def step_by_step(folder_fd: int, path: str, flags: int) -> int:
    """Each part from the descriptor of the one before."""
    *parents, name = path.split("/")
    fd = os.dup(folder_fd)
    try:
        for parent in parents:
            below = os.open(parent, FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        return os.open(name, flags, dir_fd=fd)
    finally:
        os.close(fd)
