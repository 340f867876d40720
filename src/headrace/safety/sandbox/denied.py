"""Denied: paths in the roots that deny rules name, also where a folder above them is renamed."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from headrace.safety.sandbox.seen import Folder, Identity, identity_of


class Denied:
    """Follows paths from one look to the next.

    A mount keeps a command from renaming what it covers, not a folder above. So it is known in
    which folder each path was; where that folder is now, the path's last name is denied, too.

    Args:
        kept: Paths that can be read and not written, absolute.
        hidden: Paths that can be neither.
        roots: Where commands can write; paths elsewhere are left out.
        denies: Says of a path in them whether it is hidden, kept (False) or neither (None).

    Attributes:
        hidden: Those of the last look that can be neither read nor written.
    """

    def __init__(
        self,
        kept: Sequence[str],
        hidden: Sequence[str],
        roots: Sequence[str],
        denies: Callable[[str], bool | None] | None = None,
    ) -> None:
        self.denies = denies
        self._roots = roots
        self._is_hidden = {**dict.fromkeys(kept, False), **dict.fromkeys(hidden, True)}
        self._above: dict[str, Identity] = {}
        self.hidden: list[str] = []

    def find(
        self, folders: Mapping[str, Folder], matched: Mapping[str, bool]
    ) -> dict[str, Identity]:
        """Those that are there, each with its identity; `matched` are further ones."""
        found: dict[str, Identity] = {}
        self.hidden = []
        pending = list(self._is_hidden)
        for path in pending:
            place = _real_place(path)
            above, _, name = place.rpartition("/")
            if not any(place.startswith(f"{root}/") for root in self._roots):
                continue
            was, folder = self._above.get(path), folders.get(above)
            if was is not None and (folder is None or folder.identity != was):
                moved = next((at for at, each in folders.items() if each.identity == was), None)
                if moved is not None and f"{moved}/{name}" not in self._is_hidden:
                    self._is_hidden[f"{moved}/{name}"] = self._is_hidden[path]
                    pending.append(f"{moved}/{name}")
            with suppress(OSError):
                found[place] = identity_of(os.lstat(place))
                if self._is_hidden[path]:
                    self.hidden.append(place)
                if folder is not None:
                    self._above[path] = folder.identity
        for path, is_hidden in matched.items():
            with suppress(OSError):
                found[path] = identity_of(os.lstat(path))
                if is_hidden:
                    self.hidden.append(path)
        return found


def _real_place(path: str) -> str:
    """Where a name really stands: the links on the way to it followed, not one that it is."""
    above, name = os.path.split(path.rstrip("/"))
    return f"{os.path.realpath(above).rstrip('/')}/{name}"
