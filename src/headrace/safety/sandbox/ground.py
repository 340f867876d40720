"""What commands find around them: system folders, toolchains, harmless variables.

All of it is named here; what is not named does not exist for a command.
"""

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from headrace.core.errors import ConfigError

_SYSTEM = ("/usr", "/opt", "/nix", "/gnu", "/snap", "/home/linuxbrew/.linuxbrew")
_SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Below the home folder: programs and what they need, no settings, no credentials, no projects. Some
# tools keep such beside their programs, so only the folders of programs are named.
_TOOLCHAINS = (
    ".asdf",
    ".bun/bin",
    ".cargo/bin",
    ".cargo/git",
    ".cargo/registry",
    ".deno/bin",
    ".dotnet/dotnet",
    ".dotnet/host",
    ".dotnet/packs",
    ".dotnet/sdk",
    ".dotnet/sdk-manifests",
    ".dotnet/shared",
    ".dotnet/templates",
    ".dotnet/tools",
    ".fnm",
    ".ghcup",
    ".jenv",
    ".juliaup",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/fnm",
    ".local/share/mise",
    ".local/share/pipx",
    ".local/share/pnpm",
    ".local/share/uv/python",
    ".local/share/uv/tools",
    ".m2/repository",
    ".nix-profile",
    ".npm-global",
    ".nvm",
    ".opam",
    ".pyenv",
    ".rbenv",
    ".rustup",
    ".rvm",
    ".sdkman",
    ".volta",
    "anaconda3",
    "go/bin",
    "go/pkg",
    "miniconda3",
    "miniforge3",
)
_VARIABLES = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CI",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "JAVA_HOME",
    "GOPATH",
    "GOROOT",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "PYENV_VERSION",
)
_PATH = "/usr/local/bin:/usr/bin:/bin"
# Roots that would open more than a project, or hide what a command stands on.
_NO_ROOTS = frozenset(
    f"/{name}"
    for name in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "nix", "opt"),
        *("proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var", "var/tmp"),
        *("Users", "System", "Library", "Applications", "private", "private/tmp"),
    )
)
_KERNEL = ("/proc", "/sys", "/dev")


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """The machine around a command.

    Attributes:
        system: Folders to show read-only.
        links: Links at the root, with their targets.
        masked: Files and folders below `/etc` that not everybody may read, but we may.
        home: The user's home folder, shown empty.
        toolchains: Folders to show read-only, most of them below `home`.
        variables: The command's environment.
    """

    system: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    masked: tuple[tuple[str, bool], ...]
    home: str
    toolchains: tuple[str, ...]
    variables: Mapping[str, str]


def ground() -> Ground:
    """Look at this machine and at our own environment."""
    home = os.path.realpath(os.environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
    system = tuple(path for path in (*_SYSTEM, "/etc") if os.path.isdir(path))  # noqa: PTH112
    links: list[tuple[str, str]] = []
    for path in _SYSTEM_LINKS:
        with suppress(OSError):
            links.append((path, os.readlink(path)))  # noqa: PTH115 - text is what is needed
    folders = tuple(
        path
        for path in _SYSTEM_LINKS
        if os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114
    )
    return Ground(
        system=(*system, *folders),
        links=tuple(links),
        masked=_masked(),
        home=home,
        toolchains=_toolchains(home),
        variables=_variables(home),
    )


def check_root(path: Path, home: str, *, what: str) -> Path:
    """A root's real path.

    Raises:
        ConfigError: It is no folder, or it would open more than a project.
    """
    real = os.path.realpath(path)
    if not os.path.isdir(real):  # noqa: PTH112 - text is at hand
        raise ConfigError(f"{what} {path} is no folder")
    wide = real in _NO_ROOTS or f"{home}/".startswith(f"{real}/") or home == real
    if wide or any(f"{real}/".startswith(f"{kernel}/") for kernel in _KERNEL):
        raise ConfigError(
            f"{what} {real} holds more than a project, so no sandbox can be drawn around it",
            hint="start in the project's own folder",
        )
    return Path(real)


@cache
def _masked() -> tuple[tuple[str, bool], ...]:
    """What commands of root must not read although it belongs to root; with whether a folder."""
    return tuple(_unreadable("/etc", 6))


def _unreadable(folder: str, depth: int) -> Iterator[tuple[str, bool]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                continue
            # Each mount costs, and what keeps us out needs none.
            is_folder = stat.S_ISDIR(mode)
            is_open = bool(mode & (stat.S_IXOTH if is_folder else stat.S_IROTH))
            if is_folder and is_open and depth:
                yield from _unreadable(entry.path, depth - 1)
            elif not is_open and os.access(entry.path, os.X_OK if is_folder else os.R_OK):
                yield entry.path, is_folder


def _toolchains(home: str) -> tuple[str, ...]:
    found = {os.path.realpath(f"{home}/{name}") for name in _TOOLCHAINS}
    if os.path.exists(f"{home}/go/VERSION"):  # noqa: PTH110 - text is at hand
        found.add(os.path.realpath(f"{home}/go"))  # Go itself, not what one builds with it
    # The interpreter we run on is there for commands, too.
    found |= {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)}
    shown = ["/usr", "/opt", "/nix"]
    for path in sorted(found):
        is_wide = path in _NO_ROOTS or f"{home}/".startswith(f"{path}/")
        is_shown = any(path == each or path.startswith(f"{each}/") for each in shown)
        if os.path.exists(path) and not is_wide and not is_shown:  # noqa: PTH110 - likewise
            shown.append(path)
    return tuple(shown[3:])


def _variables(home: str) -> dict[str, str]:
    variables = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    user = "user" if os.geteuid() == 0 else os.environ.get("USER", "user")
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **variables,
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/bash",
        "TMPDIR": "/tmp",  # noqa: S108 - the command's own
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        # Bytecode is told from its source by whole seconds and size: an edit of equal length within
        # the second of a run would be tested as it was before.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
