"""Outside: the person's own editor, for a while, on the same terminal."""

import asyncio
import os
import shlex
import tempfile
from pathlib import Path

from headrace.code.screen.front import Front
from headrace.core.errors import InvalidRequest


async def edited(front: Front, text: str) -> str | None:
    """The same as `edited_by_editor` where a screen stands on the terminal."""
    front.painter.erase()
    front.terminal.leave()
    try:
        return await edited_by_editor(text)
    finally:
        front.terminal.enter()
        front.painter.forget()


async def edited_by_editor(text: str) -> str | None:
    """The text as `$VISUAL` or `$EDITOR` (else vi) leaves it; None where it was left as it is.

    Raises:
        InvalidRequest: The editor cannot be started.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    path = _written(text)
    try:
        child = await asyncio.create_subprocess_exec(*shlex.split(editor), str(path))
        await child.wait()
        after = _read(path)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"the editor {editor!r} does not start", hint="set EDITOR to one that does"
        ) from error
    finally:
        _remove(path)
    return after if after != text else None


def _written(text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="headrace-", suffix=".md")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
