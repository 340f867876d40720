"""The terminal, as a person has it: a pty, a pipe, Ctrl-C."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.config.runfile import read_live
from support.running import Running, clean_environment, write_script

_WAIT_S = 90.0
SCRIPT = {
    "model": {"id": "parrot"},
    "turns": [
        {"match": {"user": "^slow"}, "steps": [{"text": "tick " * 600, "token_delay_ms": 20}]},
        {"match": {"user": "^busy"}, "steps": [{"error": {"kind": "overloaded", "message": "no"}}]},
        {"match": {"user": "^evil"}, "steps": [{"text": "\x1b]0;owned\x07done"}]},
    ],
}


def ask(
    data: Path, *arguments: str, typed: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", "ask", "--data", str(data), *arguments],
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        env=clean_environment(data.parent),
        timeout=_WAIT_S,
        check=False,
    )


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            command = [sys.executable, "-m", "headrace", *arguments]
            os.execve(
                sys.executable,
                command,
                clean_environment(data.parent)
                | {
                    "HEADRACE_DATA": str(data),
                    "HEADRACE_PORT": "0",  # the usual one may be taken
                    # Ends the answers of a model that finds no end by itself.
                    "HEADRACE_ENGINE_CONTEXT_TOKENS": "512",
                    "TERM": "xterm",
                },
            )
        self.screen = ""

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + _WAIT_S
        while text not in self.screen:
            assert time.monotonic() < until, self.screen
            if not self._read():
                assert text in self.screen, self.screen
                return

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def end(self) -> int:
        """Everything it says until it ends; its exit code."""
        while self._read():
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._descriptor)
        return code

    def _read(self) -> bool:
        if not select.select([self._descriptor], [], [], _WAIT_S)[0]:
            return False
        try:
            shown = os.read(self._descriptor, 65_536)
        except OSError:  # Linux says so when the other end has gone
            return False
        self.screen += shown.decode(errors="replace")
        return bool(shown)


@pytest.fixture
def parrot(tmp_path: Path, start: Callable[..., Running]) -> Running:
    return start(write_script(tmp_path / "script.json", SCRIPT))


def test_a_question_is_answered_on_a_pipe_and_in_json(parrot: Running):
    plain = ask(parrot.data, "hello you")
    assert (plain.returncode, plain.stdout) == (0, "hello you\n")
    piped = ask(parrot.data, typed="from a pipe")
    assert piped.stdout == "from a pipe\n"
    shown = json.loads(ask(parrot.data, "--json", "hello you").stdout)
    assert shown["text"] == "hello you"
    assert shown["usage"]["output"] == 2
    assert shown["stop"] == "end"
    receipt = subprocess.run(
        [sys.executable, "-m", "headrace", "receipts", shown["generation_id"], "--json"],
        env=clean_environment(parrot.data.parent) | {"HEADRACE_DATA": str(parrot.data)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(receipt.stdout)["purpose"] == "terminal"


def test_errors_are_told_in_plain_words(parrot: Running):
    busy = ask(parrot.data, "busy")
    assert busy.returncode == 1
    assert busy.stdout == ""
    assert "no" in busy.stderr
    missing = ask(parrot.data, "--model", "gpt-9", "hello")
    assert missing.returncode == 1
    assert "gpt-9" in missing.stderr


def test_a_terminal_streams_the_answer_and_is_safe_from_it(parrot: Running):
    terminal = Terminal(parrot.data, "ask", "evil")
    assert terminal.end() == 0
    assert "done" in terminal.screen
    assert "\x1b]0" not in terminal.screen
    assert "\x07" not in terminal.screen


def test_ctrl_c_cancels_the_answer_and_not_the_server(parrot: Running):
    terminal = Terminal(parrot.data, "ask", "slow")
    terminal.wait_for("tick tick tick")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert ask(parrot.data, "still there?").stdout == "still there?\n"


@pytest.mark.model
def test_ask_starts_headrace_in_the_background_and_leaves_it_running(with_model: Path):
    terminal = Terminal(with_model, "ask", "What is the capital of France?")
    try:
        assert terminal.end() == 0
        assert "starting one in the background" in terminal.screen
        assert terminal.screen.rpartition("ready after")[2].partition("\n")[2].strip()
        again = ask(with_model, "Say hello.")
        assert again.returncode == 0
        assert "starting" not in again.stderr
    finally:
        run = read_live(with_model)
        if run is not None:
            os.kill(run.pid, signal.SIGINT)
            while read_live(with_model) is not None:
                time.sleep(0.05)


@pytest.mark.model
def test_the_first_start_offers_three_models_and_enter_takes_the_embedded_one(with_model: Path):
    terminal = Terminal(with_model, "up", "--port", "0", "--no-browser")
    terminal.wait_for("Enter takes 1")
    assert "SmolLM2 135M Instruct" in terminal.screen
    assert terminal.screen.count("tokens/s") == 3
    assert "Apache-2.0" in terminal.screen
    terminal.type("9\n")
    terminal.wait_for("Enter takes 1: ")
    terminal.type("\n")
    terminal.wait_for("Ctrl-C")
    assert "smollm2-135m-instruct" in (with_model / "model").read_text()
    terminal.type("\x03")
    assert terminal.end() == 0
