"""Paths in rules: gitignore's patterns with Claude Code's four anchors.

A pattern takes each of its pieces where that first fits and never goes back, so no pattern of a
repository can stall: between wildcards the first fit leaves most to what follows.
"""

import functools
import os.path
import re
import unicodedata
from collections.abc import Sequence

_TOKENS = re.compile(
    r"(?P<stars>\*+)|(?P<one>\?)|\[(?P<not>[!^])?(?P<set>\]?[^\]/]*)\]|\\(?P<escaped>.)", re.DOTALL
)
_PLAIN = re.compile(r"(?:[^*?\[\\]|\\.)+", re.DOTALL)
_ESCAPED = re.compile(r"([\\*?\[\]!])")


@functools.lru_cache(maxsize=1024)
def compiled(spec: str, root: str, cwd: str, home: str, loose: bool) -> re.Pattern[str]:  # noqa: FBT001 - a key of the cache
    """A pattern over absolute, normalised paths, which `loose` wants in `composed` form.

    `//x` starts at the file system's root, `~/x` at `home`, `/x` at `root`, everything else at
    `cwd`. As in gitignore a name without a slash matches at any depth, and a folder that matches
    brings all that is in it. `loose` ignores case.
    """
    base, pattern = anchored(composed(spec) if loose else spec, root, cwd, home)
    parts = [part for part in pattern.split("/") if part] or ["**"]
    prefix = re.escape((composed(base) if loose else base).rstrip("/"))
    if parts == ["**"]:
        body = ""
    elif len(parts) == 1 and not spec.startswith(("/", "~/", "./", "../")):
        body = _body(["**", *parts])
    else:
        body = _body(parts)
    return re.compile(f"{prefix}{body}(?:/.*)?", re.DOTALL | (re.IGNORECASE if loose else 0))


def composed(path: str) -> str:
    """One Unicode form for names that some file systems hold for the same."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def anchored(spec: str, root: str, cwd: str, home: str) -> tuple[str, str]:
    """The folder that a pattern starts from, and the rest of it."""
    if spec.startswith("//"):
        return "/", spec[2:]
    if spec == "~" or spec.startswith("~/"):
        return home, spec[2:]
    if spec.startswith("/"):
        return root, spec[1:]
    pattern = spec.removeprefix("./")
    while pattern.startswith("../"):
        cwd, pattern = os.path.dirname(cwd), pattern[3:]  # noqa: PTH120 - words, not files
    return cwd, pattern


def first_fits(pieces: Sequence[str], between: str) -> str:
    """A regular expression of pieces with any number of `between` among them."""
    first, *middle = pieces
    last = middle.pop() if middle else None
    fits = "".join(f"(?>{between}*?{piece})" for piece in middle)
    return first + fits + ("" if last is None else f"{between}*{last}")


def _body(parts: list[str]) -> str:
    """The parts of a path, each behind its slash; `**` stands for any number of folders."""
    blocks: list[str] = [""]
    for part in parts:
        if part == "**":
            blocks.append("")
        else:
            blocks[-1] += "/" + _name(part)
    rest = "/.*" if parts[-1] == "**" else ""
    found = [f"(?>(?:/[^/]+)*?{block})" for block in blocks[1:] if block]
    return blocks[0] + "".join(found) + rest


def _name(part: str) -> str:
    pieces: list[str] = [""]
    at = 0
    for token in _TOKENS.finditer(part):
        pieces[-1] += re.escape(part[at : token.start()])
        if token["stars"]:
            pieces.append("")
        else:
            pieces[-1] += _token(token)
        at = token.end()
    pieces[-1] += re.escape(part[at:])
    return first_fits(pieces, "[^/]") + "(?![^/])"


def _token(token: re.Match[str]) -> str:
    if token["one"]:
        return "[^/]"
    if token["escaped"]:
        return re.escape(token["escaped"])
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", token["set"])
    start = "[^/" if token["not"] else "["
    return f"{start}{inside}]" if inside else r"\[\]"


def literal(path: str) -> str:
    """A rule's text that matches exactly this absolute path, in settings of every scope."""
    return "/" + _ESCAPED.sub(r"\\\1", path)


def without_wildcards(pattern: str) -> tuple[str, bool]:
    """The folders and name that a pattern begins with, and whether it says no more than them."""
    names: list[str] = []
    for part in filter(None, pattern.split("/")):
        if _PLAIN.fullmatch(part) is None:
            return "/".join(names), False
        names.append(re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL))
    return "/".join(names), True
