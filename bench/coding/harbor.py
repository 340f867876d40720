"""The tasks, in Harbor's format: found, laid out, and graded.

A task is a folder: `task.toml`, `instruction.md`, `environment/repo` (what the agent is given),
`tests/test.sh` (the hidden tests; it writes the reward) and `solution/solve.sh`.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import tomllib
from pathlib import Path

import msgspec

SETS = Path(__file__).parent / "tasks"
GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")


class Task(msgspec.Struct, frozen=True):
    """One task on disk; limits in seconds."""

    name: str
    folder: Path
    instruction: str
    agent_s_max: float
    verifier_s_max: float
    has_visible_test: bool

    @property
    def repo(self) -> Path:
        """What the agent is given."""
        return self.folder / "environment" / "repo"

    def files(self) -> dict[str, str]:
        """The repository's texts by their names, sources first, then tests."""
        paths = [path for path in self.repo.rglob("*") if path.is_file()]
        names = [path.relative_to(self.repo).as_posix() for path in paths]
        return {name: (self.repo / name).read_text() for name in sorted(names, key=_tests_last)}


def _tests_last(name: str) -> tuple[bool, str]:
    return is_test(name), name


def is_test(name: str) -> bool:
    """Whether a file of a repository holds its visible tests."""
    return Path(name).name.startswith("test_")


def load(folder: Path) -> Task:
    """Read one task."""
    settings = tomllib.loads((folder / "task.toml").read_text())
    return Task(
        folder.name,
        folder,
        (folder / "instruction.md").read_text().strip(),
        settings["agent"]["timeout_sec"],
        settings["verifier"]["timeout_sec"],
        settings["metadata"]["visible_test"],
    )


def load_set(name: str) -> list[Task]:
    """All tasks of a set, by name; `name` is that of a folder below `SETS`."""
    return [load(path.parent) for path in sorted((SETS / name).glob("*/task.toml"))]


def lay_out(task: Task, work: Path) -> None:
    """A fresh copy of the repository, committed once, as a person would have it."""
    shutil.copytree(task.repo, work)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Start"]):
        subprocess.run([*GIT, *command], cwd=work, check=True)


def grade(task: Task, work: Path) -> tuple[bool, str]:
    """Run the hidden tests in `work`: whether all passed, and what they printed."""
    with tempfile.TemporaryDirectory() as logs:
        command = ["bash", str(task.folder / "tests" / "test.sh")]
        environment = os.environ | {"VERIFIER_LOGS": logs}
        _, printed = run_limited(command, work, environment, task.verifier_s_max)
        reward = Path(logs, "reward.txt")
        return reward.is_file() and reward.read_text().strip() == "1", printed


def run_limited(
    command: list[str], folder: Path, environment: dict[str, str], s_max: float
) -> tuple[int | None, str]:
    """Run a command and all it starts for a time: exit status (None: cut off), and output."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(s_max)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
        output.seek(0)
        return status, output.read().decode(errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
