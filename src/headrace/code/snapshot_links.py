"""Large files that git names by their content, kept beside the objects without copying them.

Packs, large objects and those of Git LFS are written once and never in place. They are cloned
where the file system can, else linked, else copied up to a limit. Whoever writes into one by other
means than git writes into a linked one, too, so each is checked against its own checksum before
it is put back.
"""

import fcntl
import os
import zlib
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from headrace.code.snapshot_store import digest_of

_CLONE = 0x40049409  # FICLONE of Linux; others refuse it
_COPY_BYTES_MAX = 256 << 20
_PART_BYTES = 1 << 20
_SHA1_BYTES, _SHA256_BYTES = 20, 32
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN_OLD = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Links:
    """The folder of such files, in a store that is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, fd: int, name: str, status: os.stat_result, key: str) -> bytes | None:
        """Keep a file of an open folder; returns its name here.

        Args:
            fd: The folder.
            name: The file.
            status: As it was seen.
            key: Its name to git, which tells its content.

        Returns:
            None where it can be neither cloned nor linked and is too large to copy, or changed.
        """
        ref = digest_of(f"{key} {status.st_size}".encode())
        kept = self.folder / ref.hex()
        if kept.exists():
            return ref
        self.folder.mkdir(mode=0o700, exist_ok=True)
        beside = self.folder / f"{ref.hex()}.new"
        beside.unlink(missing_ok=True)
        try:
            _duplicate(fd, name, None, str(beside), status.st_mode & 0o777)
            if beside.lstat().st_size == status.st_size:
                beside.replace(kept)
                return ref
        except OSError:
            pass
        beside.unlink(missing_ok=True)
        return None

    def put(self, ref: bytes, key: str, mode: int, fd: int, name: str) -> None:
        """Bring a file back into an open folder, under a new name.

        Raises:
            OSError: It is not kept any more, was damaged in place, or there is no room.
        """
        kept = self.folder / ref.hex()
        if not _sound(kept, key):
            raise OSError(0, "damaged in place, and so is what was kept of it")
        _duplicate(None, str(kept), fd, name, mode)

    def bytes_alone(self) -> int:
        """What those files take up that no repository has any more."""
        return sum(_alone(status) for _, status in self._files())

    def keep_only(self, live: AbstractSet[bytes]) -> int:
        """Remove all others; returns the bytes freed."""
        names = {ref.hex() for ref in live}
        freed = 0
        for path, status in self._files():
            if path.name not in names:
                path.unlink(missing_ok=True)
                freed += _alone(status)
        return freed

    def alone(self, ref: bytes) -> int:
        """What one file takes up, if no repository has it any more."""
        try:
            return _alone((self.folder / ref.hex()).lstat())
        except FileNotFoundError:
            return 0

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        try:
            with os.scandir(self.folder) as entries:
                return [(Path(entry.path), entry.stat(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return []


def _alone(status: os.stat_result) -> int:
    return status.st_size if status.st_nlink == 1 else 0


def _duplicate(from_fd: int | None, old: str, to_fd: int | None, new: str, mode: int) -> None:
    """Clone, link or copy a file; nothing is left where that fails."""
    source = os.open(old, _OPEN_OLD, dir_fd=from_fd)
    try:
        if _cloned(source, to_fd, new, mode):
            return
        status = os.fstat(source)
        with suppress(OSError):
            os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
            made = os.lstat(new, dir_fd=to_fd)
            if (made.st_dev, made.st_ino) == (status.st_dev, status.st_ino):
                if made.st_mode & 0o777 != mode:
                    os.chmod(new, mode, dir_fd=to_fd)
                return
            os.unlink(new, dir_fd=to_fd)
        if status.st_size > _COPY_BYTES_MAX:
            raise OSError(0, "too large to copy")
        _copy(source, to_fd, new, mode)
    finally:
        os.close(source)


def _cloned(source: int, to_fd: int | None, new: str, mode: int) -> bool:
    target = os.open(new, _OPEN_NEW, 0o600, dir_fd=to_fd)
    try:
        fcntl.ioctl(target, _CLONE, source)
        os.fchmod(target, mode)
    except OSError:
        os.unlink(new, dir_fd=to_fd)
        return False
    else:
        return True
    finally:
        os.close(target)


def _copy(source: int, to_fd: int | None, new: str, mode: int) -> None:
    target = os.open(new, _OPEN_NEW, 0o600, dir_fd=to_fd)
    try:
        while part := os.read(source, _PART_BYTES):
            view = memoryview(part)
            while view:
                view = view[os.write(target, view) :]
        os.fchmod(target, mode)
    except OSError:
        os.unlink(new, dir_fd=to_fd)
        raise
    finally:
        os.close(target)


def _sound(path: Path, key: str) -> bool:
    """Whether a file is what its name to git says."""
    try:
        size = path.lstat().st_size
        kind, _, name = key.partition("/")
        if kind == "pack":  # each ends with the hash of what stands before
            return any(_ends_with_hash(path, size, each) for each in ("sha1", "sha256"))
        algorithm = "sha1" if len(name) == _SHA1_BYTES * 2 else "sha256"
        return _hash(path, size, algorithm, inflated=kind == "loose").hex() == name
    except (OSError, zlib.error):
        return False


def _ends_with_hash(path: Path, size: int, algorithm: str) -> bool:
    hash_bytes = _SHA1_BYTES if algorithm == "sha1" else _SHA256_BYTES
    with path.open("rb") as file:
        file.seek(max(size - hash_bytes, 0))
        end = file.read()
    return _hash(path, size - hash_bytes, algorithm) == end


def _hash(path: Path, size: int, algorithm: str, *, inflated: bool = False) -> bytes:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, only when something is put back

    hashed = hashlib.new(algorithm, usedforsecurity=False)
    inflate = zlib.decompressobj()
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, _PART_BYTES))):
            size -= len(part)
            while inflated and part:
                hashed.update(inflate.decompress(part, _PART_BYTES))
                part = inflate.unconsumed_tail
            hashed.update(part)
    return hashed.digest()
