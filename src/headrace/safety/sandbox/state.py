"""State: the folders that a sandbox keeps outside the workspace, and as whom commands run."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from headrace.core.errors import ConfigError


class State:
    """The folders of one session.

    Where root works in somebody's workspace, commands run as that user, who cannot enter root's
    folders; then those that commands need lie in a temporary one of theirs.

    Args:
        folder: Of the session; made with mode 0700.
        roots: Where commands can write, the workspace first.

    Attributes:
        outputs: Whole outputs.
        shelf: What was put into quarantine.
        temporary: The commands' `/tmp`.
        blank: A file without permissions, to cover what is hidden.
        void: Likewise an empty folder.
        identity: Git settings that say who commits.
        user: User and group that commands run as; None: as we do.

    Raises:
        ConfigError: The folder lies in a root, where commands could change it.
    """

    def __init__(self, folder: Path, roots: tuple[Path, ...]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = Path(os.path.realpath(folder))
        if any(real == root or real.is_relative_to(root) for root in roots):
            raise ConfigError(
                f"the data folder {real} lies in the workspace, where commands could change it",
                hint="name another one with HEADRACE_DATA",
            )
        self.outputs = real / "output"
        self.shelf = real / "quarantine"
        for each in (self.outputs, self.shelf):
            each.mkdir(mode=0o700, exist_ok=True)
        self.user = _user_for(roots[0])
        shared = real
        if self.user is not None:
            shared = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=shared))
        self._short: Path | None = None
        self.blank = shared / "blank"
        self.identity = shared / "gitconfig"
        for each in (self.blank, self.identity):
            each.touch()
        self.void = shared / "void"
        self.void.mkdir(exist_ok=True)
        for each in (self.blank, self.void):
            each.chmod(0)
        if self.user is not None:
            for each in (shared, self.temporary, self.blank, self.void, self.identity):
                os.chown(each, *self.user)

    def write_identity(self, text: str) -> None:
        """Say who commits."""
        self.identity.write_text(text, encoding="utf-8")

    def socket(self) -> Path:
        """A place for the proxy's socket; its path must be short, so it lies elsewhere."""
        self._short = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.give(self._short)
        return self._short / "proxy"

    def give(self, path: Path) -> None:
        """Let whom commands run as use it."""
        if self.user is not None:
            os.chown(path, *self.user)

    def clear(self) -> None:
        """Remove what commands left in `/tmp`."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
        if self.user is not None:
            shutil.rmtree(self.temporary.parent, ignore_errors=True)


def may_enter(path: Path, user: tuple[int, int] | None) -> bool:
    """Whether a user can come to a path and read it; `None`, which is us, can."""
    if user is None:
        return True
    for folder in (path, *path.parents):
        status = folder.stat()
        bit = stat.S_IXUSR if status.st_uid == user[0] else stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def _user_for(root: Path) -> tuple[int, int] | None:
    """Whom root becomes for commands: the owner of the workspace, if that user can enter it."""
    if os.geteuid() != 0:
        return None
    status = root.stat()
    user = (status.st_uid, status.st_gid)
    return user if user[0] != 0 and may_enter(root, user) else None
