"""Paths in rules: gitignore's patterns with Claude Code's four anchors."""

import functools
import os.path
import re

_TOKENS = re.compile(
    r"(?P<any>/\*\*/)|(?P<lead>\A\*\*/)|(?P<rest>/\*\*\Z)|(?P<stars>\*+)|(?P<one>\?)"
    r"|\[(?P<not>[!^])?(?P<set>\]?[^\]/]*)\]|\\(?P<escaped>.)",
    re.DOTALL,
)

_WILDCARDS = {
    "any": "/(?:.*/)?",
    "lead": "(?:.*/)?",
    "rest": "/.*",
    "stars": "[^/]*",
    "one": "[^/]",
}


@functools.lru_cache(maxsize=1024)
def compiled(spec: str, root: str, cwd: str, home: str, loose: bool) -> re.Pattern[str]:  # noqa: FBT001 - a key of the cache
    """A pattern over absolute, normalised paths.

    `//x` starts at the file system's root, `~/x` at `home`, `/x` at `root`, everything else at
    `cwd`. As in gitignore a name without a slash matches at any depth, and a folder that matches
    brings all that is in it. `loose` ignores case.
    """
    base, pattern = _anchored(spec, root, cwd, home)
    body = pattern.rstrip("/") or "**"
    anchored = "/" in body or spec.startswith(("/", "~/", "./", "../"))
    body = _regex(body if anchored else f"**/{body}")
    prefix = re.escape(base.rstrip("/")) + "/"
    everything = prefix.rstrip("/") + "(?:/.*)?" if pattern in {"", "**"} else None
    return re.compile(
        everything or f"{prefix}{body}(?:/.*)?", re.DOTALL | (re.IGNORECASE if loose else 0)
    )


def _anchored(spec: str, root: str, cwd: str, home: str) -> tuple[str, str]:
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


def _regex(pattern: str) -> str:
    out: list[str] = []
    at = 0
    for token in _TOKENS.finditer(pattern):
        out.append(re.escape(pattern[at : token.start()]))
        out.append(_token(token))
        at = token.end()
    out.append(re.escape(pattern[at:]))
    return "".join(out)


def _token(token: re.Match[str]) -> str:
    if token["escaped"]:
        return re.escape(token["escaped"])
    if token["set"] is not None:
        inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", token["set"])
        start = "[^/" if token["not"] else "["
        return f"{start}{inside}]" if inside else r"\[\]"
    return _WILDCARDS[token.lastgroup or ""]


def literal(path: str) -> str:
    """A rule's text that matches exactly this absolute path, in settings of every scope."""
    return "/" + re.sub(r"([\\*?\[\]!])", r"\\\1", path)
