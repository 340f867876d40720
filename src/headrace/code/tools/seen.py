"""Seen: which files the model has seen, in which version."""

import hashlib
from difflib import SequenceMatcher

from headrace.code.edits.lines import split

_TEXT_CHARACTERS_MAX = 400_000
_LINES_SHOWN = 20
_COLUMNS_SHOWN = 160


class Seen:
    """The files that the model has read or written in this session, by absolute path."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}

    def note(self, path: str, data: bytes, text: str = "") -> None:
        """The model knows this version now. Long texts are known by their hash alone."""
        kept = text if len(text) <= _TEXT_CHARACTERS_MAX else ""
        self._files[path] = (hashlib.sha256(data).digest(), kept)

    def knows(self, path: str) -> bool:
        """Whether it has seen any version."""
        return path in self._files

    def is_stale(self, path: str, data: bytes) -> bool:
        """Whether it has seen another version than this one."""
        known = self._files.get(path)
        return known is not None and known[0] != hashlib.sha256(data).digest()

    def changes(self, path: str, text: str) -> str:
        """The lines that changed since, numbered as they are now."""
        before, after = split(self._files[path][1])[0], split(text)[0]
        shown: list[str] = []
        for tag, _, _, j, j_end in SequenceMatcher(
            None, before, after, autojunk=False
        ).get_opcodes():
            if tag == "equal":
                continue
            lines = [f"{at + 1}\t{after[at][:_COLUMNS_SHOWN]}" for at in range(j, j_end)]
            shown += lines or [f"{j + 1}\t[lines removed before this one]"]
        more = len(shown) - _LINES_SHOWN
        return "\n".join(shown[:_LINES_SHOWN]) + (f"\n[{more} more]" if more > 0 else "")
