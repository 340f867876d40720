"""Keeps git directories: refs, logs, index, configuration and objects, all that history is made of.

They are walked as the workspace is, by names alone where git writes each file once. Objects come
last, so that whatever a ref names when it is read is there when objects are listed.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from headrace.code.snapshot_links import Links
from headrace.code.snapshot_store import Objects
from headrace.code.snapshot_tree import (
    GIT,
    OPEN_FOLDER,
    Folder,
    Known,
    Limits,
    Node,
    Walk,
    left,
    look,
    stamp_of,
    tree,
)
from headrace.safety.sandbox.git import linked_git

OBJECTS = "objects"
_LINKED_FROM_BYTES = 1 << 20
_LIMITS = Limits(
    file_bytes_max=64 << 20,
    total_bytes_max=1 << 50,  # linked, so they take up nothing
    files_max=1_000_000,
    excluded=frozenset(),
)
_GITS_MAX = 64
_LOOSE = re.compile("[0-9a-f]{38}(?:[0-9a-f]{24})?")
_PACKED = re.compile(r"pack-[0-9a-f]{40,64}\.(?:pack|idx|rev|mtimes)")
_LFS = re.compile("[0-9a-f]{64}")
_TWO = re.compile("[0-9a-f]{2}")


class GitWalk(Walk):
    """One walk of a git directory; see `Walk`.

    Args:
        objects: Where contents go.
        links: Where large files go that never change.
        now_ns: The kernel's time at the beginning.
        temporary: Name of a restore's unfinished file.
    """

    def __init__(
        self, objects: Objects, links: Links, *, now_ns: int, temporary: str | None = None
    ) -> None:
        super().__init__(objects, _LIMITS, now_ns=now_ns, temporary=temporary)
        self._links = links
        self._path = ""

    def _folder(self, fd: int, path: str, old: Folder | None, depth: int = 0) -> Folder:
        self._path = path
        return super()._folder(fd, path, old, depth)

    def _files(self, fd: int, new: Folder, old: Folder | None) -> list[str]:
        new.fixed = area(self._path) != ""
        path = self._path
        names = [name for name in super()._files(fd, new, old) if not _made_again(path, name)]
        return sorted(names, key=lambda name: (name == OBJECTS, name))

    def _keep(self, fd: int, name: str, status: os.stat_result) -> Known | None:
        if _made_again(self._path, name):
            return None
        key = key_of(self._path, name)
        if not key or status.st_size < _LINKED_FROM_BYTES or not stat.S_ISREG(status.st_mode):
            return super()._keep(fd, name, status)
        ref = self._links.add(fd, name, status, key)
        if ref is None:
            return Known(b"", True, left(name, "too large to copy", status))  # noqa: FBT003
        mode = stat.S_IMODE(status.st_mode)
        node = Node(os.fsencode(name), "linked", mode, status.st_size, ref)
        return Known(stamp_of(status), False, node)  # noqa: FBT003


def _made_again(path: str, name: str) -> bool:
    """Whether it is of work under way, or what git makes again."""
    if name.endswith(".lock") or path + name == "gc.pid":
        return True
    return in_objects(path) and (
        name.startswith(("tmp_", "commit-graph", "multi-pack-index")) or name.endswith(".bitmap")
    )


def in_objects(path: str) -> bool:
    """Whether a folder holds objects, or says where some are."""
    parts = path.split("/")[:-1]
    return OBJECTS in parts and "refs" not in parts and "logs" not in parts


def area(path: str) -> str:
    """Which of git's folders that hold files of one content for ever this is; empty for others."""
    if not in_objects(path):
        return ""
    parts = path.split("/")[:-1]
    match parts:
        case [*_, "objects", "pack"]:
            return "pack"
        case [*_, "lfs", "objects", one, two] if _TWO.fullmatch(one) and _TWO.fullmatch(two):
            return "lfs"
        case [*_, "objects", two] if _TWO.fullmatch(two) and "lfs" not in parts:
            return "loose"
        case _:
            return ""


def key_of(path: str, name: str) -> str:
    """What tells a file's content: its name to git; empty where none does."""
    match area(path):
        case "pack" if _PACKED.fullmatch(name):
            return f"pack/{name}"
        case "loose" if _LOOSE.fullmatch(name):
            return f"loose/{path[-3:-1]}{name}"
        case "lfs" if _LFS.fullmatch(name):
            return f"lfs/{name}"
        case _:
            return ""


def whole(objects: Objects, digest: bytes) -> bool:
    """Whether git takes a directory for one of its own."""
    nodes = tree(objects, digest)
    kinds = {name: nodes[name].kind for name in (b"HEAD", b"objects", b"refs") if name in nodes}
    return (
        kinds.get(b"HEAD") in {"file", "link"}
        and kinds.get(b"objects") == "folder"
        and kinds.get(b"refs") == "folder"
    )


def find(workspace: Path, root: Folder) -> Iterator[str]:
    """Git directories in a workspace that was just walked, and the one it is a worktree of."""
    yield from root.gits_below[:_GITS_MAX]
    if GIT in root.files and (shared := linked_git(workspace)) is not None:
        yield str(shared)


def open_git(workspace: Path, path: str) -> int:
    """Open a git directory; within the workspace no link is followed.

    Raises:
        OSError: It is not there, or no folder.
    """
    if path.startswith("/"):
        return os.open(path, OPEN_FOLDER)
    fd = os.open(workspace, OPEN_FOLDER)
    for part in path.split("/"):
        try:
            below = os.open(part, OPEN_FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def walk_gits(
    workspace: Path,
    root: Folder,
    known: Mapping[str, Folder],
    walk: GitWalk,
) -> dict[str, Folder]:
    """All git directories as they are now; `known` is how they were last seen."""
    seen: dict[str, Folder] = {}
    for path in find(workspace, root):
        old = known.get(path)
        if old is not None and look(str(workspace / path), old):
            seen[path] = old
            continue
        try:
            fd = open_git(workspace, path)
        except OSError:
            continue
        seen[path] = walk.opened(fd, old)
    return seen


def listed(gits: Mapping[str, Folder]) -> bytes:
    """The list of git directories, the same bytes for the same content."""
    nodes = [
        Node(os.fsencode(path), "folder", git.mode, 0, git.digest)
        for path, git in sorted(gits.items())
    ]
    return msgspec.msgpack.encode(nodes)


def left_in(gits: Mapping[str, Folder]) -> tuple[tuple[str, str], ...]:
    """What is left out of git directories, with the reasons."""
    return tuple((f"{git}/{path}", why) for git in gits for path, why in gits[git].left_below)
