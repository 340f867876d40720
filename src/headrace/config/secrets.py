"""Secrets that Headrace makes for itself, one file each, readable by their owner only."""

import contextlib
import os
import secrets
from pathlib import Path

from headrace.core.errors import ConfigError

_BYTES = 32


def load_or_create(data: Path, name: str) -> bytes:
    """32 random bytes that stay the same for the life of the data folder.

    Raises:
        ConfigError: The file is there but others may read it, or it is cut short.
    """
    folder = data / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        _create(path)
    return _read(path)


def _create(path: Path) -> None:
    """Write beside and link into place, so that no reader ever meets half a secret."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())
    # Another process may have been first: its secret stands then.
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"other users may read the secret {path}", hint=f"run: chmod 600 {path}")
    value = path.read_bytes()
    if len(value) != _BYTES:
        raise ConfigError(
            f"the secret {path} is damaged",
            hint="put it back from a backup; without it all keys must be made anew",
        )
    return value
