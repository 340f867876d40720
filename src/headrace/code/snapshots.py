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
from headrace.code.snapshot_index import load_index, save_index
from headrace.code.snapshot_restore import Restore, changes, diff_of, verify
from headrace.code.snapshot_store import Store, Taken, digest_of_id, id_of, write_file
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
    """What is written down while a restore runs: what to do, and how to undo it."""

    target: str
    before: str
    temporary: str


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

        Once begun it goes on to its end, also when whoever waits for it is cancelled.

        Raises:
            NotFound: There is no such snapshot, or not all of it any more.
            Conflict: Files that would be overwritten were changed by others since the newest
                snapshot. They are kept now: the same call again puts them back, too.
            StoreError: As in `take`; nothing was touched.
        """
        return await asyncio.to_thread(self.restore_now, snapshot_id)

    async def undo(self) -> Restored:
        """Put the files back as they were before the newest restore; twice does it again.

        Raises:
            NotFound: Nothing was restored here yet, or what was is not kept any more.
            Conflict, StoreError: As in `restore`.
        """
        try:
            before = (self._folder / _BEFORE).read_text(encoding="ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            raise NotFound("no rewind of files to undo in this folder") from None
        return await self.restore(before)

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
                save_index(self._folder, self._index)
            self._store.close()
            self._store = None

    def take_now(self, label: str) -> str:
        """`take` without an event loop."""
        with self._locked() as (store, now_ns):
            first = self._head is None
            self._head = self._take(store, label, now_ns)
            if first:
                collect(store, self._limits, now_ns=self._clock.now_ns())
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
            store.objects.sync()
            cut = _Cut(snapshot_id, before, f".headrace-restore-{os.urandom(8).hex()}")
            write_file(self._folder / _RESTORING, msgspec.json.encode(cut), sync=True)
            restore = Restore(store.objects, temporary=cut.temporary, step=self._step)
            restore.root(self._workspace, self._index, want)
            after = self._take(store, "after rewind", now_ns)
            self._head = after
            write_file(self._folder / _BEFORE, before.encode(), sync=True)
            (self._folder / _RESTORING).unlink()
        return Restored(
            before=before,
            after=after,
            written=tuple(restore.written),
            deleted=tuple(restore.deleted),
            left=tuple(restore.left),
        )

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
        walk, new = self._walk(store, index, now_ns, cut.temporary if cut is not None else None)
        store.objects.flush()
        self._index = new
        self.notices = _notices(new.left_below)
        if cut is not None:
            self.notices += ("A rewind was cut short. Rewind again to finish or to undo it.",)
        snapshot_id = id_of(new.digest)
        self._log(store, snapshot_id, label)
        if walk.read_files >= _SAVED_AFTER_FILES:
            save_index(self._folder, new)
        return snapshot_id

    def _known_index(self, store: Store) -> Folder | None:
        """How the tree was last seen, so far as the store still has it."""
        objects = store.objects
        if self._index is None:
            self._index = load_index(self._folder, objects)
        elif objects.generation != self._generation:
            save_index(self._folder, self._index)
            self._index = load_index(self._folder, objects)
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
            return collect(store, self._limits, now_ns=self._clock.now_ns())


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
