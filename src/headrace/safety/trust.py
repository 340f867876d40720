"""Workspace trust: keyed by real path and the hash of everything that can run there."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import StoreError
from headrace.safety.whole_files import read_plain, write_whole

_VERSION = 1
_FOLDERS = (".claude", ".headrace")
_FILES = ("settings.json", "settings.local.json")
# Whatever stands in these, the assistant may run or obey.
_INNER_FOLDERS = ("hooks", "commands", "agents", "skills", "plugins")
_LOOSE_FILES = (".mcp.json",)
# Instructions count only as far as they have commands run: the rest is text like a README.
_INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md")
_RUNS = re.compile(r"!`[^`\n]+`")
_ITEMS_MAX = 2_000
_LINES_MAX = 200
_TIGHTENS = re.compile(r"permissions\.(deny|ask)\b|\$schema")


class Item(msgspec.Struct, frozen=True):
    """One thing the repository brings that the assistant would run or obey.

    Attributes:
        name: Its path below the workspace.
        shows: What it would do, one line each, for the trust dialog.
        digest: SHA-256 of its bytes, hexadecimal.
    """

    name: str
    shows: tuple[str, ...]
    digest: str


class Bundle(msgspec.Struct, frozen=True):
    """Everything a workspace brings, in order of name."""

    root: str
    items: tuple[Item, ...]

    @property
    def digest(self) -> str:
        """What a flag names to trust exactly this: `sha256:` and 64 hexadecimal digits."""
        lines = "".join(f"{item.name}\0{item.digest}\n" for item in self.items)
        return f"sha256:{hashlib.sha256(os.fsencode(lines)).hexdigest()}"


class Verdict(msgspec.Struct, frozen=True):
    """Whether a bundle is trusted, and if not, what is new or changed since it last was.

    Attributes:
        trusted: Settings, hooks and the like of the workspace count.
        known: The folder was trusted before, maybe with other contents.
        changes: One line each, such as "changed .claude/settings.json"; empty where it is trusted.
    """

    trusted: bool
    known: bool
    changes: tuple[str, ...] = ()


def bundle_of(root: Path) -> Bundle:
    """Read what a workspace brings; runs nothing and follows no link.

    Raises:
        StoreError: It brings more than can be shown to anybody.
        OSError: A file of it cannot be read.
    """
    root = Path(os.path.realpath(root))
    items: list[Item] = []
    for name in sorted(_names(root)):
        item = _item(root, name)
        if item is not None:
            items.append(item)
        if len(items) > _ITEMS_MAX:
            raise StoreError(f"{root} brings more than {_ITEMS_MAX} files for assistants")
    return Bundle(str(root), tuple(items))


def _names(root: Path) -> Iterator[str]:
    yield from _LOOSE_FILES
    yield from _INSTRUCTIONS
    for folder in _FOLDERS:
        if (root / folder).is_symlink():
            yield folder
            continue
        yield from (f"{folder}/{file}" for file in _FILES)
        for inner in _INNER_FOLDERS:
            if (root / folder / inner).is_symlink():
                yield f"{folder}/{inner}"
                continue
            for path, folders, files in os.walk(root / folder / inner):
                linked = [each for each in folders if Path(path, each).is_symlink()]
                yield from (str(Path(path, each).relative_to(root)) for each in files + linked)


def _item(root: Path, name: str) -> Item | None:
    path = root / name
    if path.is_symlink():
        target = str(path.readlink())
        return Item(
            name, (f"a link to {target}, which is not followed",), _sha(os.fsencode(target))
        )
    content = read_plain(path)
    if content is None:
        if not path.is_file():
            return None
        size = path.stat().st_size
        return Item(name, (f"{size} bytes, too many to be read",), _sha(b"%d" % size))
    text = content.decode(errors="replace")
    runs = tuple(_RUNS.findall(text)[:_LINES_MAX])
    if name in _INSTRUCTIONS:
        return Item(name, runs, _sha("\n".join(runs).encode())) if runs else None
    if name.endswith(".json"):
        return Item(name, _leaves(content), _sha(content))
    return Item(name, (f"{len(content)} bytes", *runs), _sha(content))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _leaves(content: bytes) -> tuple[str, ...]:
    """Each value of a JSON file with its path; what only tightens is left out."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return ("not JSON",)
    found = (line for line in _flat(value, "") if not _TIGHTENS.match(line))
    lines = [line for line, _ in zip(found, range(_LINES_MAX + 1), strict=False)]
    return tuple(lines[:_LINES_MAX]) + (("… and more",) if len(lines) > _LINES_MAX else ())


def _flat(value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _flat(inner, path)
    else:
        yield f"{path}: {value}"


class _Grant(msgspec.Struct):
    granted_ns: int
    items: dict[str, str]


class _Record(msgspec.Struct):
    version: int
    workspaces: dict[str, _Grant]


class Trust:
    """What the user trusts, kept in `trust.json` in `folder` with mode 0600."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._file = folder / "trust.json"
        self._clock = clock

    def check(self, bundle: Bundle, *, digest: str | None = None) -> Verdict:
        """Whether it is trusted, by record or because a flag names its digest (for this run).

        A workspace that brings nothing has nothing to distrust.

        Raises:
            StoreError: The record is broken.
        """
        grant = self._read().workspaces.get(bundle.root)
        now = {item.name: item.digest for item in bundle.items}
        before = grant.items if grant else {}
        known = grant is not None
        if not now or (known and now == before) or digest == bundle.digest:
            return Verdict(trusted=True, known=known)
        changes = [f"removed {name}" for name in before if name not in now]
        for name, sha in now.items():
            if before.get(name) != sha:
                changes.append(f"{'changed' if name in before else 'new'} {name}")
        return Verdict(trusted=False, known=known, changes=tuple(sorted(changes)))

    def grant(self, bundle: Bundle) -> None:
        """Trust exactly this from now on.

        Raises:
            StoreError: The record is broken.
            OSError: It cannot be written.
        """
        record = self._read()
        items = {item.name: item.digest for item in bundle.items}
        record.workspaces[bundle.root] = _Grant(self._clock.now_ns(), items)
        self._write(record)

    def renew(self, before: Bundle, after: Bundle, name: str) -> None:
        """Carry trust over a change that the user himself just made to one file."""

        def others(bundle: Bundle) -> list[Item]:
            return [item for item in bundle.items if item.name != name]

        if self.check(before).trusted and others(before) == others(after):
            self.grant(after)

    def revoke(self, root: Path) -> bool:
        """Trust it no longer; False where it was not trusted."""
        record = self._read()
        gone = record.workspaces.pop(os.path.realpath(root), None)
        if gone is not None:
            self._write(record)
        return gone is not None

    def _read(self) -> _Record:
        content = read_plain(self._file)
        if content is None:
            return _Record(_VERSION, {})
        try:
            record = msgspec.json.decode(content, type=_Record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise StoreError(
                f"{self._file} is broken: {error}", hint="delete it; you will be asked again"
            ) from None
        if record.version != _VERSION:
            raise StoreError(f"{self._file} was written by a newer Headrace")
        return record

    def _write(self, record: _Record) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._file, msgspec.json.format(msgspec.json.encode(record), indent=2))
