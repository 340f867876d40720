"""Which files there are that rules deny, for a sandbox, which knows places and no patterns."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from headrace.safety import path_patterns
from headrace.safety.rules import Place, Rule, matches_path

_WRITERS = frozenset({"Edit", "Write"})
_WHOLE = frozenset({"", "**", "~", "/", ".", ".."})


class DeniedPaths(msgspec.Struct, frozen=True):
    """Existing files and folders: absolute, links resolved, sorted, none below another.

    Attributes:
        read: What may not be read, nor written.
        edit: What may not be written.
    """

    read: tuple[str, ...] = ()
    edit: tuple[str, ...] = ()


def denied_paths(rules: Iterable[Rule], roots: Sequence[str], place: Place) -> DeniedPaths:
    """What deny rules name.

    A rule for all files of a tool names none. Names with wildcards, and those that count at any
    depth, are looked for below `roots` alone.

    Args:
        rules: Deny rules of all tools.
        roots: The workspace and the further folders worked in, absolute, links resolved.
        place: What the rules' paths are relative to.
    """
    read = [_folder_for_all(rule, "Read") for rule in rules if rule.tool == "Read" and rule.spec]
    edit = [_folder_for_all(rule, "Edit") for rule in rules if rule.tool in _WRITERS and rule.spec]
    named = [(rule, *_named(rule, place)) for rule in (*read, *edit)]
    hidden = {path for rule, path, is_whole in named if is_whole and rule.tool == "Read"}
    kept = {path for rule, path, is_whole in named if is_whole and rule.tool == "Edit"}
    sought = [rule for rule, _, is_whole in named if not is_whole]
    for path in _below(roots) if sought else ():
        for rule in sought:
            if matches_path(rule, rule.tool, path, place, loose=True):
                (hidden if rule.tool == "Read" else kept).add(path)
    return DeniedPaths(_outermost(hidden), _outermost(kept))


def denier(rules: Iterable[Rule], place: Place) -> Callable[[str], bool | None]:
    """Judges paths that are new: True where rules deny reading, False where writing alone."""
    rules = [rule for rule in rules if rule.spec]
    read = [_folder_for_all(rule, "Read") for rule in rules if rule.tool == "Read"]
    edit = [_folder_for_all(rule, "Edit") for rule in rules if rule.tool in _WRITERS]

    def denies(path: str) -> bool | None:
        if any(matches_path(rule, "Read", path, place, loose=True) for rule in read):
            return True
        hit = any(matches_path(rule, "Edit", path, place, loose=True) for rule in edit)
        return False if hit else None

    return denies


def _folder_for_all(rule: Rule, tool: str) -> Rule:
    """A rule for all that is in a folder as one for the folder."""
    folder = rule.spec.removesuffix("/**")
    if folder != rule.spec and folder not in _WHOLE:
        folder = folder if "/" in folder else f"./{folder}"
    else:
        folder = rule.spec
    return Rule(text=rule.text, tool=tool, spec=folder, scope=rule.scope, root=rule.root)


def _named(rule: Rule, place: Place) -> tuple[str, bool]:
    """The path that a rule names, and whether it names no other."""
    base, pattern = path_patterns.anchored(rule.spec, rule.root, place.cwd, place.home)
    name, is_whole = path_patterns.without_wildcards(pattern)
    is_one = "/" in pattern.rstrip("/") or rule.spec.startswith(("/", "~/", "./", "../"))
    return f"{base.rstrip('/')}/{name}", bool(name) and is_whole and is_one


def _below(roots: Sequence[str]) -> Iterator[str]:
    for root in roots:
        for path, folders, files in os.walk(root):
            for name in (*folders, *files):
                yield f"{path}/{name}"
            folders[:] = [name for name in folders if name != ".git"]


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    real = {os.path.realpath(path) for path in paths if os.path.exists(path)}  # noqa: PTH110 - text
    found: list[str] = []
    for path in sorted(real, key=lambda each: each.split("/")):
        if not (found and path.startswith(f"{found[-1]}/")):
            found.append(path)
    return tuple(found)
