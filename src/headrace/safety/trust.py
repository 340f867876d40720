"""Workspace trust: keyed by real path and the hash of everything that can run there."""

from pathlib import Path

import msgspec

from headrace.core.clock import Clock


class Item(msgspec.Struct, frozen=True):
    """One thing the repository brings that the assistant would run or obey.

    Attributes:
        name: Its path below the workspace.
        shows: What it would do, one line each, for the trust dialog.
        digest: SHA-256 of its bytes, hexadecimal.
    """

    name: str
    shows: tuple[str, ...]
    digest: str


class Bundle(msgspec.Struct, frozen=True):
    """Everything a workspace brings, in order of name."""

    root: str
    items: tuple[Item, ...]

    @property
    def digest(self) -> str:
        """What a flag names to trust exactly this: `sha256:` and 64 hexadecimal digits."""
        raise NotImplementedError


class Verdict(msgspec.Struct, frozen=True):
    """Whether a bundle is trusted, and if not, what is new or changed since it last was.

    Attributes:
        trusted: Settings, hooks and the like of the workspace count.
        known: The folder was trusted before, with other contents.
        changes: One line each, such as "changed .claude/settings.json"; the empty tuple where
            it is trusted.
    """

    trusted: bool
    known: bool
    changes: tuple[str, ...]


def bundle_of(root: Path) -> Bundle:
    """Read what a workspace brings; runs nothing and follows no link out of it."""
    raise NotImplementedError


class Trust:
    """What the user trusts, kept in `folder` with mode 0600."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        raise NotImplementedError

    def check(self, bundle: Bundle, *, digest: str | None = None) -> Verdict:
        """Whether it is trusted, by record or because a flag names its digest (for this run)."""
        raise NotImplementedError

    def grant(self, bundle: Bundle) -> None:
        """Trust exactly this from now on."""
        raise NotImplementedError

    def revoke(self, root: Path) -> bool:
        """Trust it no longer; False where it was not trusted."""
        raise NotImplementedError
