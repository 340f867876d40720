"""Every task of the coding benchmark is one: unsolved as given, solved by its solution."""

import ast
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.running import running, write_script

BENCH = Path(__file__).parents[1] / "bench" / "coding"
SIZES = {"develop": 15, "sealed": 25}
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "asyncio", "subprocess"}
LINES_MIN, LINES_MAX = 15, 120
SENTENCES_MAX = 4


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_coding_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


harbor = _load("harbor")
TASKS: list[Any] = [task for name in SIZES for task in harbor.load_set(name)]
each_task = pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])


def test_the_sets_are_whole_and_share_nothing():
    assert {name: len(harbor.load_set(name)) for name in SIZES} == SIZES
    assert len({task.name for task in TASKS}) == len(TASKS)
    sources = [text for task in TASKS for text in task.files().values()]
    assert len(set(sources)) == len(sources)


def test_about_half_are_repairs_that_a_visible_test_may_show():
    texts = [(task.folder / "task.toml").read_text() for task in TASKS]
    repairs = sum('kind = "repair"' in text for text in texts)
    assert 0.4 * len(TASKS) <= repairs <= 0.7 * len(TASKS)
    assert 0.3 * len(TASKS) <= sum(task.has_visible_test for task in TASKS) <= 0.7 * len(TASKS)


@each_task
def test_hidden_tests_fail_as_given_and_pass_once_solved(task: Any, tmp_path: Path):
    work = tmp_path / "work"
    harbor.lay_out(task, work)
    solved, printed = harbor.grade(task, work)
    assert not solved, printed
    assert "Ran " in printed, printed
    solve = [str(task.folder / "solution" / "solve.sh")]
    subprocess.run(["bash", *solve], cwd=work, check=True)
    solved, printed = harbor.grade(task, work)
    assert solved, printed
    if task.has_visible_test:
        command = [sys.executable, "-B", "-m", "unittest"]
        subprocess.run(command, cwd=work, check=True, capture_output=True)


@each_task
def test_is_small_says_what_is_wanted_and_needs_no_network(task: Any):
    files = task.files()
    sources = [name for name in files if not harbor.is_test(name)]
    assert 1 <= len(files) <= 5
    assert len(sources) < len(files) or not task.has_visible_test
    lines = [text.count("\n") for name, text in files.items() if name in sources]
    assert sum(lines) >= LINES_MIN
    assert max(lines) <= LINES_MAX
    assert 1 <= len(re.findall(r"[.!?](?:\s|$)", task.instruction)) <= SENTENCES_MAX
    for text in (*files.values(), _hidden(task)):
        assert not (_imported(text) & NETWORK)
        assert _imported(text) <= set(sys.stdlib_module_names) | {Path(n).stem for n in sources}


@each_task
def test_visible_tests_do_not_give_the_hidden_ones_away(task: Any):
    hidden = _assertions(_hidden(task))
    seen = {line for text in task.files().values() for line in _assertions(text)}
    assert len(hidden) >= 3
    assert len(hidden - seen) >= 0.7 * len(hidden)
    given = {path.name for path in task.repo.rglob("*")}
    assert not given & {"hidden.py", "test.sh", "solve.sh", "fix.patch"}


def _hidden(task: Any) -> str:
    return (task.folder / "tests" / "hidden.py").read_text()


def _imported(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def _assertions(text: str) -> set[str]:
    """The asserting calls of a test file, without their layout."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr.startswith("assert")
    }


def test_answers_are_read_kindly():
    sys.path.insert(0, str(BENCH))
    try:
        oneshot = _load("oneshot")
    finally:
        sys.path.remove(str(BENCH))
    block = "```python\nx = 1\n```\n"
    known = ["a.py", "test_a.py"]
    assert oneshot.files_in(f"Here is **a.py**:\n{block}", known) == {"a.py": "x = 1\n"}
    assert oneshot.files_in(f"{block}", known) == {"a.py": "x = 1\n"}
    assert oneshot.files_in("```python\n# b.py\ny = 2\n```", known) == {"b.py": "# b.py\ny = 2\n"}
    assert oneshot.files_in(f"../a.py\n{block}", ["b.py", "c.py"]) == {}
    assert oneshot.files_in(f"{block}{block}", known) == {}
    assert oneshot.files_in("I cannot.", known) == {}


def test_the_paired_test_is_the_exact_one():
    sys.path.insert(0, str(BENCH))
    try:
        results = _load("results")
    finally:
        sys.path.remove(str(BENCH))
    assert results.mcnemar(0, 0) == 1
    assert results.mcnemar(5, 0) == pytest.approx(0.0625)
    assert results.mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert results.mcnemar(4, 4) == 1


def test_tokens_are_those_of_the_runs_own_key(tmp_path: Path):
    server = _load("server")
    script = write_script(tmp_path / "script.json", {"turns": []})
    begun_ns = time.time_ns()
    with running(tmp_path / "data", script) as started:
        with server.serving("scripted", started.data, None) as ours:
            pass
        with server.serving("scripted", started.data, None) as theirs:
            pass
        for served in (theirs, ours, theirs):
            assert server.complete(served, "Hello.", max_tokens=9, s_max=30) == "Hello."
        found = server.spent(ours, begun_ns, time.time_ns())
        assert (found.calls, server.spent(theirs, begun_ns, time.time_ns()).calls) == (1, 2)
        assert found.input > 0
        assert found.output > 0
        assert server.spent(ours, begun_ns, begun_ns).calls == 0
