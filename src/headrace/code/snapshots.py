"""Snapshots: the workspace as it was around each tool call that may write, shell included.

A snapshot is the hash of the workspace's tree, so equal trees have equal ids and what did not
change costs nothing. An index of our own, with contents read only where a file's stat changed,
was chosen over a shadow git repository: it keeps bytes, modes and empty folders exactly, works
where git is missing, and starts no process.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from headrace.agent.tools import Diff
from headrace.code.snapshot_gc import collect
from headrace.code.snapshot_git import GitWalk, left_in, listed, walk_gits
from headrace.code.snapshot_git_restore import (
    GitRestore,
    Plan,
    gits_of,
    refuse_at_work,
    repairs,
    returns,
)
from headrace.code.snapshot_index import load_index, save_index
from headrace.code.snapshot_links import Links
from headrace.code.snapshot_restore import Restore, changes, diff_of, verify
from headrace.code.snapshot_store import (
    Store,
    Taken,
    digest_of_id,
    id_of,
    roots_of_id,
    write_file,
)
from headrace.code.snapshot_tree import Folder, Limits, TooMuch, Walk, sizes
from headrace.core.clock import Clock
from headrace.core.errors import Conflict, HeadraceError, NotFound, StoreError

_SAVED_AFTER_FILES = 500
_TOLD_MAX = 5
_RESTORING = "restoring"  # while files are put back
_BEFORE = "before"  # what undoes the newest restore
_DIFFS_MAX = 500
_DAY_NS = 86_400 * 10**9


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did.

    Attributes:
        before: The snapshot that undoes it.
        after: The files as they are now: the one asked for, unless something was left.
        written: Files, links and folders that were put back.
        deleted: Those that were removed.
        left: What was not touched, each with its reason.
    """

    before: str
    after: str
    written: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class _Cut(msgspec.Struct, frozen=True):
    """What is written down while a restore runs: what to do, and how to undo it.

    `git`: git directories are put back to the target, not files.
    """

    target: str
    before: str
    temporary: str
    git: bool = False


class _Last(msgspec.Struct, frozen=True):
    """What the newest restore did: from where, to where, git directories too or files alone."""

    before: str
    target: str
    git: bool


class Snapshots:
    """Snapshots of one workspace, kept in a folder of their own, which they pass over.

    Files are named in `notices` that the newest snapshot does not keep. All work is done in a
    thread, one piece at a time; several sessions may share the folder.

    Args:
        workspace: The folder.
        folder: Where they are kept, one per workspace; made with mode 0700.
        clock: For the history.
        limits: What is kept.
        step: Called after each change of a restore.
    """

    def __init__(
        self,
        workspace: Path,
        folder: Path,
        clock: Clock,
        limits: Limits | None = None,
        *,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self.notices: tuple[str, ...] = ()
        self._workspace = workspace.resolve()
        self._folder = folder.resolve()
        self._clock = clock
        self._limits = limits or Limits()
        self._step = step
        self._store: Store | None = None
        self._index: Folder | None = None
        self._gits: dict[str, Folder] = {}
        self._links = Links(self._folder / "linked")
        self._generation = 0
        self._head: str | None = None
        self._closing = False
        self._one_at_a_time = threading.Lock()

    def begin(self) -> None:
        """Take the first snapshot in the background, so that the first change need not wait."""
        if self._head is None:
            threading.Thread(target=self._begin, name="first snapshot", daemon=True).start()

    def _begin(self) -> None:
        with suppress(HeadraceError):  # the next one meets the same and is asked for
            self.take_now("start of the session")

    async def take(self, label: str) -> str:
        """Keep the workspace as it is now; the id is the same while nothing changes.

        The first one reads all files and forgets what is over the limits, so it is best taken in
        the background, before anything is changed.

        Raises:
            StoreError: The snapshots' folder refuses, or another session holds it.
        """
        return await asyncio.to_thread(self.take_now, label)

    async def restore(self, snapshot_id: str) -> Restored:
        """Put the files back as they were.

        Git directories stay as they are; only one that was removed or damaged comes back, as it
        last was. Once begun it goes on to its end, also when whoever waits for it is cancelled.

        Raises:
            NotFound: There is no such snapshot, or not all of it any more.
            Conflict: Files that would be overwritten were changed by others since the newest
                snapshot. They are kept now: the same call again puts them back, too.
            StoreError: As in `take`; nothing was touched.
        """
        return await asyncio.to_thread(self.restore_now, snapshot_id)

    async def undo(self) -> Restored:
        """Put back what the newest restore changed; twice does it again.

        Raises:
            NotFound: Nothing was restored here yet, or what was is not kept any more.
            Conflict, StoreError: As in `restore`.
        """
        last = self._last()
        if last is None:
            raise NotFound("no rewind of files to undo in this folder")
        done = await self.restore(last.before)
        if not last.git:
            return done
        git = await asyncio.to_thread(self.restore_git_now, last.before)
        return Restored(
            before=done.before,
            after=git.after,
            written=done.written + git.written,
            deleted=done.deleted + git.deleted,
            left=done.left + git.left,
        )

    async def restore_git(self) -> Restored:
        """Put git directories back, too, to where the newest restore put the files.

        Branches, index, stashes, logs and settings are then as they were; objects are only added.

        Raises:
            NotFound: No files were restored here yet.
            Conflict: Git is at work there, or others changed something since the newest snapshot.
            StoreError: As in `take`; nothing was touched.
        """
        last = self._last()
        if last is None:
            raise NotFound(
                "no rewind of files in this folder yet", hint="Rewind the files first: /rewind"
            )
        return await asyncio.to_thread(self.restore_git_now, last.target)

    async def diff(self, before_id: str, after_id: str) -> tuple[Diff, ...]:
        """The files that differ between two snapshots, by path; 500 at most.

        Raises:
            NotFound: There is no such snapshot.
        """
        return await asyncio.to_thread(self._diff, before_id, after_id)

    async def gc(self) -> int:
        """Forget what is over the limits, as each session's first snapshot does.

        Returns:
            The bytes freed.
        """
        return await asyncio.to_thread(self._gc)

    def history(self) -> tuple[Taken, ...]:
        """All snapshots of the workspace, oldest first."""
        return self._opened().history()

    def unfinished(self) -> tuple[str, str] | None:
        """A restore that a crash cut short: its target, and the snapshot from before it."""
        cut = self._cut()
        return (cut.target, cut.before) if cut is not None else None

    def close(self) -> None:
        """Keep what makes the next session's first snapshot quick; ends a walk that runs."""
        self._closing = True
        with self._one_at_a_time:
            if self._store is None:
                return
            if self._index is not None:
                save_index(self._folder, self._index, self._gits)
            self._store.close()
            self._store = None

    def take_now(self, label: str) -> str:
        """`take` without an event loop."""
        with self._locked() as (store, now_ns):
            first = self._head is None
            self._head = self._take(store, label, now_ns)
            if first:
                collect(store, self._links, self._limits, now_ns=self._clock.now_ns())
            return self._head

    def restore_now(self, snapshot_id: str) -> Restored:
        """`restore` without an event loop."""
        want = digest_of_id(snapshot_id)
        with self._locked() as (store, now_ns):
            if want not in store.objects:
                raise NotFound(f"this snapshot is not kept any more: {snapshot_id}")
            newest = store.newest()
            known = self._head or (newest.id if newest is not None else None)
            before = self._take(store, "before rewind", now_ns)
            verify(store.objects, digest_of_id(before), want)
            self._head = before
            if known is not None and self._cut() is None:
                self._refuse_overwriting(store, known, before, snapshot_id)
            files = Restore(store.objects, temporary=_temporary(), step=self._step)
            with self._noted(store, _Cut(snapshot_id, before, files.temporary)):
                files.root(self._workspace, self._index, want)
                git = self._git_restore(store, now_ns, files.temporary)
                for plan in repairs(store, snapshot_id, self._gits, self._workspace):
                    git.run(self._workspace, plan)
                self._head = self._take(store, "after rewind", now_ns)
            return _restored(before, self._head, files, git)

    def restore_git_now(self, snapshot_id: str) -> Restored:
        """Put git directories back, and no files; `restore_git` without an event loop."""
        with self._locked() as (store, now_ns):
            if any(root not in store.objects for root in roots_of_id(snapshot_id)):
                raise NotFound(f"this snapshot is not kept any more: {snapshot_id}")
            known = self._head
            before = self._take(store, "before rewind of git", now_ns)
            self._head = before
            plans = returns(store, snapshot_id, self._gits)
            refuse_at_work(self._workspace, plans)
            if known is not None and self._cut() is None and roots_of_id(known)[1:]:
                _refuse_others(store, plans, known, before)
            git = self._git_restore(store, now_ns, _temporary())
            with self._noted(store, _Cut(snapshot_id, before, git.temporary, git=True)):
                for plan in plans:
                    git.run(self._workspace, plan)
                self._head = self._take(store, "after rewind of git", now_ns)
            return _restored(before, self._head, git)

    def _git_restore(self, store: Store, now_ns: int, temporary: str) -> GitRestore:
        walk = GitWalk(store.objects, self._links, now_ns=now_ns)
        return GitRestore(store.objects, self._links, walk, temporary=temporary)

    @contextmanager
    def _noted(self, store: Store, cut: _Cut) -> Generator[None]:
        """Keep on disk what is being done and how it is undone, until it is done."""
        store.objects.sync()
        write_file(self._folder / _RESTORING, msgspec.json.encode(cut), sync=True)
        yield
        last = _Last(cut.before, cut.target, cut.git)
        former = self._last()
        if cut.git and former is not None and former.target == cut.target:
            last = msgspec.structs.replace(last, before=former.before)  # undone with the files
        write_file(self._folder / _BEFORE, msgspec.json.encode(last), sync=True)
        (self._folder / _RESTORING).unlink()

    def _last(self) -> _Last | None:
        try:
            return msgspec.json.decode((self._folder / _BEFORE).read_bytes(), type=_Last)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store(self._folder)
        return self._store

    @contextmanager
    def _locked(self) -> Generator[tuple[Store, int]]:
        with self._one_at_a_time:
            try:
                store = self._opened()
                with store.locked(lambda: self._closing) as now_ns:
                    yield store, now_ns
            except OSError as error:
                raise StoreError(
                    f"no snapshot could be taken of {self._workspace}: {error.strerror or error}"
                ) from error

    def _take(self, store: Store, label: str, now_ns: int) -> str:
        index = self._known_index(store)
        cut = self._cut()
        temporary = cut.temporary if cut is not None else None
        walk, new = self._walk(store, index, now_ns, temporary)
        git = GitWalk(store.objects, self._links, now_ns=now_ns, temporary=temporary)
        gits = walk_gits(self._workspace, new, self._gits, git)
        listing = store.objects.add(listed(gits)) if gits else None
        store.objects.flush()
        self._index, self._gits = new, gits
        self.notices = _notices(new.left_below + left_in(gits))
        if cut is not None:
            self.notices += ("A rewind was cut short. Rewind again to finish or to undo it.",)
        snapshot_id = id_of(new.digest, listing)
        self._log(store, snapshot_id, label)
        if walk.read_files + git.read_files >= _SAVED_AFTER_FILES:
            save_index(self._folder, new, gits)
        return snapshot_id

    def _known_index(self, store: Store) -> Folder | None:
        """How the tree was last seen, so far as the store still has it."""
        objects = store.objects
        if self._index is not None and objects.generation != self._generation:
            save_index(self._folder, self._index, self._gits)
            self._index = None
        if self._index is None:
            self._index, self._gits = load_index(self._folder, objects)
        self._generation = objects.generation
        return self._index

    def _walk(
        self, store: Store, index: Folder | None, now_ns: int, temporary: str | None
    ) -> tuple[Walk, Folder]:
        own = None
        if self._folder.is_relative_to(self._workspace):
            own = str(self._folder.relative_to(self._workspace))
        if index is None:
            self._shrink_limits()
        while True:
            walk = Walk(
                store.objects,
                self._limits,
                now_ns=now_ns,
                own=own,
                temporary=temporary,
                stop=lambda: self._closing,
            )
            try:
                return walk, walk.root(self._workspace, index)
            except TooMuch:
                index = None
                self._shrink_limits(growing=True)

    def _shrink_limits(self, *, growing: bool = False) -> None:
        """Lower the size per file until all files together fit.

        Where their sizes say that they do and they do not, they are `growing`: the size is halved.
        """
        limits = self._limits
        file_bytes_max = limits.file_bytes_max // 2 if growing else limits.file_bytes_max
        left = limits.total_bytes_max
        found = sizes(self._workspace, limits.excluded)
        for size in sorted(size for size in found if size <= limits.file_bytes_max):
            left -= size
            if left < 0:
                file_bytes_max = size - 1
                break
        self._limits = msgspec.structs.replace(limits, file_bytes_max=file_bytes_max)

    def _log(self, store: Store, snapshot_id: str, label: str) -> None:
        now_ns = self._clock.now_ns()
        last = store.newest()
        if last is None or last.id != snapshot_id or now_ns - last.time_ns > _DAY_NS:
            store.log(Taken(snapshot_id, label, now_ns))

    def _refuse_overwriting(self, store: Store, known: str, before: str, target: str) -> None:
        objects, now = store.objects, digest_of_id(before)
        if digest_of_id(known) == now or digest_of_id(known) not in objects:
            return
        others = {change.path for change in changes(objects, digest_of_id(known), now)}
        touched = {change.path for change in changes(objects, now, digest_of_id(target))}
        both = sorted(others & touched)
        if both:
            raise Conflict(
                f"changed by others since the last snapshot: {_some(both)}",
                hint="They are kept as they are now. Rewind again to put these back, too.",
            )

    def _cut(self) -> _Cut | None:
        try:
            return msgspec.json.decode((self._folder / _RESTORING).read_bytes(), type=_Cut)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _diff(self, before_id: str, after_id: str) -> tuple[Diff, ...]:
        with self._locked() as (store, _):
            objects = store.objects
            diffs: list[Diff] = []
            for change in changes(objects, digest_of_id(before_id), digest_of_id(after_id)):
                diff = diff_of(objects, change)
                if diff is not None:
                    diffs.append(diff)
                if len(diffs) == _DIFFS_MAX:
                    break
            return tuple(diffs)

    def _gc(self) -> int:
        with self._locked() as (store, _):
            return collect(store, self._links, self._limits, now_ns=self._clock.now_ns())


def _notices(left: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for path, why in left:
        by_reason.setdefault(why, []).append(path)
    return tuple(
        f"Not kept in snapshots ({why}): {_some(sorted(paths))}"
        for why, paths in sorted(by_reason.items())
    )


def _some(paths: list[str]) -> str:
    more = len(paths) - _TOLD_MAX
    return ", ".join(paths[:_TOLD_MAX]) + (f" and {more} more" if more > 0 else "")


def _temporary() -> str:
    return f".headrace-restore-{os.urandom(8).hex()}"


def _restored(before: str, after: str, *restores: Restore) -> Restored:
    return Restored(
        before=before,
        after=after,
        written=tuple(path for each in restores for path in each.written),
        deleted=tuple(path for each in restores for path in each.deleted),
        left=tuple(path for each in restores for path in each.left),
    )


def _refuse_others(store: Store, plans: list[Plan], known: str, before: str) -> None:
    was, now = gits_of(store.objects, known), gits_of(store.objects, before)
    both = [plan.path for plan in plans if plan.want and was.get(plan.path) != now.get(plan.path)]
    if both:
        raise Conflict(
            f"changed by others since the last snapshot: {_some(both)}",
            hint="It is kept as it is now. Ask again to put it back, too.",
        )
