"""What was typed before: up, down and ctrl+r, kept in a file of mode 0600."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES_MAX = 1_000
_BYTES_MAX = 2_000_000
_WORDS_MAX = 10_000


class History:
    """Entries from the oldest to the newest; `at` is where up and down stand."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._path: Path | None = None
        self._at: int | None = None
        self._draft = ""

    def load(self, path: "Path") -> None:
        """Read what is kept, before what was typed meanwhile."""
        import json  # noqa: PLC0415 - after the first paint

        self._path = path
        kept: list[str] = []
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _BYTES_MAX))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        for line in lines[-ENTRIES_MAX:]:
            try:
                words = json.loads(line)
            except ValueError:
                continue  # cut by a crash, or by where reading began
            if isinstance(words, str):
                kept.append(words)
        typed, self.entries = self.entries, kept
        for words in typed:
            self.add(words)

    def add(self, words: str) -> None:
        """Keep what was said. Not being able to write loses nothing but this."""
        self._at, self._draft = None, ""
        if not words.strip() or len(words) > _WORDS_MAX:
            return
        if self.entries and self.entries[-1] == words:
            return
        self.entries.append(words)
        if self._path is None:
            return
        import json  # noqa: PLC0415 - after the first paint

        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(words).encode() + b"\n")

    def step(self, by: int, typed: str) -> str | None:
        """The entry before (-1) or after (1) the one shown; None where there is none."""
        at = len(self.entries) if self._at is None else self._at
        if self._at is None:
            self._draft = typed
        to = at + by
        if not 0 <= to <= len(self.entries) or to == at:
            return None
        self._at = to if to < len(self.entries) else None
        return self._draft if self._at is None else self.entries[to]

    def search(self, words: str, before: int | None = None) -> int | None:
        """Where the newest entry stands that holds `words`, older than `before`."""
        end = len(self.entries) if before is None else before
        for at in range(end - 1, -1, -1):
            if words.casefold() in self.entries[at].casefold():
                return at
        return None
