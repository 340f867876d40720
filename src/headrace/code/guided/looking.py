"""What a guided turn knows of the project before it changes anything: files, tests, checks."""

import re
from collections.abc import Sequence

import msgspec

from headrace.agent.guide import Consult
from headrace.code.edits import parses
from headrace.code.guided import answers, asks, imports, project, texts
from headrace.code.guided.asks import Asking, Lead, Reading, call
from headrace.code.guided.turn import Round
from headrace.core.messages import Message, Text

_RAN = re.compile(r"^Ran \d+ tests? in", re.MULTILINE)
_UNTOLD = 1_000
_NOT_FOUND = 127
_CHECKS_TOKENS = 320
_CHECKS_S_MAX = 20


class Tests(msgspec.Struct, frozen=True):
    """One run of tests."""

    command: str
    passed: bool
    output: str

    @property
    def failures(self) -> int:
        """How many failed; a run that tells none counts as many."""
        found = re.findall(r"(?:failures|errors)=(\d+)|(\d+) (?:failed|errors?)\b", self.output)
        return sum(int(one or other) for one, other in found) or (0 if self.passed else _UNTOLD)


class Looked(msgspec.Struct):
    """What is known of the project before anything is changed.

    Attributes:
        names: All its files.
        files: Those that were read, with their texts.
        tests: How its tests went; None where it has none that could be run.
        checks: The command of checks that the model wrote, where no test tells right from wrong.
    """

    names: tuple[str, ...] = ()
    files: dict[str, str] = {}
    tests: Tests | None = None
    checks: str | None = None

    @property
    def failing(self) -> tuple[str, str] | None:
        """The command of tests that fail now, and what of its output a model can use."""
        if self.tests is None or self.tests.passed:
            return None
        return self.tests.command, project.told(self.tests.output, self.names)


def look(task: str) -> Lead[Looked]:
    """List and search the files, read what may matter, run the tests."""
    words = [word for word in project.quoted(task) if len(word) > 2]  # noqa: PLR2004 - not `x`
    calls = [call("Glob", pattern="**/*")]
    if words:
        pattern = r"\b(?:" + "|".join(map(re.escape, words)) + r")\b"
        calls.append(call("Grep", pattern=pattern))
    listed = yield from asks.ran(calls, "Looking at the project.")
    names = tuple(_lines(listed, "Glob"))
    hits = [line.split(":", 1)[0] for line in _lines(listed, "Grep") if ":" in line]
    looked = Looked(names=names)
    yield from _show(looked, project.worth_reading(task, names, hits))
    command = project.test_command(task, names, looked.files)
    if command is not None:
        looked.tests = yield from _test_somehow(command)
    if looked.tests is not None and not looked.tests.passed:
        seen = [frame.file for frame in project.frames(looked.tests.output, names)]
        yield from _show(looked, [name for name in seen if name not in looked.files])
    return looked


def _show(looked: Looked, names: Sequence[str]) -> Lead[None]:
    """Read files; those that do not come whole are left out, as they could not be written."""
    names = list(dict.fromkeys(names))[: project.FILES_MAX + 3]
    if not names:
        return
    read = yield from asks.ran([call("Read", file_path=name) for name in names])
    for name, result in zip(names, read.results, strict=False):
        whole = not result.text.startswith(("[lines ", "[the file is empty"))
        if not result.is_error and whole:
            looked.files[name] = f"{result.text}\n"


def _lines(given: Round, tool: str) -> list[str]:
    result = given.of(tool)
    if result is None or result.is_error:
        return []
    return [line for line in result.text.split("\n") if line and not line.startswith("[")]


def _test_somehow(command: str) -> Lead[Tests | None]:
    """Run tests with the Python that is there: of `python` and `python3` many machines have one."""
    tests = yield from test(command)
    first, _, rest = command.partition(" ")
    other = {"python": "python3", "python3": "python"}.get(first)
    if tests is None and other is not None:
        return (yield from test(f"{other} {rest}"))
    return tests


def test(command: str) -> Lead[Tests | None]:
    """Run tests; None where it was not allowed, or nothing ran."""
    given = yield from asks.ran([call("Bash", command=command)])
    result = given.of("Bash")
    if result is None or result.status in {None, _NOT_FOUND}:
        return None
    if "No module named pytest" in result.text:
        return None
    nothing = re.search(r"Ran 0 tests|NO TESTS RAN|no tests ran|collected 0 items", result.text)
    return None if nothing else Tests(command, result.status == 0, result.text)


def write_checks(asking: Asking, looked: Looked) -> Lead[None]:
    """Have checks written where no test tells right from wrong; kept if they fail as it stands."""
    if looked.failing is not None or not any(name.endswith(".py") for name in looked.files):
        return
    beginning = texts.CHECKS_BEGUN if asking.continues else ""
    answer = yield Consult(
        asking.request(
            texts.SYSTEM,
            asking.with_task(texts.CHECKS),
            asks.GREEDY,
            beginning=beginning,
            tokens=_CHECKS_TOKENS,
        )
    )
    said = answers.whole(beginning, answer.text()) if isinstance(answer, Message) else ""
    yield Reading(Message("assistant", (Text("Writing checks from the task."),)))
    code = _parsed(answers.first_code(said).partition("if __name__ ==")[0].rstrip())
    if "unittest" not in code or "def test" not in code:
        return
    command = texts.RUN_CHECKS.format(code=imports.completed(code), limit_s=_CHECKS_S_MAX)
    before = yield from test(command)
    # Checks that do not come to their end, since they sleep or break on import, tell nothing.
    if before is not None and not before.passed and _RAN.search(before.output):
        looked.checks = command


def _parsed(code: str) -> str:
    """The longest beginning of checks that parses: small models write on until they are cut off."""
    lines = code.split("\n")
    while lines and parses.error_line("checks.py", "\n".join(lines)) is not None:
        lines.pop()
    return "\n".join(lines)
