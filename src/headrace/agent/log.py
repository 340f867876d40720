"""Log: a session on the disk, one line of JSON for each entry, only ever appended to.

Each entry names its parent, so the file is a tree; the session is the branch that ends in the
newest entry. A line is one write to a file opened for appending: what is torn by a crash is the
last line and nothing else. Kinds and versions of entries that this release does not know are kept
in their place in the tree and passed over.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headrace.agent.entries import VERSION, Body, Entry, Moved, Said
from headrace.core.clock import Clock
from headrace.core.errors import Conflict, NotFound, StoreError
from headrace.core.ids import new_id

_FIRST_WORDS_CHARS = 200
_LISTED_BYTES = 1 << 20
_SUFFIX = ".jsonl"
_ENTRY = msgspec.json.Decoder(Entry)

Stamp = Callable[[], tuple[str, int]]
"""Gives an entry its id and its time in nanoseconds since 1970."""


class _Line(msgspec.Struct):
    """What every line has, whatever its kind and version."""

    id: str
    parent_id: str | None


_LINE = msgspec.json.Decoder(_Line)
_UNREADABLE = (msgspec.MsgspecError, RecursionError)


class Listed(msgspec.Struct, frozen=True):
    """A session in a list: its file, what was said first, and when something was said last."""

    path: Path
    words: str
    changed_ns: int

    @property
    def id(self) -> str:
        """The session's id."""
        return self.path.stem


class Log:
    """The entries of one session. Opening it keeps other processes out until `close`.

    Attributes:
        path: Its file.
        notices: What was found wrong at opening, in words for people.
        head: Id of the newest entry of the branch in use; None in an empty log.
    """

    def __init__(self, path: Path, descriptor: int, stamp: Stamp) -> None:
        self.path = path
        self.notices: list[str] = []
        self.head: str | None = None
        self._descriptor = descriptor
        self._stamp = stamp
        self._parents: dict[str, str | None] = {}
        self._entries: dict[str, Entry] = {}
        self._position = 0

    @classmethod
    def open(cls, path: Path, clock: Clock, *, stamp: Stamp | None = None) -> "Log":
        """Open a session, or begin a new one.

        Args:
            path: Its file; folders are made, for their owner only.
            clock: Where ids and times come from.
            stamp: Where they come from instead, in a replay.

        Raises:
            Conflict: Another process has it open.
            StoreError: It cannot be read or written.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the session {path}: {error.strerror}") from error
        log = cls(path, descriptor, stamp or (lambda: (new_id(clock), clock.now_ns())))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            hint = "end it there, or go on from a copy: --fork-session"
            raise Conflict(f"the session {path.stem} is open elsewhere", hint=hint) from None
        log._load()
        return log

    def close(self) -> None:
        """Let others open it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def id(self) -> str:
        """The session's id, which its file is named by."""
        return self.path.stem

    def append(self, body: Body) -> Entry:
        """Write an entry behind the head.

        Raises:
            StoreError: The disk is full or broken; the log is as it was before.
        """
        return self._append(body, self.head)

    def move(self, to_id: str, snapshot: str | None = None) -> Entry:
        """Go on from an older entry; what came after it stays as another branch.

        Raises:
            NotFound: There is no such entry.
        """
        if to_id not in self._parents:
            raise NotFound(f"the session has no entry {to_id}")
        return self._append(Moved(snapshot), to_id)

    def branch(self, head: str | None = None) -> tuple[Entry, ...]:
        """The entries from the first one to `head`, by default the session's own.

        Raises:
            NotFound: There is no such entry.
        """
        at = head if head is not None else self.head
        if at is not None and at not in self._parents:
            raise NotFound(f"the session has no entry {at}")
        found: list[Entry] = []
        while at is not None:
            if (entry := self._entries.get(at)) is not None:
                found.append(entry)
            at = self._parents[at]
        return tuple(reversed(found))

    def all(self) -> tuple[Entry, ...]:
        """The entries of all branches, as they were written."""
        return tuple(self._entries.values())

    def fork(self, path: Path, head: str | None = None) -> None:
        """Write the branch up to `head` into a new file, byte for byte.

        Raises:
            NotFound: There is no such entry.
            StoreError: The file is there already, or cannot be written.
        """
        kept = self._line_ids(head if head is not None else self.head)
        lines = [line for line in self._lines() if _LINE.decode(line).id in kept]
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(b"".join(line + b"\n" for line in lines))
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def _line_ids(self, at: str | None) -> set[str]:
        if at is not None and at not in self._parents:
            raise NotFound(f"the session has no entry {at}")
        kept: set[str] = set()
        while at is not None:
            kept.add(at)
            at = self._parents[at]
        return kept

    def _append(self, body: Body, parent_id: str | None) -> Entry:
        identifier, time_ns = self._stamp()
        entry = Entry(id=identifier, parent_id=parent_id, time_ns=time_ns, body=body)
        line = msgspec.json.encode(entry) + b"\n"
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                os.ftruncate(self._descriptor, self._position)
                raise OSError(28, "the disk is full")  # noqa: TRY301 - one way out for both
        except OSError as error:
            raise StoreError(f"cannot write the session: {error.strerror}") from error
        self._position += len(line)
        self._add(entry)
        return entry

    def _add(self, entry: Entry) -> None:
        self._parents[entry.id] = entry.parent_id
        self._entries[entry.id] = entry
        self.head = entry.id

    def _lines(self) -> Iterator[bytes]:
        for line in _content(self._descriptor).split(b"\n"):
            if _is_line(line):
                yield line

    def _load(self) -> None:
        content = _content(self._descriptor)
        whole = content.rfind(b"\n") + 1
        torn = content[whole:]
        if torn and _is_line(torn):  # only its line feed is missing
            os.write(self._descriptor, b"\n")
            content, whole, torn = content + b"\n", len(content) + 1, b""
        if torn:
            # It was never acknowledged; what is appended now must begin a line of its own.
            os.ftruncate(self._descriptor, whole)
            self.notices.append(
                f"the last line of the session was torn ({len(torn)} bytes) and is dropped;"
                " everything before it is here"
            )
        self._position = whole
        for number, line in enumerate(content[:whole].split(b"\n"), 1):
            if line:
                self._read(line, number)

    def _read(self, line: bytes, number: int) -> None:
        try:
            known = _LINE.decode(line)
        except _UNREADABLE:
            known = None
        if known is None or known.id in self._parents:  # an id twice could make the tree a ring
            self.notices.append(f"line {number} of the session is damaged and is passed over")
            return
        if known.parent_id is not None and known.parent_id not in self._parents:
            # Its parent was damaged: the line before it is the nearest that is left.
            known.parent_id = self.head
        self._parents[known.id], self.head = known.parent_id, known.id
        try:
            entry = _ENTRY.decode(line)
        except _UNREADABLE:
            self.notices.append(f"line {number} is of a kind that this release does not know")
            return
        if entry.v <= VERSION:
            self._entries[entry.id] = entry


def folder_of(state: Path, workspace: Path) -> Path:
    """The folder of the sessions of a workspace; `state` is the assistant's state folder."""
    import hashlib  # noqa: PLC0415 - once a session

    path = str(workspace)
    slug = "".join(char if char.isalnum() else "-" for char in path).strip("-")[-80:]
    return state / "sessions" / f"{slug}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def new_path(folder: Path, clock: Clock) -> Path:
    """The file of a session that begins now."""
    return folder / f"{new_id(clock)}{_SUFFIX}"


def sessions(folder: Path) -> tuple[Listed, ...]:
    """The sessions of a workspace in which something was said, the newest first."""
    found: list[Listed] = []
    try:
        paths = [path for path in folder.iterdir() if path.suffix == _SUFFIX]
    except FileNotFoundError:
        return ()
    for path in paths:
        words = _first_words(path)
        if words is not None:
            found.append(Listed(path, words, path.stat().st_mtime_ns))
    return tuple(sorted(found, key=lambda one: (one.changed_ns, one.id), reverse=True))


def _first_words(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(_LISTED_BYTES)
    except OSError:
        return None
    for line in head.split(b"\n"):
        if b'"said"' in line:
            try:
                body = _ENTRY.decode(line).body
            except _UNREADABLE:
                continue
            if isinstance(body, Said) and body.origin == "user":
                return " ".join(body.message.text().split())[:_FIRST_WORDS_CHARS]
    return None


def _content(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    pieces: list[bytes] = []
    at = 0
    while at < size and (piece := os.pread(descriptor, size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _is_line(data: bytes) -> bool:
    try:
        _LINE.decode(data)
    except _UNREADABLE:
        return False
    return True
