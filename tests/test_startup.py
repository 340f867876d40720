"""What each start loads. Modules are counted, milliseconds are for bench/."""

import json
import subprocess
import sys

import pytest

from headrace.core.version import __version__

_PROBE = """
import json, runpy, sys
before = set(sys.modules)
sys.argv = {argv!r}
try:
    runpy.run_module("headrace", run_name="__main__")
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""


def _modules_loaded(*arguments: str) -> set[str]:
    program = _PROBE.format(argv=["headrace", *arguments])
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(shown.stdout.splitlines()[-1]))


@pytest.mark.parametrize("argument", ["--version", "--help", "nonsense"])
def test_version_and_help_load_next_to_nothing(argument: str):
    ours = {name for name in _modules_loaded(argument) if name.startswith("headrace")}
    assert ours <= {"headrace", "headrace.core", "headrace.core.version"}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_load_no_library(argument: str):
    loaded = {name.partition(".")[0] for name in _modules_loaded(argument)}
    heavy = {"argparse", "asyncio", "msgspec", "uvicorn", "starlette", "sqlalchemy", "logging"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    ("word", "never"),
    [
        ("ask", {"sqlalchemy", "starlette", "uvicorn", "huggingface_hub", "xllamacpp"}),
        ("models", {"sqlalchemy", "starlette", "uvicorn", "huggingface_hub", "xllamacpp"}),
        ("keys", {"starlette", "uvicorn", "xllamacpp", "alembic"}),
        ("receipts", {"starlette", "uvicorn", "xllamacpp", "alembic"}),
        ("doctor", {"starlette", "uvicorn", "xllamacpp", "alembic"}),
        ("up", {"xllamacpp", "alembic", "huggingface_hub"}),
    ],
)
def test_a_command_loads_only_what_it_uses(word: str, never: set[str]):
    loaded = {name.partition(".")[0] for name in _modules_loaded(word, "--help")}
    assert not loaded & never


def test_what_serves_loads_nothing_that_few_calls_need():
    probe = "import json, sys, headrace.up.serve; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(shown.stdout))
    libraries = {"alembic", "argon2", "cryptography", "genai_prices", "jwt", "pynvml", "xllamacpp"}
    assert not {name.partition(".")[0] for name in loaded} & libraries
    assert not loaded & {
        "headrace.edge.openapi",
        "headrace.serving.openapi.accounts",
        "headrace.chat.openapi",
    }


def test_the_version_is_told():
    shown = subprocess.run(
        [sys.executable, "-m", "headrace", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"headrace {__version__}\n"


def test_an_unknown_command_is_refused_with_the_list():
    shown = subprocess.run(
        [sys.executable, "-m", "headrace", "serve"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 2
    assert "no command 'serve'" in shown.stderr
    assert "doctor" in shown.stderr
