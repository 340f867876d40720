"""A guided turn: real tools, a real sandbox, a model that only writes what it is asked for."""

from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import pytest

from headrace.code.profile import Profiles, shipped
from support.model_server import MODEL, Desk, ModelServer, Turn, text

BROKEN = (
    '"""Sums."""\n\n\ndef add(a, b):\n    return a - b\n\n\ndef twice(a):\n    return add(a, a)\n'
)
TEST = """\
import unittest

from calc import add


class AddTest(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(2, 3), 5)
"""
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return a * b\n```"
FLAGS = ("--guided", "on", "--permission-mode", "acceptEdits", "--allowedTools", "Bash")
Play = Callable[..., tuple[ModelServer, Desk]]


@pytest.fixture
def play(tmp_path: Path) -> Generator[Play]:
    """A server that plays answers, and a desk with a broken function before it."""
    servers: list[ModelServer] = []

    def start(*turns: Turn) -> tuple[ModelServer, Desk]:
        server = ModelServer(*turns)
        servers.append(server)
        desk = Desk(tmp_path, server.url)
        (desk.folder / "calc.py").write_text(BROKEN)
        return server, desk

    yield start
    for server in servers:
        server.close()
        server.check_each()


def words(server: ModelServer) -> list[str]:
    """What the user's side of each request said."""
    return [one.messages[-1].text() for one in server.requests()]


def test_it_looks_asks_and_lets_the_tests_choose(play: Play):
    server, desk = play([text(WRONG)], [text(WRONG)], [text(RIGHT)])
    (desk.folder / "test_calc.py").write_text(TEST)
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert shown.returncode == 0, shown.stderr
    assert "The tests pass, which failed before" in shown.stdout
    assert (desk.folder / "calc.py").read_text() == BROKEN.replace("a - b", "a + b")
    first, again, sampled = words(server)
    assert "return add(a, a)" in first, "the file is shown whole"
    assert "AssertionError: -1 != 5" in first, "and what fails"
    assert "return a * b" in again, "the failed attempt is shown with its failure"
    assert "AssertionError: 6 != 5" in again
    assert sampled == first, "another sample of the same question"


def test_without_tests_the_change_is_made_and_called_unchecked(play: Play):
    _, desk = play([text(RIGHT)])
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert "no tests to check it" in shown.stdout
    assert (desk.folder / "calc.py").read_text() == BROKEN.replace("a - b", "a + b")


def test_a_question_is_answered_and_changes_nothing(play: Play):
    _, desk = play([text("It subtracts.")])
    shown = desk.code("-p", "What does add do?", *FLAGS)
    assert shown.stdout == "It subtracts.\n"
    assert (desk.folder / "calc.py").read_text() == BROKEN


def test_what_never_passes_leaves_no_worse_files_and_says_so(play: Play):
    _, desk = play(*[[text("I do not know.")]] * 40)
    (desk.folder / "test_calc.py").write_text(TEST)
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert shown.returncode == 1
    assert (desk.folder / "calc.py").read_text() == BROKEN


def test_a_guided_session_is_replayed(play: Play):
    _, desk = play([text(WRONG)], [text(RIGHT)])
    (desk.folder / "test_calc.py").write_text(TEST)
    result = desk.result("-p", "Mend `add` in calc.py.", *FLAGS)
    desk.url = ""
    replayed = desk.code("replay", result["session_id"])
    assert "the same, byte for byte" in replayed.stdout, replayed.stdout + replayed.stderr
    assert result["num_turns"] == 2


def continuing(desk: Desk) -> None:
    """Have the model known as one that goes on with what is begun for it."""
    profile = msgspec.structs.replace(shipped("1b"), continues_answers=True, measured_ns=1)
    Profiles(desk.home / "data" / "code" / "profiles").save(desk.url, MODEL, profile)


def test_an_answer_is_begun_for_a_model_that_goes_on_with_it(play: Play):
    server, desk = play([text("(a, b):\n    return a * b")], [text("(a, b):\n    return a + b")])
    continuing(desk)
    (desk.folder / "test_calc.py").write_text(TEST)
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert "The tests pass, which failed before" in shown.stdout, shown.stdout + shown.stderr
    assert (desk.folder / "calc.py").read_text() == BROKEN.replace("a - b", "a + b")
    for request in server.requests():
        assert request.messages[-1].text() == "```python\ndef add"
        assert request.stop == ("\n```",)
        assert "new import" not in request.messages[-2].text()


def test_a_server_that_begins_anew_is_asked_without_a_beginning_from_then_on(play: Play):
    # Its words were stopped before the fence of its code.
    server, desk = play([text("Here is the code:")], [text(RIGHT)])
    continuing(desk)
    (desk.folder / "test_calc.py").write_text(TEST)
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert "The tests pass, which failed before" in shown.stdout, shown.stdout + shown.stderr
    assert [one.messages[-1].role for one in server.requests()] == ["assistant", "user"]


def test_what_a_failing_test_asks_for_and_is_not_there_is_written(play: Play):
    server, desk = play([text("(a):\n    return a / 2")])
    continuing(desk)
    (desk.folder / "test_calc.py").write_text(
        "import unittest\nfrom calc import half\n\n\nclass HalfTest(unittest.TestCase):\n"
        "    def test_half(self):\n        self.assertEqual(half(4), 2)\n"
    )
    shown = desk.code("-p", "Make the tests pass.", *FLAGS)
    assert "The tests pass, which failed before" in shown.stdout, shown.stdout + shown.stderr
    assert server.requests()[0].messages[-1].text() == "```python\ndef half"


def test_a_name_of_a_module_that_is_imported_whole_gets_its_import(play: Play):
    _, desk = play([text("(a, b):\n    return Decimal(a) + b")])
    continuing(desk)
    (desk.folder / "calc.py").write_text("import decimal\n\n\ndef add(a, b):\n    return a - b\n")
    desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    code = (desk.folder / "calc.py").read_text()
    assert code.startswith("import decimal\nfrom decimal import Decimal\n"), code


def test_where_no_test_fails_checks_of_the_models_own_choose(play: Play):
    checks = """
from calc import add

class Checks(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(add(2, 3), 5)

    def test_cut_off(self):
        self.assertEqual(add(2, 2"""
    wrong, right = [text("(a, b):\n    return a * b")], [text("(a, b):\n    return a + b")]
    server, desk = play([text(checks)], wrong, right)
    continuing(desk)
    shown = desk.code("-p", "Mend `add` in calc.py.", *FLAGS)
    assert "passes checks that the model wrote" in shown.stdout, shown.stdout + shown.stderr
    assert (desk.folder / "calc.py").read_text() == BROKEN.replace("a - b", "a + b")
    asked = server.requests()
    assert asked[0].messages[-1].text() == "```python\nimport unittest"
    assert len(asked) == 3
    assert {one.name for one in desk.folder.iterdir()} == {"calc.py"}, "checks are no file"


def test_tests_run_with_the_python_that_is_there(play: Play):
    server, desk = play([text(WRONG)], [text(RIGHT)])
    (desk.folder / "test_calc.py").write_text(TEST)
    # Debian has no `python`, others have no `python3`.
    shown = desk.code("-p", "Mend `add` so that `python -m unittest` passes.", *FLAGS)
    assert "The tests pass, which failed before (`python" in shown.stdout, shown.stderr
    assert "command not found" not in words(server)[0]
