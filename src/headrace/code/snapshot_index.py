"""The index of a workspace on disk: how each file was last seen, so that it is not read again.

It is a cache. What it says of a file counts only while the file's stat is the same, and only if
the store still has the content; without it everything is read anew.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.code.snapshot_store import Objects, write_file
from headrace.code.snapshot_tree import Folder, Known, Node, add_up

_NAME = "index"
_VERSION = 2


class _Saved(msgspec.Struct, array_like=True):
    """A folder, its name as the file system spells it."""

    name: bytes
    mode: int
    stamp: bytes
    digest: bytes
    skipped: list[Node]
    files: list[tuple[bytes, bool, Node]]
    folders: list["_Saved"]
    has_git: bool
    fixed: bool


class _File(msgspec.Struct, array_like=True):
    version: int
    root: _Saved
    gits: list[_Saved]


def save_index(folder: Path, root: Folder, gits: Mapping[str, Folder]) -> None:
    """Write it down for the next session; a disk that is full keeps nobody from working."""
    saved = [_saved(os.fsencode(path), git) for path, git in gits.items()]
    data = msgspec.msgpack.encode(_File(_VERSION, _saved(b"", root), saved))
    try:
        write_file(folder / _NAME, data, sync=False)
    except OSError:
        return


def load_index(folder: Path, objects: Objects) -> tuple[Folder | None, dict[str, Folder]]:
    """What was written down, so far as the store has the contents; None where nothing was.

    Returns:
        The workspace, and the git directories in it by their paths.
    """
    try:
        file = msgspec.msgpack.decode((folder / _NAME).read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None, {}
    if file.version != _VERSION:
        return None, {}
    gits = {os.fsdecode(git.name): _loaded("", git, objects) for git in file.gits}
    return _loaded("", file.root, objects), gits


def _saved(name: bytes, folder: Folder) -> _Saved:
    return _Saved(
        name,
        folder.mode,
        folder.stamp,
        folder.digest,
        list(folder.skipped.values()),
        [(known.stamp, known.racy, known.node) for known in folder.files.values()],
        [_saved(os.fsencode(name), child) for name, child in folder.folders.items()],
        folder.has_git,
        folder.fixed,
    )


def _loaded(path: str, saved: _Saved, objects: Objects) -> Folder:
    folder = Folder(saved.mode)
    folder.stamp = saved.stamp
    folder.digest = saved.digest if saved.digest in objects else b""
    folder.has_git = saved.has_git
    folder.fixed = saved.fixed
    folder.skipped = {os.fsdecode(node.name): node for node in saved.skipped}
    for stamp, racy, node in saved.files:
        if node.kind == "file" and node.ref not in objects:
            folder.stamp = b""  # so that the name is met again
        else:
            folder.files[os.fsdecode(node.name)] = Known(stamp, racy, node)
    for child in saved.folders:
        name = os.fsdecode(child.name)
        folder.folders[name] = _loaded(f"{path}{name}/", child, objects)
    add_up(path, folder)
    return folder
