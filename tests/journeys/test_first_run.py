"""The first start on a fresh machine, and the next one."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from support.running import Running, clean_environment

pytestmark = pytest.mark.model


def test_the_first_start_tells_all_one_needs_to_begin(first_run: Running):
    screen = first_run.screen
    assert re.search(r"SmolLM2 135M Instruct · Apache-2.0 · 98 MB · Q4_1 · sha256:b179c95", screen)
    assert re.search(r"llama.cpp.* · \d+ threads? · \d+ answers at a time", screen)
    assert re.search(r"http://127\.0\.0\.1:\d+/signin\?token=[\w-]{43}", screen)
    assert re.search(r"\bhr-[\w-]{43}\b", screen)
    assert str(first_run.data) in screen
    assert "better answers: headrace up --model" in screen
    with urllib.request.urlopen(f"{first_run.url}/readyz") as reply:
        assert reply.status == 200


def test_everything_it_keeps_is_private(first_run: Running):
    assert first_run.data.stat().st_mode & 0o077 == 0
    assert (first_run.data / "run.json").stat().st_mode & 0o077 == 0
    for path in (first_run.data / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_no_secret_is_in_argv_environment_or_log(first_run: Running):
    secrets = [first_run.key, first_run.run_file.credential]
    for pid in (first_run.process.pid, *first_run.engine_pids()):
        argv = Path(f"/proc/{pid}/cmdline").read_text()
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert not any(secret in argv + environment for secret in secrets)
    log = "".join(path.read_text() for path in (first_run.data / "logs").iterdir())
    assert not any(secret in log for secret in secrets)


def test_the_engine_child_knows_nothing_of_us(first_run: Running):
    for pid in first_run.engine_pids():
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "HEADRACE" not in environment


def test_a_second_up_prints_a_fresh_link_of_the_first(first_run: Running):
    link = first_run.new_sign_in_link()
    assert link.startswith(first_run.url)
    assert link != first_run.sign_in_link


def test_the_second_start_shows_no_key_again(with_model: Path, start: Callable[..., Running]):
    first = start(None, with_model)
    assert re.search(r"\bhr-[\w-]{43}\b", first.screen)
    assert first.stop() == 0
    second = start(None, with_model)
    assert not re.search(r"\bhr-[\w-]{43}\b", second.screen)


def test_an_altered_model_is_refused(with_model: Path):
    [path] = with_model.glob("models/*/*.gguf")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # it is a hard link
    path.write_bytes(content)
    refused = subprocess.run(
        [sys.executable, "-m", "headrace", "up", "--yes", "--port", "0", "--data", str(with_model)],
        env=clean_environment(with_model.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "was altered" in refused.stderr
    assert "headrace models pull" in refused.stderr


def test_an_engine_dies_with_its_parent(with_model: Path, start: Callable[..., Running]):
    started = start(None, with_model)
    engines = started.engine_pids()
    assert engines
    started.process.send_signal(signal.SIGKILL)
    started.process.wait()
    for pid in engines:
        subprocess.run(["tail", "--pid", str(pid), "-f", "/dev/null"], timeout=10, check=True)
