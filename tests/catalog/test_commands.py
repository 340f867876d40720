import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog.card import Card
from headrace.catalog.commands import main
from headrace.catalog.library import Library
from headrace.catalog.release import adopt
from headrace.core.clock import ManualClock
from headrace.core.errors import HeadraceError
from headrace.store.database import Database
from headrace.store.home import bootstrap
from headrace.store.releases import get_release
from support.gguf import build, entries

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `headrace models …` in a process of its own."""

    def run_it(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "headrace", "models", *words],
            env={**os.environ, "HEADRACE_DATA": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run_it


@pytest.fixture
def card(tiny_file: Path, library: Library) -> Card:
    return library.import_file(tiny_file).card


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_model_for_embeddings_is_told_how_it_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pooled = tmp_path / "pooled.gguf"
    pooled.write_bytes(build(entries(llama__pooling_type=3)))
    assert main(["import", str(pooled), "--data", str(tmp_path / "data")]) == 0
    said = capsys.readouterr().out
    assert said.endswith("headrace up serves it beside a chat model when next started\n")


def test_a_life_of_a_model_in_real_processes(run: Run, tiny_file: Path):
    assert run("list").stdout.startswith("no models are installed")
    imported = run("import", str(tiny_file), "--name", "mine")
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith("mine is installed: Tiny, 1 MB F32, mit\nsha256:")
    assert imported.stdout.endswith("\nserve it with: headrace up --model mine\n")
    listed = run("list").stdout.splitlines()
    assert listed[0].split() == [
        "MODEL",
        "SIZE",
        "QUANT",
        "CONTEXT",
        "LICENCE",
        "ABILITIES",
        "SHA-256",
    ]
    assert listed[1].split()[:5] == ["mine", "1", "MB", "F32", "512"]
    assert "special tokens  4" in run("show", "mine").stdout
    assert run("rm", "mine").stdout == "mine is removed\n"
    gone = run("show", "mine")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "'mine' is not installed" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_mistakes_are_explained_without_a_traceback(run: Run, tmp_path: Path):
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    for words, why in (
        (("pull", "nobody"), "neither a known model nor a source"),
        (("import", "page.gguf"), "page.gguf is not a whole GGUF model"),
        (("rm", "nobody"), "is not installed"),
        (("pull", "http://example.org/a.gguf"), "https only"),
    ):
        failed = run(*words)
        assert failed.returncode == 1
        assert why in failed.stderr
        assert "Traceback" not in failed.stderr


def test_json_for_programs(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = str(tmp_path / "data")
    assert main(["list", "--json", "--data", data]) == 0
    assert [each["digest"] for each in _json(capsys)["installed"]] == [card.digest]
    assert main(["show", "tiny", "--json", "--data", data]) == 0
    assert _json(capsys)["model_id"] == "tiny"


def test_what_is_available_comes_with_size_speed_and_a_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = str(tmp_path / "data")
    assert main(["list", "--available", "--data", data]) == 0
    shown = capsys.readouterr().out
    assert "smollm2-135m-instruct" in shown
    assert "≈" in shown
    assert "Headrace would choose" in shown
    assert main(["list", "--available", "--json", "--data", data]) == 0
    available = _json(capsys)["available"]
    names = {each["model"]["model_id"] for each in available["models"]}
    assert set(available["choice"].values()) <= names
    assert not (tmp_path / "data").exists()


def test_a_damaged_model_is_named(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "data/models" / card.model_id / "card.json").write_text("{}")
    assert main(["list", "--data", str(tmp_path / "data")]) == 0
    shown = capsys.readouterr().out
    assert "damaged: " in shown
    assert "headrace models rm tiny" in shown


def test_hidden_characters_of_a_header_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "evil.gguf"
    path.write_bytes(
        build(entries(general__name="\x1b]0;owned\x07", general__license="a\nb\u202e"))
    )
    data = str(tmp_path / "data")
    assert main(["import", str(path), "--data", data]) == 0
    assert main(["show", "evil", "--data", data]) == 0
    assert main(["list", "--data", data]) == 0
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_a_pulled_model_has_a_release_at_once(tmp_path: Path, tiny_file: Path, tiny_digest: str):
    assert main(["import", str(tiny_file), "--data", str(tmp_path / "data")]) == 0
    database = Database.at(tmp_path / "data", None)
    home = database.write_now(lambda connection: bootstrap(connection, ManualClock()))
    release = database.read_now(lambda connection: get_release(connection, home.owner, tiny_digest))
    database.close()
    assert release is not None
    assert (release.model_id, release.state) == ("tiny", "adopted")


def test_adopting_twice_gives_the_same_release(sqlite_database: Database, card: Card):
    home = sqlite_database.write_now(lambda connection: bootstrap(connection, ManualClock()))
    first, second = (
        sqlite_database.write_now(
            lambda connection: adopt(connection, home.owner, card, ManualClock())
        )
        for _ in range(2)
    )
    assert first == second


def test_a_model_in_use_needs_force(card: Card, tmp_path: Path, library: Library):
    data = str(tmp_path / "data")
    with library.hold(card.model_id):
        with pytest.raises(HeadraceError, match="in use"):
            main(["rm", card.model_id, "--data", data])
        assert main(["rm", card.model_id, "--force", "--data", data]) == 0


def test_a_bar_on_a_terminal(tmp_path: Path, tiny_file: Path):
    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "models", "import", str(tiny_file)],
        env={**os.environ, "HEADRACE_DATA": str(tmp_path / "data")},
        stderr=terminal,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    os.close(terminal)
    shown = os.read(controller, 65_536).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "verifying: 100%" in shown
