"""Places in a workspace that programs outside act on, though their names do not say so.

What a protected link leads to, such as `.vscode` or a hook of git, and folders that git would take
for a repository, whose settings may name programs.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from headrace.safety.beneath import FOLDER, open_beneath
from headrace.safety.protected import folded, makes_git_directory, protected_part

_LINKS_MAX = 40
# Nobody opens an editor in an installed package, and git's bulk holds nothing that it acts on.
_PASSED_BY = frozenset({"node_modules", "site-packages"})
_GIT_BULK = frozenset({"objects", "refs", "logs", "lfs"})


class Obeyed:
    """Judges places to be written, beside what their own names say.

    Links are looked for once: those that commands make later go to quarantine.

    Args:
        roots: Folders that may be written, links resolved.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._targets: dict[str, str] | None = None

    def why(self, root_fd: int, root: str, path: str) -> str:
        """Why nobody but the user may write `path` in an open root; empty where anybody may."""
        parts = path.split("/")
        for depth, name in enumerate(parts):
            above = "/".join(parts[:depth])
            if makes_git_directory(name, _names(root_fd, above)):
                what = above or "the workspace"
                return f"{what} is or becomes a git directory, whose settings git obeys"
        if self._targets is None:
            found = (link for each in self._roots for link in _protected_links(each, is_kept=False))
            self._targets = {target: link for link in found for target in _leads_to(link)}
        wanted = f"{_form(f'{root}/{path}')}/"
        for target, link in self._targets.items():
            if wanted.startswith(f"{target}/"):
                return f"the protected link {os.path.relpath(link, root)} leads there"
        return ""


def _names(root_fd: int, folder: str) -> Iterator[str]:
    """The names in a folder; none where it is not there."""
    try:
        fd = open_beneath(root_fd, folder or ".", FOLDER)
    except OSError:
        return
    try:
        yield from os.listdir(fd)  # noqa: PTH208 - a descriptor
    finally:
        os.close(fd)


def _protected_links(folder: str, *, is_kept: bool) -> Iterator[str]:
    """All links below with a protected name, or in something that has one."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            kept = is_kept or protected_part(entry.name) is not None
            if entry.is_symlink():
                if kept:
                    yield entry.path
                continue
            passed_by = entry.name in (_PASSED_BY | _GIT_BULK if is_kept else _PASSED_BY)
            if not passed_by and entry.is_dir(follow_symlinks=False):
                yield from _protected_links(entry.path, is_kept=kept)


def _leads_to(link: str) -> Iterator[str]:
    """Each place on the way of a link, by its letters and as it really is."""
    place = link
    for _ in range(_LINKS_MAX):
        try:
            place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))  # noqa: PTH115, PTH118, PTH120 - text
        except OSError:
            return
        yield _form(place)
        yield _form(os.path.realpath(place))


def _form(path: str) -> str:
    return "/".join(map(folded, path.split("/")))
