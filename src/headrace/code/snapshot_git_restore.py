"""Puts git directories back.

One that was removed or damaged comes back whole, as it last was. Any other is put back only when
that is asked for. Objects are only ever added, never removed, so that no commit is lost by either.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from headrace.code.git import git
from headrace.code.snapshot_git import GitWalk, in_objects, key_of, open_git, whole
from headrace.code.snapshot_links import Links
from headrace.code.snapshot_restore import Restore
from headrace.code.snapshot_store import Objects, Store, roots_of_id
from headrace.code.snapshot_tree import OPEN_FOLDER, Folder, Node, tree
from headrace.core.errors import Conflict, HeadraceError, InvalidRequest, TimedOut

_CHECK_S = 60.0


class Plan(NamedTuple):
    """What to do about one git directory.

    Attributes:
        path: In the workspace, or absolute.
        want: What it is to be like; None where there is nothing to put back.
        why_not: Why it is left as it is, for people.
        whole: Whether git still takes what is there for its own.
        objects_only: Bring objects back, and nothing else.
    """

    path: str
    want: bytes | None
    why_not: str = ""
    whole: bool = False
    objects_only: bool = False


def gits_of(objects: Objects, snapshot_id: str) -> dict[str, bytes]:
    """The git directories of a snapshot and their digests."""
    roots = roots_of_id(snapshot_id)[1:]
    if not roots or roots[0] not in objects:
        return {}
    return {os.fsdecode(node.name): node.ref for node in tree(objects, roots[0]).values()}


def repairs(store: Store, target: str, now: Mapping[str, Folder], workspace: Path) -> list[Plan]:
    """What a restore of files does: bring back what was removed or damaged, as it last was."""
    objects = store.objects
    plans: list[Plan] = []
    for path in gits_of(objects, target):
        if path in now and whole(objects, now[path].digest):
            plans += _lost_objects(store, path, now[path], workspace)
            continue
        want = _last_whole(store, path)
        why_not = "" if want else "it is damaged, and no snapshot has it whole"
        plans.append(Plan(path, want, why_not))
    return plans


def returns(store: Store, target: str, now: Mapping[str, Folder]) -> list[Plan]:
    """What somebody who asks for it gets: all git directories as they were."""
    objects = store.objects
    plans: list[Plan] = []
    for path, want in gits_of(objects, target).items():
        is_whole = path in now and whole(objects, now[path].digest)
        if path.startswith("/") and is_whole and now[path].digest == want:
            continue  # any other is looked at once more: files overwritten in place look the same
        if not whole(objects, want):
            plans.append(Plan(path, None, "it was damaged at that point, too"))
        elif path.startswith("/") and is_whole:
            plans.append(Plan(path, None, "other checkouts share it; mend it with git there"))
        else:
            plans.append(Plan(path, want, whole=is_whole))
    return plans


def _last_whole(store: Store, path: str) -> bytes | None:
    return next((was for was in _former(store, path) if whole(store.objects, was)), None)


def _former(store: Store, path: str) -> Iterator[bytes]:
    """All that a git directory was, newest first."""
    seen: set[bytes] = set()
    for taken in reversed(store.history()):
        digest = gits_of(store.objects, taken.id).get(path)
        if digest is not None and digest not in seen and digest in store.objects:
            seen.add(digest)
            yield digest


def _lost_objects(store: Store, path: str, now: Folder, workspace: Path) -> Iterator[Plan]:
    """What brings objects back that refs, index or logs name and that are gone."""
    have = set(_names(store.objects, now.digest))
    asked = False
    for digest in _former(store, path):
        missing = set(_names(store.objects, digest)) - have
        if not missing:
            continue
        if not asked and _connected(workspace / path):
            return  # git itself has removed or packed them
        asked = True
        have |= missing
        yield Plan(path, digest, whole=True, objects_only=True)


def _names(objects: Objects, digest: bytes, path: str = "") -> Iterator[str]:
    """Paths of a git directory's objects and packs."""
    for name, node in tree(objects, digest).items():
        here = path + os.fsdecode(name)
        if node.kind == "folder" and here not in {"refs", "logs", "hooks"}:
            yield from _names(objects, node.ref, here + "/")
        elif key_of(path, os.fsdecode(name)).startswith(("loose", "pack")):
            yield here


def _connected(path: Path) -> bool:
    """Whether git finds all that it needs; true where git cannot tell."""
    words = ("rev-list", "--objects", "--quiet", "--all", "--reflog", "--indexed-objects")
    try:
        work = git(path.parent, f"--git-dir={path}", *words, timeout_s=_CHECK_S)
        return asyncio.run(work).status == 0
    except (TimedOut, InvalidRequest):
        return True


def refuse_at_work(workspace: Path, plans: Iterable[Plan]) -> None:
    """Touch nothing under the hands of a git that runs.

    Raises:
        Conflict: A lock stands there.
    """
    for plan in plans:
        for lock in ("index.lock", "HEAD.lock", "packed-refs.lock"):
            if plan.want and plan.whole and (workspace / plan.path / lock).exists():
                raise Conflict(
                    f"git is at work in {plan.path}: {lock} stands there",
                    hint="Wait until it is done, or remove that file if nothing runs.",
                )


class GitRestore(Restore):
    """A restore of git directories; see `Restore`.

    Args:
        objects: Where contents are kept.
        links: Where large files are kept.
        walk: Looks at what is there now.
        temporary: Name for the file that is being written.
    """

    def __init__(self, objects: Objects, links: Links, walk: GitWalk, *, temporary: str) -> None:
        super().__init__(objects, temporary=temporary)
        self._links = links
        self._walk = walk
        self._plan = Plan("", None)

    def run(self, workspace: Path, plan: Plan) -> None:
        """Put one git directory back; what cannot be is in `left`."""
        self._plan = plan
        if plan.want is None:
            self.left.append(f"{plan.path}: {plan.why_not}")
            return
        try:
            try:
                # Anew: objects that were overwritten in their places are found so.
                now = self._walk.opened(open_git(workspace, plan.path), None)
            except FileNotFoundError:
                now = None
                self._make(workspace, plan.path)
            fd = open_git(workspace, plan.path)
        except OSError as error:
            self.left.append(f"{plan.path}: {error.strerror}")
            return
        self.opened(fd, f"{plan.path}/", now, plan.want)

    def _make(self, workspace: Path, path: str) -> None:
        above, _, name = path.rpartition("/")
        fd = open_git(workspace, above) if above else os.open(workspace, OPEN_FOLDER)
        try:
            os.mkdir(name, dir_fd=fd)
        finally:
            os.close(fd)
        self._done(self.written, f"{path}/")

    def _name(
        self, fd: int, path: str, now: Folder | None, have: Node | None, want: Node | None
    ) -> None:
        node = have or want
        name = os.fsdecode(node.name) if node is not None else ""
        here = path.removeprefix(self._plan.path + "/")
        if self._stays(here, name, want):
            return
        try:
            super()._name(fd, path, now, have, want)
        except HeadraceError as error:
            self.left.append(f"{path}{name}: {error.message}")

    def _stays(self, here: str, name: str, want: Node | None) -> bool:
        path = f"{here}{name}/"
        if want is None and in_objects(path):
            return True
        if self._plan.objects_only and not in_objects(path):
            return want is None or want.kind != "folder" or not path.startswith("modules/")
        if self._plan.whole and path.startswith("modules/"):
            return want is None
        return self._plan.whole and path.startswith("worktrees/")

    def _put(self, fd: int, here: str, have: Node | None, want: Node) -> None:
        if want.kind != "linked":
            super()._put(fd, here, have, want)
            return
        path, _, name = here.removeprefix(self._plan.path + "/").rpartition("/")
        key = key_of(path + "/", name)
        self._links.put(want.ref, key, want.mode, fd, self.temporary)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)  # a rename between two links of one file does nothing
        os.rename(self.temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        self._done(self.written, here)
