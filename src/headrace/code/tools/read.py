"""Read: text by pages, notebooks as cells, folders as lists, pictures as pictures."""

import base64
import json
from typing import Any, cast

from headrace.agent.tools import Outcome, Use
from headrace.code.edits import encoding
from headrace.code.edits.lines import split
from headrace.code.tools.parts import COUNT, TEXT, failed, path_in, spec
from headrace.code.tools.seen import Seen
from headrace.core.errors import HeadraceError, InvalidRequest
from headrace.core.messages import Image
from headrace.safety.actions import Action
from headrace.safety.files import Workspace

_BYTES_MAX = 16 << 20
_IMAGE_BYTES_MAX = 5 << 20
_COLUMNS_MAX = 2_000
_NAMES_MAX = 200
_OUTPUT_CHARACTERS_MAX = 1_000
_IMAGES = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


class Read:
    """Read a file. Line numbers are left out: edits name text, not numbers.

    Args:
        workspace: The door to files.
        seen: Takes note of what the model has seen.
        characters_max: Of text in one result.
        images: Whether the model sees pictures.
        short: Whether the description is for a small model.
    """

    def __init__(
        self,
        workspace: Workspace,
        seen: Seen,
        *,
        characters_max: int,
        images: bool = False,
        short: bool = False,
    ) -> None:
        self._workspace, self._seen = workspace, seen
        self._characters_max, self._images = characters_max, images
        fields = {"file_path": TEXT, "offset": COUNT, "limit": COUNT}
        what = "Read a file." if short else "Read a file or list a folder. offset, limit: lines."
        self.spec = spec("Read", what, fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Reads a path."""
        return Action(tool="Read", path=path_in(self._workspace, arguments))

    async def run(self, use: Use) -> Outcome:
        """The page asked for."""
        path = path_in(self._workspace, use.arguments)
        try:
            if path == str(self._workspace.root) or self._workspace.stat(path).kind == "folder":
                return self._folder(path)
            data = self._workspace.read(path, _BYTES_MAX)
            return self._file(path, data, use.arguments)
        except HeadraceError as error:
            return failed(error)

    def _folder(self, path: str) -> Outcome:
        names = [
            found.path + "/" * found.is_folder
            for found in self._workspace.walk(path)
            if "/" not in found.path
        ]
        shown = names[:_NAMES_MAX]
        more = f"\n[{len(names) - _NAMES_MAX} more]" if len(names) > _NAMES_MAX else ""
        return Outcome.of("\n".join(shown) + more or "(empty)", note=f"{len(names)} names")

    def _file(self, path: str, data: bytes, arguments: dict[str, Any]) -> Outcome:
        media_type = next((kind for magic, kind in _IMAGES if data.startswith(magic)), None)
        if media_type is not None:
            return self._image(data, media_type)
        source = encoding.decode(data)
        if source is None:
            return Outcome.error(f"{path} is binary ({len(data):,} bytes); look at it with Bash.")
        self._seen.note(path, data, source.text)
        text = _cells(source.text) if path.endswith(".ipynb") else source.text
        return self._page(text, arguments)

    def _image(self, data: bytes, media_type: str) -> Outcome:
        if not self._images:
            return Outcome.error(f"It is a picture ({media_type}), which this model cannot see.")
        if len(data) > _IMAGE_BYTES_MAX:
            return Outcome.error(f"The picture has {len(data):,} bytes, at most 5 MiB can be seen.")
        part = Image(media_type=media_type, data=base64.b64encode(data).decode())
        return Outcome((part,), note=media_type)

    def _page(self, text: str, arguments: dict[str, Any]) -> Outcome:
        lines = split(text)[0]
        first = max(1, int(arguments.get("offset") or 1))
        limit = int(arguments.get("limit") or len(lines) or 1)
        if limit < 1 or (first > len(lines) and lines):
            return Outcome.error(f"The file has {len(lines)} lines; offset {first} is beyond them.")
        shown: list[str] = []
        room = self._characters_max
        for line in lines[first - 1 : first - 1 + limit]:
            cut = line
            if len(line) > _COLUMNS_MAX:
                cut = f"{line[:_COLUMNS_MAX]}[{len(line) - _COLUMNS_MAX:,} more characters]"
            room -= len(cut) + 1
            if room < 0 and shown:
                break
            shown.append(cut)
        last = first + len(shown) - 1
        note = f"read {len(shown)} lines"
        if not lines:
            return Outcome.of("[the file is empty]", note=note)
        body = "\n".join(shown)
        if first == 1 and last >= len(lines):
            return Outcome.of(body, note=note)
        more = f"; offset={last + 1} for more" if last < len(lines) else ""
        return Outcome.of(f"[lines {first}-{last} of {len(lines)}{more}]\n{body}", note=note)


def _cells(text: str) -> str:
    """A notebook as its cells, each with its number, kind and the text that it printed."""
    try:
        cells = cast("list[dict[str, Any]]", json.loads(text)["cells"])
        return "\n\n".join(_cell(number, cell) for number, cell in enumerate(cells))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRequest("the notebook is damaged; look at it with Bash") from None


def _cell(number: int, cell: dict[str, Any]) -> str:
    parts = [f"[{number}: {cell['cell_type']}]", "".join(cell["source"])]
    for output in cell.get("outputs", ()):
        said = output.get("text") or output.get("data", {}).get("text/plain") or ""
        said = "".join(said) or f"{output.get('ename', '')} {output.get('evalue', '')}".strip()
        if said:
            parts.append(f"[output]\n{said[:_OUTPUT_CHARACTERS_MAX]}")
    return "\n".join(parts)
