"""ProjectGuide: leads a turn of a model that cannot explore, but can rewrite what it is shown.

The life of a guided turn:

1. look: list the files, search for the words of the task, read what may matter, run the tests
2. ask for one definition at a time, with the files before it, so that the prefix stays cached
3. put the answer into its file (`graft`), and run the tests when a pass is through
4. tests that fail now and pass then have chosen; else the failure is shown, then other samples
   are drawn from the same prefix, until one passes or the limits are reached
   (where no test fails now, the model writes checks from the task; those choose, and no more)
5. what is best is left in the files, and said as it is

The steps are a generator that is run again over the log each time, so that what comes next is a
function of the branch alone.
"""

import re
from collections.abc import Generator, Mapping, Sequence

import msgspec

from headrace.agent.entries import Begun, Entry
from headrace.agent.guide import Act, Consult, Finish, Step
from headrace.agent.prompt import begun_of
from headrace.code.edits import parses
from headrace.code.edits.results import Applied, Refused
from headrace.code.guided import answers, imports, places, project, texts
from headrace.code.guided.graft import graft
from headrace.code.guided.places import Place
from headrace.code.guided.turn import Round, Turn, turn_of
from headrace.core.messages import Message, Part, Text, ToolCall
from headrace.core.requests import Request, Sampling

PASSES_MAX = 8
CHECKED_PASSES_MAX = 5
TURN_S_MAX = 240.0
"""After this time no new pass is begun."""

_SAMPLED = Sampling(temperature=0.7, top_p=0.95)
_ANSWER_TOKENS = 700
_CHARS_PER_TOKEN = 3
_HEAD_SHARE = 2
_EARLIER_CHARS = 1_500
_NS_PER_S = 1_000_000_000
_QUESTION = re.compile(
    r"(?:what|why|how|where|who|which|when|explain|describe|tell|show|is|are|does|do|can|should)\b"
    r"|(?:hi|hello|hey|thanks|thank you)\b",
    re.IGNORECASE,
)


class Reading(msgspec.Struct, frozen=True):
    """An answer with the calls that it amounts to."""

    message: Message


class _Tests(msgspec.Struct, frozen=True):
    """One run of the project's tests."""

    command: str
    passed: bool
    output: str

    @property
    def failures(self) -> int:
        """How many failed; a run that tells none counts as many."""
        found = re.findall(r"(?:failures|errors)=(\d+)|(\d+) (?:failed|errors?)\b", self.output)
        return sum(int(one or other) for one, other in found) or (0 if self.passed else 1_000)


class _Looked(msgspec.Struct):
    """What is known of the project before anything is changed."""

    names: tuple[str, ...] = ()
    files: dict[str, str] = {}
    tests: _Tests | None = None
    checks: str | None = None


class _Tried(msgspec.Struct, frozen=True):
    """One pass: the files as it leaves them, and how the tests went."""

    files: dict[str, str]
    tests: _Tests | None
    problem: str = ""
    checks: _Tests | None = None


_Lead = Generator[Step | Reading, Message | Round | None, Finish]


class ProjectGuide:
    """The guide of sessions in one workspace; it keeps nothing between two steps."""

    def step(self, branch: Sequence[Entry]) -> Step:
        """What comes next."""
        turn = turn_of(branch)
        lead = _lead(turn, begun_of(branch))
        return _run(lead, turn.rounds)

    def read(self, branch: Sequence[Entry], answer: Message) -> Message:
        """The answer with the calls that it amounts to."""
        turn = turn_of(branch)
        lead = _lead(turn, begun_of(branch))
        _run(lead, turn.rounds)
        reading = lead.send(answer)
        return reading.message if isinstance(reading, Reading) else answer


def _run(lead: _Lead, rounds: Sequence[Round]) -> Step:
    """The step behind those rounds."""
    try:
        step = next(lead)
        for one in rounds:
            if isinstance(step, Consult):
                lead.send(one.written or Message("assistant", ()))
            step = lead.send(one)
    except StopIteration as stop:
        return stop.value
    assert not isinstance(step, Reading)  # noqa: S101 - only what follows a `Consult` is read
    return step


def _lead(turn: Turn, begun: Begun) -> _Lead:
    looked = yield from _look(turn.task)
    if _is_question(turn.task) or not any(map(project.is_source, looked.files)):
        return (yield from _answered(turn, begun, looked))
    return (yield from _changed(turn, begun, looked))


def _is_question(task: str) -> bool:
    """Whether words are asked of the model and no change."""
    return task.rstrip().endswith("?") or _QUESTION.match(task.strip()) is not None


# -- Looking


def _look(task: str) -> Generator[Step | Reading, Message | Round | None, _Looked]:
    words = [word for word in project.quoted(task) if len(word) > 2]  # noqa: PLR2004 - not `x`
    calls = [_call("Glob", pattern="**/*")]
    if words:
        pattern = r"\b(?:" + "|".join(map(re.escape, words)) + r")\b"
        calls.append(_call("Grep", pattern=pattern))
    listed = yield Act(tuple(calls), "Looking at the project.")
    names = tuple(_lines(listed, "Glob"))
    hits = [line.split(":", 1)[0] for line in _lines(listed, "Grep") if ":" in line]
    looked = _Looked(names=names)
    wanted = project.worth_reading(task, names, hits)
    yield from _show(looked, wanted)
    command = project.test_command(task, names, looked.files)
    if command is not None:
        ran = yield Act((_call("Bash", command=command),))
        looked.tests = _tests(ran, command)
    if looked.tests is not None and not looked.tests.passed:
        seen = [frame.file for frame in project.frames(looked.tests.output, names)]
        yield from _show(looked, [name for name in seen if name not in looked.files])
    return looked


def _show(
    looked: _Looked, names: Sequence[str]
) -> Generator[Step | Reading, Message | Round | None, None]:
    """Read files; those that do not come whole are left out, as they could not be written."""
    names = list(dict.fromkeys(names))[: project.FILES_MAX + 3]
    if not names:
        return
    read = yield Act(tuple(_call("Read", file_path=name) for name in names))
    if isinstance(read, Round):
        for name, result in zip(names, read.results, strict=True):
            whole = not result.text.startswith(("[lines ", "[the file is empty"))
            if not result.is_error and whole:
                looked.files[name] = f"{result.text}\n"


def _lines(given: Message | Round | None, tool: str) -> list[str]:
    result = given.of(tool) if isinstance(given, Round) else None
    if result is None or result.is_error:
        return []
    return [line for line in result.text.split("\n") if line and not line.startswith("[")]


def _tests(given: Message | Round | None, command: str) -> _Tests | None:
    """A run of the tests; None where it was not allowed, or nothing ran."""
    result = given.of("Bash") if isinstance(given, Round) else None
    if result is None or result.status is None or "No module named pytest" in result.text:
        return None
    nothing = re.search(r"Ran 0 tests|NO TESTS RAN|no tests ran|collected 0 items", result.text)
    return None if nothing else _Tests(command, result.status == 0, result.text)


# -- Answering


def _answered(turn: Turn, begun: Begun, looked: _Looked) -> _Lead:
    head = _head(turn, begun, looked, looked.files)
    ask = f"{turn.task}\n\n{texts.ASKED}"
    answer = yield Consult(_request(begun, texts.ANSWER_SYSTEM, head, ask, Sampling()))
    said = answer.text() if isinstance(answer, Message) else ""
    yield Reading(Message("assistant", ()))
    return Finish(said or "The model answered nothing.", "done" if said else "failed")


# -- Changing


def _changed(turn: Turn, begun: Begun, looked: _Looked) -> _Lead:
    output = "" if looked.tests is None else looked.tests.output
    where = places.places(turn.task, looked.files, output)
    yield from _checks(turn, begun, looked)
    tried: list[_Tried] = []
    now = dict(looked.files)
    for number in range(CHECKED_PASSES_MAX if looked.checks else PASSES_MAX):
        sampling = Sampling(temperature=0.0) if number == 0 else _SAMPLED
        # Every third pass asks for all at once: places may have been read wrongly.
        chosen = where if number % 3 != 2 else ()  # noqa: PLR2004 - the third of three
        one = _Pass(turn, begun, looked, where=chosen, sampling=sampling, now=now)
        result = yield from one.run()
        now = one.now
        tried.append(result)
        if _settled(looked, result) or one.late:
            break
    return (yield from _kept(turn, looked, tried, now))


def _settled(looked: _Looked, tried: _Tried) -> bool:
    """Whether a pass is as good as can be told."""
    if tried.files == looked.files or tried.problem:
        return False
    passed = tried.tests is None or tried.tests.passed
    return passed and (tried.checks is None or tried.checks.passed)


def _checks(
    turn: Turn, begun: Begun, looked: _Looked
) -> Generator[Step | Reading, Message | Round | None, None]:
    """Have checks written where no test tells right from wrong; kept if they fail as it stands."""
    told = looked.tests is not None and not looked.tests.passed
    if told or not any(name.endswith(".py") for name in looked.files):
        return
    task = texts.TASK.format(task=turn.task)
    head = _head(turn, begun, looked, looked.files)
    ask = f"{task}\n\n{texts.CHECKS}"
    answer = yield Consult(_request(begun, texts.SYSTEM, head, ask, Sampling(temperature=0.0)))
    code = answers.first_code(answer.text()) if isinstance(answer, Message) else ""
    yield Reading(Message("assistant", (Text("Writing checks from the task."),)))
    code = imports.completed(code.partition("if __name__ ==")[0].rstrip())
    if "unittest" not in code or parses.error_line("checks.py", code) is not None:
        return
    command = texts.RUN_CHECKS.format(code=code)
    ran = yield Act((_call("Bash", command=command),))
    before = _tests(ran, command)
    if before is not None and not before.passed:
        looked.checks = command


class _Pass:
    """One way through all places."""

    def __init__(
        self,
        turn: Turn,
        begun: Begun,
        looked: _Looked,
        *,
        where: tuple[Place, ...],
        sampling: Sampling,
        now: dict[str, str],
    ) -> None:
        self._turn, self._begun, self._looked = turn, begun, looked
        self._where, self._sampling = where, sampling
        self._head = _head(turn, begun, looked, looked.files)
        self._files = dict(looked.files)
        self.now = now
        self.late = False
        self.problem = ""

    def run(self) -> Generator[Step | Reading, Message | Round | None, _Tried]:
        """Ask for each place, write what comes, run the tests, and once more with the failure."""
        for place in self._where or (None,):
            yield from self._ask(place, self._question(place))
        tests = yield from self._test()
        if tests is not None and not tests.passed and self._files != self._looked.files:
            place = self._suspect(tests)
            if place is not None and not self.late:
                yield from self._ask(place, self._again(place, tests))
                tests = yield from self._test()
        checks = yield from self._check()
        return _Tried(self._files, tests, self.problem, checks)

    def _question(self, place: Place | None) -> str:
        task = texts.TASK.format(task=self._turn.task)
        if place is None:
            return f"{task}\n\n{texts.ALL}"
        done = [
            f"{texts.CHANGED.format(file=one.file)}\n{_fenced(code)}"
            for one in self._where
            if one != place
            and (code := places.text_of(one, self._files[one.file]))
            and code != places.text_of(one, self._looked.files[one.file])
        ]
        home = f" of `{place.home}`" if place.home else ""
        if place.new:
            ask = texts.ADD.format(name=place.name, home=home, file=place.file)
        else:
            code = _fenced(places.text_of(place, self._files[place.file]) or "")
            ask = texts.REWRITE.format(name=place.name, home=home, file=place.file, code=code)
        return "\n\n".join([task, *done, ask])

    def _again(self, place: Place, tests: _Tests) -> str:
        task = texts.TASK.format(task=self._turn.task)
        output = project.told(tests.output, self._looked.names)
        problem = texts.FAILS.format(command=tests.command, output=_fenced(output))
        code = _fenced(places.text_of(place, self._files[place.file]) or "")
        again = texts.AGAIN.format(name=place.name, file=place.file, code=code, problem=problem)
        return f"{task}\n\n{again}"

    def _suspect(self, tests: _Tests) -> Place | None:
        """The place that a failing test leads to."""
        found = places.places("", self._files, tests.output)
        wanted = [one for one in self._where if one in found]
        return next(iter([*wanted, *self._where, *found]), None)

    def _ask(
        self, place: Place | None, ask: str
    ) -> Generator[Step | Reading, Message | Round | None, None]:
        request = _request(self._begun, texts.SYSTEM, self._head, ask, self._sampling)
        answer = yield Consult(request)
        text = answer.text() if isinstance(answer, Message) else ""
        wanted, self.problem = _applied(self._files, text, place)
        changes = [
            _call("Write", file_path=name, content=code)
            for name, code in wanted.items()
            if code != self.now.get(name)
        ]
        parts: tuple[Part, ...] = (Text(self._said(place)), *changes)
        done = yield Reading(Message("assistant", parts))
        if not isinstance(done, Round):
            return
        elapsed_s = (done.time_ns - self._turn.begun_ns) / _NS_PER_S
        self.late = elapsed_s > TURN_S_MAX
        refused = [one for one in done.results if one.is_error]
        for one in done.results:
            name = _argument(one.call, "file_path")
            if not one.is_error:
                self.now[name] = wanted[name]
        if refused:
            self.problem = refused[0].text
        self._files = {name: self.now.get(name, code) for name, code in wanted.items()}

    def _said(self, place: Place | None) -> str:
        if self.problem:
            return self.problem
        return "Changing the files." if place is None else f"Changing {place.called}."

    def _test(self) -> Generator[Step | Reading, Message | Round | None, _Tests | None]:
        tests = self._looked.tests
        if tests is None or self._files == self._looked.files:
            return None
        call = _call("Bash", command=tests.command)
        ran = yield Act((call,))
        return _tests(ran, tests.command)

    def _check(self) -> Generator[Step | Reading, Message | Round | None, _Tests | None]:
        command = self._looked.checks
        if command is None or self._files == self._looked.files:
            return None
        ran = yield Act((_call("Bash", command=command),))
        return _tests(ran, command)


def _applied(
    files: Mapping[str, str], answer: str, place: Place | None
) -> tuple[dict[str, str], str]:
    """The files with an answer in its places, and what was wrong with it."""
    changed, problem = dict(files), ""
    target = None if place is None else place.file
    own = {name: text for name, text in files.items() if not project.is_test(name)}
    for name, code in answers.blocks(answer, own, target):
        before = changed[name]
        result = graft(name, before, code, inside="" if place is None else place.home)
        if isinstance(result, Refused):
            problem = problem or result.why
            continue
        text = _completed(name, before, result)
        if parses.error_line(name, text) is not None:
            problem = "With the answer the file would no longer parse."
            continue
        changed[name] = text
    if changed != files:
        problem = ""
    return changed, problem or ("" if changed != files else "The answer changes nothing.")


def _completed(name: str, before: str, result: Applied) -> str:
    if not name.endswith(".py") or imports.undefined(before):
        return result.text
    return imports.completed(result.text)


# -- Ending


def _kept(turn: Turn, looked: _Looked, tried: Sequence[_Tried], now: Mapping[str, str]) -> _Lead:
    """Leave the best pass in the files, and say how it stands."""
    best = min(tried, key=lambda one: _rank(looked, one))
    if _rank(looked, best)[0] > 1:
        best = _Tried(looked.files, looked.tests)
    wanted = {name: code for name, code in best.files.items() if code != now.get(name)}
    if wanted:
        calls = [_call("Write", file_path=name, content=code) for name, code in wanted.items()]
        yield Act(tuple(calls))
    changed = [name for name, code in best.files.items() if code != looked.files.get(name)]
    del turn
    return _told(looked, best, changed, len(tried))


def _rank(looked: _Looked, tried: _Tried) -> tuple[int, int]:
    """Lower is better: passed, untested, no worse than before, worse, nothing changed."""
    if tried.files == looked.files:
        return 3, 0
    checks = 0 if tried.checks is None else tried.checks.failures
    if tried.tests is None:
        return 1, checks
    if tried.tests.passed:
        return 0, checks
    worse = looked.tests is not None and tried.tests.failures > looked.tests.failures
    return (2 if worse else 1), tried.tests.failures


def _told(looked: _Looked, best: _Tried, changed: Sequence[str], passes: int) -> Finish:
    tries = "1 try" if passes == 1 else f"{passes} tries"
    if not changed:
        return Finish(
            f"No change that holds came of {tries}; the files are as they were.", "failed"
        )
    what = f"Changed {', '.join(changed)}"
    checked = best.checks is not None and best.checks.passed
    if best.tests is None and checked:
        said = "It passes checks that the model wrote from your words; the project has no tests"
        return Finish(f"{what}. {said}, so please look at the change.")
    if best.tests is None:
        return Finish(f"{what}. There are no tests to check it with; please look at the change.")
    if best.tests.passed:
        was = "" if looked.tests is not None and looked.tests.passed else ", which failed before"
        return Finish(f"{what}. The tests pass{was} (`{best.tests.command}`).")
    text = f"{what}, but `{best.tests.command}` still fails after {tries}."
    return Finish(text, "failed")


# -- Requests and calls


def _request(begun: Begun, system: str, head: str, ask: str, sampling: Sampling) -> Request:
    said = Message("user", (Text(head), Text(ask)))
    return Request(
        model=begun.model,
        messages=(Message("system", (Text(system),)), said),
        max_tokens=min(_ANSWER_TOKENS, begun.max_tokens or _ANSWER_TOKENS),
        sampling=sampling,
    )


def _head(turn: Turn, begun: Begun, looked: _Looked, files: Mapping[str, str]) -> str:
    """What stands before every question of a turn, byte for byte: files, failures, instructions."""
    room = begun.context_tokens * _CHARS_PER_TOKEN // _HEAD_SHARE
    shown, short = [texts.FILES], list[str]()
    order = sorted(files, key=lambda name: (project.is_test(name), name))
    for name in order:
        block = f"{name}\n{_fenced(files[name])}"
        if len(block) <= room:
            room -= len(block)
            shown.append(block)
        elif heads := places.sketch(name, files[name]):
            short.append(f"{name}\n{_fenced(heads[: room // 2])}")
    parts = [*shown, *([texts.OUTLINE, *short] if short else [])]
    if looked.tests is not None and not looked.tests.passed:
        output = project.told(looked.tests.output, looked.names)
        parts += [texts.FAILING.format(command=looked.tests.command), _fenced(output)]
    if turn.earlier:
        parts += [texts.CONVERSATION, "\n".join(turn.earlier)[-_EARLIER_CHARS:]]
    return "\n\n".join(parts) + "\n\n"


def _fenced(code: str) -> str:
    return f"```\n{code.rstrip()}\n```"


def _call(tool: str, **arguments: str) -> ToolCall:
    return ToolCall("", tool, msgspec.json.encode(arguments).decode())


def _argument(call: ToolCall, name: str) -> str:
    return str(msgspec.json.decode(call.arguments)[name])
