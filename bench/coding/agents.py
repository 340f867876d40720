"""The agents under comparison, each in its best documented set-up for a small local model.

mini-swe-agent and aider are installed, pinned, into virtual environments of their own in the
cache folder. Every agent that is a program runs as a child process with a home of its own; the
foreign ones, which have no sandbox, in bubblewrap: they may write the work folder and their home.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from harbor import SETS, Task, is_test, run_limited
from oneshot import solve as oneshot
from server import HEADRACE, Served

PINNED = {"aider": "aider-chat==0.86.2", "mini-swe-agent": "mini-swe-agent==2.4.6"}
PROGRAMS = {"aider": "aider", "mini-swe-agent": "mini"}
TEST_COMMAND = "python3 -m unittest"
CONTEXT_TOKENS = 8192
"""The window that agents are told of; `headrace up` gives a small model at least this."""


class Setting(msgspec.Struct, frozen=True):
    """Where one run takes place: the repository's copy, the agent's home, programs, the model."""

    task: Task
    work: Path
    home: Path
    cache: Path
    served: Served

    def environment(self) -> dict[str, str]:
        """What the agent's process may know of ours."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        return kept | {
            "HOME": str(self.home),
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }


Ended = tuple[str, str]
"""How a run ended (exit status, or "timeout") and its transcript."""


def installed(agent: str, cache: Path) -> str:
    """The program of a foreign agent, installed at first need."""
    folder = cache / PINNED[agent].replace("==", "-")
    program = folder / "bin" / PROGRAMS[agent]
    if not program.is_file():
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, folder], check=True)
        install = ["uv", "pip", "install", "-q", "--python", folder / "bin" / "python"]
        subprocess.run([*install, PINNED[agent]], check=True)
    return str(program)


def boxed(setting: Setting, command: list[str]) -> list[str]:
    """The command with everything read-only but its folders, and the tasks out of sight."""
    writable = [str(path) for path in (setting.work, setting.home)]
    hidden = ["/tmp", str(SETS), str(setting.served.data)]
    programs = str(setting.cache / "programs")
    return [
        *("bwrap", "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/"),
        *("--dev", "/dev", "--proc", "/proc"),
        *(word for path in hidden for word in ("--tmpfs", path)),
        *("--ro-bind", programs, programs),
        *(word for path in writable for word in ("--bind", path, path)),
        *("--chdir", str(setting.work), *command),
    ]


def _run(setting: Setting, command: list[str], environment: dict[str, str]) -> Ended:
    status, printed = run_limited(
        command, setting.work, setting.environment() | environment, setting.task.agent_s_max
    )
    return ("timeout" if status is None else str(status)), printed


def plain(setting: Setting) -> Ended:
    """One prompt with all files, greedy."""
    return oneshot(setting.task, setting.work, setting.served)


def headrace(setting: Setting) -> Ended:
    """`headrace code -p`; its commands run in its own sandbox, so it need not ask."""
    command = [*HEADRACE, "code", "-p", setting.task.instruction, "--model", setting.served.model]
    command += ["--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose"]
    served = setting.served
    environment = {"HEADRACE_DATA": str(served.data), "HEADRACE_API_KEY": served.key}
    return _run(setting, command, environment)


def mini_swe_agent(setting: Setting) -> Ended:
    """Its text-based configuration, which is the one for models without native tool calls."""
    given = {
        "model.cost_tracking": "ignore_errors",
        "model.model_kwargs.api_base": f"{setting.served.url}/v1",
        "model.model_kwargs.temperature": "0.0",
    }
    command = [installed("mini-swe-agent", setting.cache / "programs")]
    command += ["-m", f"openai/{setting.served.model}", "--model-class", "litellm_textbased"]
    command += ["-c", "mini_textbased.yaml"]
    command += [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    command += ["-y", "--exit-immediately", "-o", str(setting.home / "trajectory.json")]
    command += ["-t", setting.task.instruction]
    environment = {
        "MSWEA_CONFIGURED": "true",
        "MSWEA_GLOBAL_CONFIG_DIR": str(setting.home),
        "OPENAI_API_KEY": setting.served.key,
    }
    ended, printed = _run(setting, boxed(setting, command), environment)
    return ended, printed + _read(setting.home / "trajectory.json")


def aider(setting: Setting) -> Ended:
    """Files named, whole-file edits, the visible test run after each edit."""
    home, model = setting.home, f"openai/{setting.served.model}"
    window = {"max_input_tokens": CONTEXT_TOKENS, "max_tokens": CONTEXT_TOKENS // 2}
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "chat"}
    (home / "models.json").write_text(
        json.dumps({model: window | free | {"litellm_provider": "openai"}})
    )
    (home / "task.md").write_text(setting.task.instruction)
    command = [installed("aider", setting.cache / "programs"), "--model", model]
    command += ["--edit-format", "whole", "--map-tokens", "0", "--message-file"]
    command += [str(home / "task.md"), "--model-metadata-file", str(home / "models.json")]
    command += ["--llm-history-file", str(home / "history.txt"), "--yes-always", "--no-git"]
    command += ["--analytics-disable", "--no-check-update", "--no-show-release-notes"]
    command += ["--no-show-model-warnings", "--no-suggest-shell-commands", "--no-detect-urls"]
    command += ["--no-pretty", "--no-stream", "--chat-history-file", str(home / "chat.md")]
    command += ["--input-history-file", str(home / "input.txt")]
    if setting.task.has_visible_test:
        command += ["--auto-test", "--test-cmd", TEST_COMMAND]
    for name in setting.task.files():
        command += ["--read" if is_test(name) else "--file", name]
    environment = {
        "OPENAI_API_BASE": f"{setting.served.url}/v1",
        "OPENAI_API_KEY": setting.served.key,
    }
    ended, printed = _run(setting, boxed(setting, command), environment)
    return ended, printed + _read(home / "history.txt")


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


AGENTS: dict[str, Callable[[Setting], Ended]] = {
    "oneshot": plain,
    "headrace": headrace,
    "mini-swe-agent": mini_swe_agent,
    "aider": aider,
}


def check(agent: str, cache: Path) -> None:
    """Install what the agent needs before any time counts."""
    if agent not in PINNED:
        return
    if shutil.which("bwrap") is None:
        raise SystemExit(f"{agent} runs commands unasked: install bubblewrap first")
    installed(agent, cache / "programs")
