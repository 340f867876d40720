"""Edit and Write: files changed only as surely meant, and only in the version that was seen."""

from typing import Any

from headrace.agent.tools import Diff, Outcome, Use
from headrace.code.edits import encoding, match, parses, patch, whole_file
from headrace.code.edits.encoding import Source
from headrace.code.edits.results import Applied, Refused, Result
from headrace.code.tools.parts import FLAG, TEXT, failed, path_in, spec
from headrace.code.tools.seen import Seen
from headrace.core.errors import HeadraceError, InvalidRequest, NotFound
from headrace.safety.actions import Action
from headrace.safety.files import Workspace

_DIFF_CHARACTERS_MAX = 400_000


class _Changes:
    """How every changing tool reads a file before, and puts the new one in place."""

    def __init__(self, workspace: Workspace, seen: Seen) -> None:
        self._workspace, self._seen = workspace, seen

    def before(self, path: str) -> tuple[Source | None, bytes]:
        """What is there; None where nothing is.

        Raises:
            HeadraceError: It cannot be read, or is no text.
        """
        try:
            data = self._workspace.read(path)
        except NotFound:
            return None, b""
        source = encoding.decode(data)
        if source is None:
            raise InvalidRequest(f"{path} is binary; it cannot be edited as text")
        return source, data

    def stale(self, path: str, source: Source, data: bytes) -> str:
        """What changed since the model saw the file; "" where nothing did."""
        if not self._seen.is_stale(path, data):
            return ""
        changes = self._seen.changes(path, source.text)
        self._seen.note(path, data, source.text)
        return f"The file has changed since you read it. Nothing was written. New lines:\n{changes}"

    def put(self, path: str, source: Source | None, result: Result) -> Outcome:
        """Write what an edit came to."""
        if isinstance(result, Refused):
            return Outcome.error(result.why)
        before = None if source is None else source.text
        data = (source or Source("")).encode(result.text)
        self._workspace.write(path, data)
        self._seen.note(path, data, result.text)
        name = self._workspace.relative(path)
        detail = _diff(name, before, result.text)
        if before is None:
            lines = result.last_line
            return Outcome.of(
                f"Created {name}, {lines} lines.{_syntax(name, result.text)}", detail=detail
            )
        return Outcome.of(_told(name, result), detail=detail)


def _diff(name: str, before: str | None, after: str) -> Diff | None:
    short = len(before or "") + len(after) <= _DIFF_CHARACTERS_MAX
    return Diff(name, before, after) if short else None


def _told(name: str, result: Applied) -> str:
    first, last = result.first_line, result.last_line
    where = f"line {first}" if last == first else f"lines {first}-{last}"
    if last < first:
        where = f"lines removed at {first}"
    if result.changes > 1:
        where = f"{result.changes} places, {where}"
    notes = f" Matched despite: {', '.join(result.notes)}." if result.notes else ""
    return f"Edited {name}, {where}.{notes}"


def _syntax(name: str, text: str) -> str:
    line = parses.error_line(name, text)
    return "" if line is None else f" It does not parse: syntax error at line {line}."


class Edit(_Changes):
    """Replace one passage of a file by another; an empty old text creates a file."""

    def __init__(self, workspace: Workspace, seen: Seen, *, short: bool = False) -> None:
        super().__init__(workspace, seen)
        fields = {"file_path": TEXT, "old_string": TEXT, "new_string": TEXT}
        if short:
            what = "Replace old_string in a file. Empty old_string: new file."
        else:
            fields["replace_all"] = FLAG
            what = "Replace old_string, which must occur once. Empty old_string: new file."
        self.spec = spec("Edit", what, fields, 3)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Changes a path."""
        return Action(tool="Edit", path=path_in(self._workspace, arguments), writes=True)

    async def run(self, use: Use) -> Outcome:
        """Apply it, or say why not."""
        path = path_in(self._workspace, use.arguments)
        old, new = str(use.arguments["old_string"]), str(use.arguments["new_string"])
        try:
            source, data = self.before(path)
            if source is None or not source.text:
                return self._created(path, source, old, new)
            result = match.apply(
                source.text, old, new, every=bool(use.arguments.get("replace_all"))
            )
            if isinstance(result, Refused) or result.notes:
                stale = self.stale(path, source, data)
                if stale:
                    return Outcome.error(stale)
            return self.put(path, source, parses.checked(path, source.text, result))
        except HeadraceError as error:
            return failed(error)

    def _created(self, path: str, source: Source | None, old: str, new: str) -> Outcome:
        if old.strip():
            what = "is not there" if source is None else "is empty"
            return Outcome.error(
                f"{path} {what}. To create it leave old_string empty; to find it use Glob or Grep."
            )
        lines = whole_file.line_count(new)
        return self.put(path, source, Applied(text=new, first_line=1, last_line=lines))


class Write(_Changes):
    """Write a whole file."""

    def __init__(self, workspace: Workspace, seen: Seen, *, short: bool = False) -> None:
        super().__init__(workspace, seen)
        what = "Write a whole file." if short else "Write a whole file. Read it first if it exists."
        self.spec = spec("Write", what, {"file_path": TEXT, "content": TEXT}, 2)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Writes a path."""
        return Action(tool="Write", path=path_in(self._workspace, arguments), writes=True)

    async def run(self, use: Use) -> Outcome:
        """Write it, unless that would lose what the model has not seen."""
        path, content = path_in(self._workspace, use.arguments), str(use.arguments["content"])
        try:
            source, data = self.before(path)
            if source is not None and data:
                if not self._seen.knows(path):
                    return Outcome.error(f"{path} exists. Read it first, then write it.")
                stale = self.stale(path, source, data)
                if stale:
                    return Outcome.error(stale)
            before = None if source is None else source.text
            result = whole_file.replace(before, content)
            return self.put(path, source, parses.checked(path, before or "", result))
        except HeadraceError as error:
            return failed(error)


class ApplyPatch(_Changes):
    """Change one file by a patch, for models that were trained on that form."""

    def __init__(self, workspace: Workspace, seen: Seen) -> None:
        super().__init__(workspace, seen)
        what = "Apply a patch to one file: *** Begin Patch … *** End Patch, or a unified diff."
        self.spec = spec("Edit", what, {"patch": TEXT}, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Changes a path."""
        path = self._workspace.absolute(self._read(arguments).path)
        return Action(tool="Edit", path=path, writes=True)

    async def run(self, use: Use) -> Outcome:
        """Apply it, or say why not."""
        try:
            wanted = self._read(use.arguments)
            path = self._workspace.absolute(wanted.path)
            source, data = self.before(path)
            if wanted.deletes:
                return self._deleted(path, source, data)
            before = None if source is None else source.text
            result = patch.apply(before, wanted)
            if source is not None and (isinstance(result, Refused) or result.notes):
                stale = self.stale(path, source, data)
                if stale:
                    return Outcome.error(stale)
            return self.put(path, source, parses.checked(path, before or "", result))
        except HeadraceError as error:
            return failed(error)

    def _deleted(self, path: str, source: Source | None, data: bytes) -> Outcome:
        if source is None:
            return Outcome.error(f"{path} is not there.")
        if not self._seen.knows(path) or self._seen.is_stale(path, data):
            return Outcome.error(f"Read {path} before you delete it.")
        self._workspace.delete(path)
        name = self._workspace.relative(path)
        return Outcome.of(f"Deleted {name}.", detail=Diff(name, source.text, None))

    def _read(self, arguments: dict[str, Any]) -> patch.FilePatch:
        found = patch.read(str(arguments["patch"]))
        if isinstance(found, Refused):
            raise InvalidRequest(found.why)
        if len(found) != 1:
            raise InvalidRequest("the patch changes several files; send one patch for each file")
        return found[0]
