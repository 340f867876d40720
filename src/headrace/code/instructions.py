"""Instructions: AGENTS.md and CLAUDE.md, from the user's own down to the folder's.

They are read as text, in a fixed order, and run nothing. `@path` imports another file, out of the
folder of the file that begins the chain or out of the user's own folders of instructions, links
resolved. Of the latter only texts, since those folders hold credentials as well.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace.code.visible import visible
from headrace.safety.beneath import FOLDER, open_beneath

_NAMES = ("AGENTS.md", "CLAUDE.md")
_USER_FOLDERS = (".headrace", ".claude")
_DEPTH_MAX = 5
_FILES_MAX = 50
_FILE_BYTES_MAX = 1 << 20
_ANCESTORS_MAX = 40
_IMPORT = re.compile(r"(?:^|(?<=\s))@([^\s`]+)")
_CODE = re.compile(r"^(```|~~~).*?(?:^\1|\Z)|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_TRAILING = ".,;:!?)]}'\""
_TEXT_ENDINGS = (".md", ".markdown", ".mdx", ".txt", ".rst")

INIT_PROMPT = """\
Write AGENTS.md for this repository: what somebody new to it must know to work in it.
Look at the README, the build and test configuration, CI and a few typical files first.
Say, in at most 60 lines: what the project is, in one or two sentences; the commands to build, \
check, run all tests and run one test; where things live, as far as names do not tell; conventions \
that the code follows and a newcomer would miss; traps.
Only what you have seen here. No general advice, no list of every file.
If AGENTS.md or CLAUDE.md is there already, keep what is right and correct the rest."""


class Instructions(msgspec.Struct, frozen=True):
    """What was found: `text` for the model, `sources` and `notices` for people."""

    text: str = ""
    sources: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class _File(NamedTuple):
    """A file to read: what it is called, where it is, what it and its imports must lie in."""

    name: str
    path: Path
    within: Path


def load(
    workspace: Path,
    *,
    home: Path,
    denied: Callable[[Path], bool] = lambda _: False,
    bytes_max: int = 32 << 10,
) -> Instructions:
    """Read all instruction files, the nearest last.

    Args:
        workspace: The folder that the session works in.
        home: The user's home folder; `.headrace` and `.claude` in it may hold their own.
        denied: Says of a path whether reading it would be denied or asked about.
        bytes_max: Of all files together; the farthest from the workspace are cut first.
    """
    home = home.resolve()
    reader = _Reader(home, denied)
    groups = [list(reader.read(file)) for file in _candidates(workspace.resolve(), home)]
    sections = [section for group in groups for section in group]
    text = "\n\n".join(_fitted(sections, bytes_max, reader.notices))
    # Folders may have any names.
    notices = tuple(visible(notice)[0] for notice in reader.notices)
    return Instructions(text, tuple(name for name, _ in sections), notices)


def _candidates(workspace: Path, home: Path) -> Iterator[_File]:
    for folder in _USER_FOLDERS:
        for name in _NAMES:
            # Many keep their own elsewhere and link to it.
            path = (home / folder / name).resolve()
            yield _File(f"~/{folder}/{name}", path, path.parent)
    folders = [workspace]
    if not _is_repository(workspace):
        above = list(workspace.parents)[:_ANCESTORS_MAX]
        top = next((number for number, each in enumerate(above) if _is_repository(each)), None)
        folders += above[: top + 1] if top is not None else []
    for folder in reversed(folders):
        shown = os.path.relpath(folder, workspace)
        for name in _NAMES:
            yield _File(os.path.normpath(f"{shown}/{name}"), folder / name, folder)


def _is_repository(folder: Path) -> bool:
    return os.path.lexists(folder / ".git")


class _Reader:
    """Reads files and what they import, each once."""

    def __init__(self, home: Path, denied: Callable[[Path], bool]) -> None:
        self.notices: list[str] = []
        self._home = home
        self._denied = denied
        self._read: set[Path] = set()
        self._open: list[Path] = []

    def read(self, file: _File, asked_by: str = "") -> Iterator[tuple[str, str]]:
        """Names and texts of a file and then of its imports, in the order they are named."""
        by = f" (imported by {asked_by})" if asked_by else ""
        path = self._place(file, asked_by, by)
        if path is None:
            return
        data = _bytes(path)
        if data is None:
            self.notices.append(f"{file.name}{by} cannot be read.")
            return
        if len(data) > _FILE_BYTES_MAX:
            self.notices.append(f"{file.name}{by} is over 1 MiB and was not read.")
            return
        self._read.add(path)
        text, hidden = visible(data.decode(errors="replace").removeprefix("\ufeff").strip())
        if hidden:
            self.notices.append(
                f"{file.name} holds {hidden} invisible characters; they are shown as <U+…>."
            )
        yield file.name, text
        self._open.append(path)
        for name in _imports(text):
            yield from self._import(name, file, path)
        self._open.pop()

    def _place(self, file: _File, asked_by: str, by: str) -> Path | None:
        """Where the file really is; None where it may not or need not be read."""
        try:
            path = file.path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            if file.name.endswith(_TEXT_ENDINGS) and asked_by:
                self.notices.append(f"{file.name}{by} is not there.")
            return None
        if path in self._open:
            self.notices.append(f"{file.name}{by} is a circle; it was read once.")
        elif not path.is_file():
            pass
        elif not self._may_be_named(path, file.within.resolve()):
            self.notices.append(f"{file.name}{by} lies outside {file.within}; it was not read.")
        elif self._denied(path):
            self.notices.append(f"{file.name}{by} is not read unasked, by a rule or by its name.")
        elif path not in self._read:
            return path
        return None

    def _may_be_named(self, path: Path, within: Path) -> bool:
        if path.is_relative_to(within):
            return ".git" not in path.parts
        own = any(path.is_relative_to(self._home / folder) for folder in _USER_FOLDERS)
        return own and path.suffix in _TEXT_ENDINGS

    def _import(self, name: str, by: _File, path: Path) -> Iterator[tuple[str, str]]:
        if len(self._open) > _DEPTH_MAX:
            self.notices.append(f"@{name} in {by.name} is over {_DEPTH_MAX} imports deep.")
            return
        if len(self._read) >= _FILES_MAX:
            self.notices.append(f"@{name} in {by.name} was not read: {_FILES_MAX} files were.")
            return
        if name.startswith("~/"):
            file = _File(name, self._home / name[2:], by.within)
        else:
            beside = by.name.rpartition("/")[0] or "."
            shown = name if name.startswith("/") else os.path.normpath(f"{beside}/{name}")
            file = _File(shown, path.parent / name, by.within)
        yield from self.read(file, by.name)


def _imports(text: str) -> Iterator[str]:
    for found in _IMPORT.finditer(_CODE.sub("", text)):
        name = found[1].rstrip(_TRAILING)
        if name:
            yield name


def _bytes(path: Path) -> bytes | None:
    """A regular file's first bytes, one more than is allowed.

    The path held no links when it was judged, and is refused if it does by now.
    """
    top = os.open("/", FOLDER)
    try:
        file = open_beneath(top, os.fspath(path)[1:], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    finally:
        os.close(top)
    with open(file, "rb") as opened:  # noqa: PTH123 - a descriptor
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        return opened.read(_FILE_BYTES_MAX + 1) if is_file else None


def _fitted(sections: list[tuple[str, str]], bytes_max: int, notices: list[str]) -> Iterator[str]:
    """The sections with their names, the nearest whole so far as there is room."""
    left = bytes_max
    fitted: list[str] = []
    for name, text in reversed(sections):
        head = f"# {name}\n\n"
        room = left - len(head) - 2
        size = len(text.encode())
        if size > room:
            kept = _cut(text, room)
            notices.append(f"{name}: {size - len(kept.encode())} of {size} bytes were cut.")
            text = f"{kept}\n[{name} is cut here]" if kept else ""  # noqa: PLW2901 - shortened
        if text:
            fitted.append(head + text)
        left -= len(head) + 2 + len(text.encode())
    return reversed(fitted)


def _cut(text: str, bytes_max: int) -> str:
    """The whole lines of a text that fit, with room for a line that says so."""
    start = text.encode()[: max(bytes_max - 80, 0)].decode(errors="ignore")
    return start[: start.rfind("\n") + 1].rstrip()
