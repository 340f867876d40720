import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.config import runfile, secrets
from headrace.core.errors import ConfigError


def _run(pid: int) -> runfile.RunFile:
    start = runfile.process_start(pid)
    assert start is not None
    return runfile.RunFile("http://127.0.0.1:1", pid, start, "hr-secret", 1)


def test_a_live_process_is_found_and_its_file_is_private(tmp_path: Path):
    run = _run(os.getpid())
    runfile.write(tmp_path, run)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    assert runfile.read_live(tmp_path) == run
    runfile.remove(tmp_path, run)
    assert runfile.read_live(tmp_path) is None


def test_a_dead_process_is_not_found(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    runfile.write(tmp_path, _run(child.pid))
    assert runfile.read_live(tmp_path) is not None
    child.kill()
    child.communicate()
    assert runfile.read_live(tmp_path) is None


def test_a_reused_process_number_is_not_taken_for_ours(tmp_path: Path):
    run = _run(os.getpid())
    stale = runfile.RunFile(run.url, run.pid, "another start", run.credential, 1)
    runfile.write(tmp_path, stale)
    assert runfile.read_live(tmp_path) is None


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path):
    first = secrets.load_or_create(tmp_path, "pepper")
    assert secrets.load_or_create(tmp_path, "pepper") == first
    path = tmp_path / "secrets" / "pepper"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="other users may read"):
        secrets.load_or_create(tmp_path, "pepper")
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        secrets.load_or_create(tmp_path, "pepper")
