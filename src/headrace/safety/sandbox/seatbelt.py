"""The profile that macOS's `sandbox-exec` holds a command under. Later rules win."""

import re
from collections.abc import Iterable, Iterator, Sequence

_HEAD = """(version 1)
(deny default)
(allow process-fork process-exec)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup
  (global-name "com.apple.system.opendirectoryd.libinfo")
  (global-name "com.apple.system.notification_center")
  (global-name "com.apple.system.logger"))
(allow ipc-posix-sem)
(allow ipc-posix-shm*)
(allow pseudo-tty)
(allow file-ioctl (literal "/dev/ptmx") (regex #"^/dev/ttys[0-9]+$"))
(allow file-read*)
(allow file-write*
  (literal "/dev/null") (literal "/dev/zero") (literal "/dev/ptmx")
  (literal "/dev/dtracehelper") (regex #"^/dev/ttys[0-9]+$") (regex #"^/dev/fd/"))"""
_NEVER = """(deny appleevent-send)
(deny lsopen)
(deny file-write-setugid)
(deny file-write* (regex #"(?i)/\\.git/(hooks|config|config\\.worktree|commondir)(/|$)"))"""
_SPECIAL = re.compile(r"([.\\^$|()\[\]{}*+?\"])")


def profile(
    *,
    writable: Sequence[str],
    readable: Sequence[str],
    home: str,
    kept: Sequence[str],
    pinned: Sequence[str],
    hidden: Sequence[str],
    protected_names: Iterable[str],
    proxy_port: int | None = None,
) -> str:
    """The profile's text.

    Args:
        writable: Roots, and the command's temporary folder; real absolute paths.
        readable: Folders that can be read although they lie in the home folder.
        home: The home folder, which cannot be read.
        kept: Paths that stay as they are.
        pinned: Folders that can be written but neither renamed nor removed, such as `.git`.
        hidden: Paths that can be neither read nor written.
        protected_names: Names that can be written nowhere, in any case of letters.
        proxy_port: The one port of localhost that can be reached; None: there is no network, and
            as no namespace parts a command's own servers from others, none on localhost either.
    """
    lines = [_HEAD]
    lines.append(_rule("deny", "file-read*", [home, "/private/var/root", "/Volumes"]))
    lines.append(_rule("allow", "file-read-metadata", [home]))
    lines.append(_rule("allow", "file-read*", [*readable, *writable]))
    lines.append(_rule("allow", "file-write*", writable))
    if hidden:
        lines.append(_rule("deny", "file-read*", hidden))
    if kept or hidden:
        lines.append(_rule("deny", "file-write*", [*kept, *hidden]))
    # Rules go by paths: who renames a folder above a path gets what is there past its rule.
    held = dict.fromkeys([*pinned, *_above([*kept, *hidden], writable)])
    if held:
        lines.append(_rule("deny", "file-write-unlink", list(held), how="literal"))
    names = "|".join(_SPECIAL.sub(r"\\\1", name) for name in sorted(protected_names))
    lines.append(f'(deny file-write* (regex #"(?i)/({names})(/|$)"))')
    if proxy_port is not None:
        lines.append(f'(allow network-outbound (remote ip "localhost:{proxy_port}"))')
    lines.append(_NEVER)
    return "\n".join(lines) + "\n"


def _above(paths: Sequence[str], roots: Sequence[str]) -> Iterator[str]:
    """The folders between roots and paths below them."""
    for path in paths:
        root = next((root for root in roots if path.startswith(f"{root}/")), None)
        above = path.rpartition("/")[0]
        while root is not None and above != root:
            yield above
            above = above.rpartition("/")[0]


def _rule(verdict: str, what: str, paths: Sequence[str], *, how: str = "subpath") -> str:
    places = "\n  ".join(f"({how} {_quoted(path)})" for path in paths)
    return f"({verdict} {what}\n  {places})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
