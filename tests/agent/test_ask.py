"""`headrace ask` as a process, in a pipe and on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from headrace.config.runfile import read_live
from support.running import Running, clean_environment, running, write_script

SCRIPT = {
    "turns": [
        {"match": {"user": "paint"}, "steps": [{"text": "\x1b[31mred\x1b[0m\nwheel"}]},
        {"match": {"user": "slow"}, "steps": [{"text": "tick " * 999, "token_delay_ms": 10}]},
        {
            "match": {"user": "fail"},
            "steps": [{"text": "Half"}, {"error": {"kind": "engine_failed", "message": "Broke."}}],
        },
        {
            "match": {"user": "long"},
            "steps": [{"text": "cut"}, {"finish": {"stop": "length"}}],
        },
    ]
}
_WAIT_S = 60.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("ask")
    with running(folder / "data", write_script(folder / "script.json", SCRIPT)) as house:
        yield house


def command(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "headrace", "ask", "--data", str(data), *arguments]


def ask(
    data: Path, *arguments: str, piped: str | None = None, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(data, *arguments),
        input=piped,
        stdin=subprocess.DEVNULL if piped is None else None,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
        env=clean_environment(data.parent) | (environment or {}),
    )


def test_the_answer_goes_to_stdout_as_it_is(house: Running) -> None:
    done = ask(house.data, "paint it")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\x1b[31mred\x1b[0m\nwheel\n", "")


def test_the_argument_stands_before_what_is_piped_in(house: Running) -> None:
    # The engine echoes what it was asked.
    done = ask(house.data, "Say", piped="water\n")
    assert done.stdout == "Say\n\nwater\n"
    assert ask(house.data, piped="only this").stdout == "only this\n"


def test_json_holds_text_usage_and_receipt(house: Running) -> None:
    done = ask(house.data, "--json", "--system", "Be brief.", "paint")
    answer = json.loads(done.stdout)
    assert answer["text"] == "\x1b[31mred\x1b[0m\nwheel"
    assert (answer["model"], answer["stop"]) == ("scripted", "end")
    assert answer["usage"]["input"] > answer["usage"]["cached"] >= 0
    assert answer["generation_id"]


def test_failures_go_to_stderr(house: Running) -> None:
    failed = ask(house.data, "fail")
    assert (failed.returncode, failed.stdout) == (1, "Half\n")
    assert "Broke." in failed.stderr
    assert "Traceback" not in failed.stderr
    empty = ask(house.data, "  ")
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "nothing to ask" in empty.stderr
    unknown = ask(house.data, "--model", "nope", "hi")
    assert unknown.returncode == 1
    assert "nope" in unknown.stderr
    cut = ask(house.data, "long")
    assert (cut.returncode, cut.stdout) == (0, "cut\n")
    assert "limit of tokens" in cut.stderr


def test_any_locale_can_print_any_answer(house: Running) -> None:
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = ask(house.data, piped="Grüße", environment=plain)
    assert (done.returncode, done.stdout) == (0, "Gr??e\n")


def test_a_closed_pipe_ends_it_quietly(house: Running) -> None:
    process = subprocess.Popen(
        command(house.data, "slow"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(house.data.parent),
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    _, errors = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 141
    assert errors == b""


def read_terminal(descriptor: int, until: bytes) -> bytes:
    shown = b""
    deadline = time.monotonic() + _WAIT_S
    while until not in shown and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            try:
                shown += os.read(descriptor, 4096)
            except OSError:
                break
    assert until in shown
    return shown


def on_terminal(data: Path, *arguments: str) -> tuple["subprocess.Popen[bytes]", int]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(data, *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=clean_environment(data.parent),
    )
    os.close(theirs)
    return process, ours


def test_on_a_terminal_the_model_cannot_command(house: Running) -> None:
    process, terminal = on_terminal(house.data, "paint")
    shown = read_terminal(terminal, b"wheel")
    assert process.wait(_WAIT_S) == 0
    os.close(terminal)
    assert b"\x1b" not in shown
    assert "␛[31mred".encode() in shown


def test_ctrl_c_cancels_the_answer_only(house: Running) -> None:
    process, terminal = on_terminal(house.data, "slow")
    read_terminal(terminal, b"tick tick")
    process.send_signal(signal.SIGINT)
    assert process.wait(_WAIT_S) == 130
    rest = b""
    while select.select([terminal], [], [], 0.1)[0]:
        try:
            rest += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    assert b"Traceback" not in rest
    assert read_live(house.data) is not None
    assert ask(house.data, "paint").returncode == 0


def test_without_a_running_one_it_starts_one_that_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    model = write_script(tmp_path / "script.json", SCRIPT)
    environment = {"HEADRACE_PORT": "0"}
    done = ask(data, "--model", model, "paint", environment=environment)
    try:
        assert (done.returncode, done.stdout) == (0, "\x1b[31mred\x1b[0m\nwheel\n"), done.stderr
        assert "starting one" in done.stderr
        assert ask(data, "paint").stderr == "", "the second finds it running"
        assert data.stat().st_mode & 0o777 == 0o700
        assert "hr-" not in (data / "logs" / "up.log").read_text()
    finally:
        run = read_live(data)
        assert run is not None
        os.kill(run.pid, signal.SIGTERM)
        while read_live(data) is not None:
            time.sleep(0.05)


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    done = ask(
        tmp_path / "data",
        "--model",
        f"scripted:{tmp_path}/missing.json",
        "hi",
        environment={"HEADRACE_PORT": "0"},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.json" in done.stderr
    assert "Traceback" not in done.stderr
