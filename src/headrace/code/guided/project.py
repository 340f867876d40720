"""What of a project concerns a task: which files, which words, and how its tests are run."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from headrace.code.edits import parses

FILES_MAX = 12
_QUOTED = re.compile(r"`([^`\n]{1,200})`")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PLAIN_NAME = re.compile(r"(?<![\w`])([A-Za-z]\w*_\w+|_\w+|[A-Z][a-z]+[A-Z]\w*|\w+(?=\(\)))")
_PATH = re.compile(r"[\w./-]+\.[A-Za-z]\w{0,9}\b")
_TEST_FILE = re.compile(
    r"(?:^|/)(?:test_[^/]*\.py|[^/]*_test\.(?:py|go)|[^/]*[.-](?:test|spec)\.[jt]sx?)$"
    r"|(?:^|/)(?:tests?|__tests__|spec)/"
)
_RUNNERS = re.compile(
    r"(?:python3?\s+-m\s+)?(?:unittest|pytest|tox|nox)\b|(?:npm|pnpm|yarn|make|cargo|go)\s+(?:run\s+)?test\b"
)
_FRAME = re.compile(r'File "(?P<py>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<name>[\w<>]+))?')
_PYTHON_TEST = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py$")
_OUTPUT_CHARS = 1_800


class Frame(msgspec.Struct, frozen=True):
    """A place in a trace: a file of the project, its line from 1, and the function."""

    file: str
    line: int
    name: str


def is_test(name: str) -> bool:
    """Whether a file holds tests, by its name."""
    return _TEST_FILE.search(name) is not None


def is_source(name: str) -> bool:
    """Whether a file is code that can be taken apart here."""
    return parses.has_grammar(name)


def quoted(task: str) -> list[str]:
    """Names in the task that are surely code: in backticks, with underscores or calls."""
    found: list[str] = []
    for passage in _QUOTED.findall(task):
        found += _IDENTIFIER.findall(passage)
    found += _PLAIN_NAME.findall(_QUOTED.sub(" ", task))
    return list(dict.fromkeys(found))


def named_files(task: str, names: Iterable[str]) -> list[str]:
    """The files of the project that the task names."""
    said = [word.removeprefix("./") for word in _PATH.findall(task)]
    return [
        name for name in names if any(name == word or name.endswith(f"/{word}") for word in said)
    ]


def worth_reading(task: str, names: Sequence[str], hits: Sequence[str]) -> list[str]:
    """The files to look at: those named, all of a small project, else where the names occur."""
    sources = [name for name in names if is_source(name)]
    chosen = named_files(task, names)
    if len(sources) <= FILES_MAX:
        chosen += sources
    else:
        counts = {name: hits.count(name) for name in sources if name in hits}
        chosen += sorted(counts, key=lambda name: (is_test(name), -counts[name]))
    chosen += [name for name in ("package.json", "Makefile", "pyproject.toml") if name in names]
    return list(dict.fromkeys(chosen))[: FILES_MAX + 3]


def test_command(task: str, names: Sequence[str], texts: Mapping[str, str]) -> str | None:
    """How the project's tests are run; None where it has none that are known here."""
    for passage in _QUOTED.findall(task):
        if _RUNNERS.match(passage):
            return passage
    if any(_PYTHON_TEST.search(name) for name in names):
        return _python_tests(names, texts)
    if "package.json" in names and _has_test_script(texts.get("package.json", "")):
        return "npm test --silent"
    for name, command in (("Cargo.toml", "cargo test --quiet"), ("go.mod", "go test ./...")):
        if name in names:
            return command
    if re.search(r"^test\s*:", texts.get("Makefile", ""), re.MULTILINE):
        return "make test"
    return None


def _python_tests(names: Sequence[str], texts: Mapping[str, str]) -> str:
    tests = [name for name in names if _PYTHON_TEST.search(name)]
    known = [texts[name] for name in tests if name in texts]
    plain = known and all("unittest" in text and "import pytest" not in text for text in known)
    if not plain:
        return "python3 -m pytest -q"
    folders = {name.rpartition("/")[0] for name in tests}
    if folders == {""} or any(f"{folder}/__init__.py" in names for folder in folders):
        return "python3 -m unittest"
    return f"python3 -m unittest discover -s {min(folders)}"


def _has_test_script(text: str) -> bool:
    try:
        return "test" in json.loads(text).get("scripts", {})
    except (ValueError, AttributeError):
        return False


def frames(output: str, names: Iterable[str]) -> list[Frame]:
    """The places of a trace that are in the project, outermost first."""
    known = tuple(names)
    found: list[Frame] = []
    for match in _FRAME.finditer(output):
        file = _within(match["py"], known)
        if file is not None:
            found.append(Frame(file, int(match["line"]), match["name"] or ""))
    return found


def _within(path: str, names: Sequence[str]) -> str | None:
    ends = [name for name in names if path == name or path.endswith(f"/{name}")]
    return max(ends, key=len, default=None)


def told(output: str, names: Sequence[str]) -> str:
    """What a failing run printed, with short paths and no more than a model can use."""

    def short(match: re.Match[str]) -> str:
        return f'File "{_within(match[1], names) or match[1]}"'

    text = re.sub(r'File "([^"\n]+)"', short, output).strip()
    if len(text) <= _OUTPUT_CHARS:
        return text
    half = _OUTPUT_CHARS // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}"
