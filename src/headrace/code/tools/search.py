"""Grep and Glob: through the workspace's door, never along links, without what git ignores."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from headrace.agent.tools import Outcome, Use
from headrace.code.edits import encoding
from headrace.code.tools.ignored import Ignored, glob_pattern
from headrace.code.tools.parts import FLAG, TEXT, MayRead, failed, path_in, spec
from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.safety.actions import Action
from headrace.safety.files import Workspace

_FILE_BYTES_MAX = 2 << 20
_COLUMNS_MAX = 200
_LINES_MAX = 100
_NAMES_MAX = 200
_CHARACTERS_MAX = 6_000
_PATTERN_CHARACTERS_MAX = 1_000
_SEARCH_S_MAX = 20.0


class _Search:
    def __init__(self, workspace: Workspace, may_read: MayRead) -> None:
        self._workspace, self._may_read = workspace, may_read

    def files(self, top: str) -> Iterator[str]:
        """Absolute paths of the files below that git would not ignore, sorted."""
        ignored, skipped = Ignored(), "\0"
        name = self._workspace.relative(top)
        start = "" if name == "." or name.startswith("/") else f"{name}/"
        above = start.split("/")[:-1]
        for depth in range(len(above) + 1):
            folder = "/".join(above[:depth])
            self._take(ignored, f"{top.removesuffix(start.rstrip('/'))}{folder}", folder)
        for found in self._workspace.walk(top):
            named = f"{start}{found.path}"
            if named.startswith(skipped):
                continue
            if ignored.leaves_out(named, is_folder=found.is_folder):
                skipped = f"{named}/" if found.is_folder else skipped
            elif found.is_folder:
                self._take(ignored, f"{top}/{found.path}", named)
            elif self._may_read(f"{top}/{found.path}"):
                yield f"{top}/{found.path}"

    def _take(self, ignored: Ignored, folder: str, name: str) -> None:
        with suppress(HeadraceError):
            rules = self._workspace.read(f"{folder}/.gitignore", _FILE_BYTES_MAX)
            ignored.add(name, rules.decode(errors="replace"))

    def shown(self, path: str) -> str:
        """A path as short as it can be."""
        return self._workspace.relative(path)


class Grep(_Search):
    """Lines that match a regular expression, with their files and numbers."""

    def __init__(self, workspace: Workspace, may_read: MayRead, *, short: bool = False) -> None:
        super().__init__(workspace, may_read)
        fields = {"pattern": TEXT, "path": TEXT}
        if not short:
            fields |= {"glob": TEXT, "files_only": FLAG}
        self.spec = spec("Grep", "Search files for a regular expression.", fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Reads below a path."""
        return Action(tool="Grep", path=path_in(self._workspace, arguments, "path"))

    async def run(self, use: Use) -> Outcome:
        """Search in a thread, so that the screen goes on."""
        stop = [False]
        try:
            return await asyncio.to_thread(self._search, use.arguments, stop)
        except HeadraceError as error:
            return failed(error)
        finally:
            stop[0] = True

    def _search(self, arguments: dict[str, Any], stop: list[bool]) -> Outcome:
        pattern = _pattern(str(arguments["pattern"]))
        top = path_in(self._workspace, arguments, "path")
        wanted = glob_pattern(_anywhere(str(arguments["glob"]))) if arguments.get("glob") else None
        single = top != str(self._workspace.root) and self._workspace.stat(top).kind == "file"
        lines: list[str] = []
        count, until = 0, time.monotonic() + _SEARCH_S_MAX
        for path in (top,) if single else self.files(top):
            if stop[0] or time.monotonic() > until:
                lines.append("[stopped: too many files; name a path or a glob]")
                break
            if wanted and not wanted.fullmatch(self.shown(path)):
                continue
            hits = self._hits(path, pattern)
            if hits and arguments.get("files_only"):
                hits = [self.shown(path)]
            count += len(hits)
            lines += hits[: max(0, _LINES_MAX - len(lines))]
        return _listed(lines, count, "Nothing matches.")

    def _hits(self, path: str, pattern: re.Pattern[str]) -> list[str]:
        try:
            source = encoding.decode(self._workspace.read(path, _FILE_BYTES_MAX))
        except HeadraceError:
            return []
        if source is None or not pattern.search(source.text):
            return []
        name = self.shown(path)
        return [
            f"{name}:{number}:{line.rstrip()[:_COLUMNS_MAX]}"
            for number, line in enumerate(source.text.split("\n"), 1)
            if pattern.search(line)
        ]


class Glob(_Search):
    """Files by their names."""

    def __init__(self, workspace: Workspace, may_read: MayRead) -> None:
        super().__init__(workspace, may_read)
        self.spec = spec("Glob", "Find files: **/*.py", {"pattern": TEXT, "path": TEXT}, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Reads below a path."""
        return Action(tool="Glob", path=path_in(self._workspace, arguments, "path"))

    async def run(self, use: Use) -> Outcome:
        """List what fits."""
        try:
            top = path_in(self._workspace, use.arguments, "path")
            wanted = glob_pattern(_anywhere(str(use.arguments["pattern"])))
            paths = await asyncio.to_thread(
                lambda: [p for p in self.files(top) if wanted.fullmatch(p[len(top) + 1 :])]
            )
        except HeadraceError as error:
            return failed(error)
        names = [self.shown(path) for path in paths[:_NAMES_MAX]]
        return _listed(names, len(paths), "No file fits.")


def _anywhere(glob: str) -> str:
    """A glob without a slash means names in any folder."""
    plain = glob.removeprefix("./")
    return plain if "/" in plain else f"**/{plain}"


def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > _PATTERN_CHARACTERS_MAX:
        raise InvalidRequest("the pattern is too long; search for a shorter one")
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
        raise InvalidRequest(
            f"the pattern is no regular expression: {error}; put \\ before ( ) [ ] {{ }} . * + ?"
        ) from None


def _listed(lines: list[str], count: int, none: str) -> Outcome:
    text, shown = "", 0
    for line in lines:
        if len(text) + len(line) > _CHARACTERS_MAX:
            break
        text += f"{line}\n"
        shown += 1
    if count > shown:
        text += f"[{count - shown} more; search more narrowly]\n"
    return Outcome.of(text.rstrip("\n") or none, note=f"{count} found")
