"""Settings files of Claude Code and our own: which there are, what they say, writing a rule."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from headrace.safety.rules import Rules, Scope


class CodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all files and flags together say.

    Attributes:
        rules: Highest scope first. Allow rules of an untrusted workspace are not among them.
        mode: What `permissions.defaultMode` says, by the highest scope that may; None: nothing.
        directories: `permissions.additionalDirectories`, absolute.
        bypass_barred_by: The file that forbids bypassPermissions; None where none does.
        notices: Keys that mean nothing here, and what an untrusted workspace wanted; one line each.
    """

    rules: Rules
    mode: str | None
    directories: tuple[str, ...]
    bypass_barred_by: str | None
    notices: tuple[str, ...]


def load(
    workspace: Path,
    *,
    home: Path,
    trusted: bool,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    managed: Sequence[Path] | None = None,
) -> CodeSettings:
    """Read them all. `allow` and `deny` are rules from flags.

    Raises:
        ConfigError: A file is malformed (names file, line and column) or a rule is wrong.
    """
    raise NotImplementedError


def keep(rule: str, scope: Scope, *, workspace: Path, home: Path) -> Path:
    """Write an allow rule into the local or user settings, leaving all else in the file as it is.

    Raises:
        ConfigError: The file is malformed; it is left as it was.
    """
    raise NotImplementedError
