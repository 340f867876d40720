"""What .gitignore leaves out, without git."""

import re
from functools import lru_cache


class Ignored:
    """The rules of the .gitignore files met so far, the nearest deciding."""

    def __init__(self) -> None:
        self._rules: list[tuple[str, re.Pattern[str], bool, bool]] = []

    def add(self, folder: str, text: str) -> None:
        """Take in the .gitignore of a folder ("" for the top)."""
        for raw in text.splitlines():
            line = raw.rstrip()
            if not line or line.startswith("#"):
                continue
            keeps = line.startswith("!")
            line = line.removeprefix("!")
            folders_only = line.endswith("/")
            line = line.rstrip("/")
            anchored = "/" in line
            pattern = glob_pattern(line.lstrip("/") if anchored else f"**/{line}")
            self._rules.append((f"{folder}/" if folder else "", pattern, keeps, folders_only))

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether a name is passed by, hidden ones always; `path` from the top."""
        if path.rpartition("/")[2].startswith("."):
            return True
        for folder, pattern, keeps, folders_only in reversed(self._rules):
            fits = (is_folder or not folders_only) and path.startswith(folder)
            if fits and pattern.fullmatch(path[len(folder) :]):
                return not keeps
        return False


@lru_cache(256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stop at a slash, `**` does not, `{a,b}`."""
    out: list[str] = []
    at, depth = 0, 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if glob.startswith("**/", at - 1):
            out.append("(?:.*/)?")
            at += 2
        elif glob.startswith("**", at - 1):
            out.append(".*")
            at += 1
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and "]" in glob[at + 1 :]:
            end = glob.index("]", at + 1)
            inner = glob[at:end].replace("\\", "\\\\")
            out.append(f"[{'^' + inner[1:] if inner[0] in '!^' else inner}]")
            at = end + 1
        elif char == "{" and "}" in glob[at:]:
            out.append("(?:")
            depth += 1
        elif char == "}" and depth:
            out.append(")")
            depth -= 1
        else:
            out.append("|" if char == "," and depth else re.escape(char))
    try:
        return re.compile("".join(out))
    except re.error:
        return re.compile(re.escape(glob))
